"""The parity gate passes encoders that give the embeddings of their source, and no others."""

from __future__ import annotations

import numpy as np
import pytest

from sal_export.gates.parity import LIMITS, Parity, compare_with, measure_parity, missed_limits, top_agreement
from sal_runtime.errors import ParityError


def linear_encoder(weight: np.ndarray) -> object:
    def encode(batch: np.ndarray) -> np.ndarray:
        raw = batch.astype(np.float32) @ weight
        return np.asarray(raw / np.linalg.norm(raw, axis=1, keepdims=True), np.float32)

    return encode


INPUTS = np.random.default_rng(3).random((70, 12)).astype(np.float32)


WEIGHT = np.random.default_rng(4).standard_normal((12, 5)).astype(np.float32)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (lambda batch: linear_encoder(WEIGHT)(batch)[:, :4], "gives float32"),
        (lambda batch: linear_encoder(WEIGHT)(batch).astype(np.float64), "gives float64"),
        (lambda batch: linear_encoder(WEIGHT)(batch) * np.nan, "NaN or infinite"),
        (lambda batch: linear_encoder(WEIGHT)(batch) * 2.0, "have lengths"),
    ],
)
def test_the_gate_refuses_a_broken_export(broken: object, message: str) -> None:
    comparison = compare_with(linear_encoder(WEIGHT), "its source", INPUTS, None, "numbers")  # type: ignore[arg-type]
    with pytest.raises(ParityError, match=message):
        measure_parity("encoder", broken, comparison)  # type: ignore[arg-type]


def test_a_batch_size_that_changes_the_order_is_seen() -> None:
    comparison = compare_with(linear_encoder(WEIGHT), "its source", INPUTS, None, "numbers")  # type: ignore[arg-type]
    turned = measure_parity(
        "encoder",
        lambda batch: linear_encoder(WEIGHT)(batch[::-1] if len(batch) == 17 else batch),  # type: ignore[operator]
        comparison,
    )
    assert len(missed_limits(turned, "fp32")) == 2  # the largest difference and the smallest cosine
    right = measure_parity("encoder", linear_encoder(WEIGHT), comparison)  # type: ignore[arg-type]
    assert missed_limits(right, "fp32") == ()


def test_the_gate_needs_enough_inputs() -> None:
    with pytest.raises(ParityError, match="needs 65 inputs, got 10"):
        compare_with(linear_encoder(WEIGHT), "its source", INPUTS[:10], None, "")  # type: ignore[arg-type]


def test_top_agreement_counts_common_hits() -> None:
    gallery = np.eye(20, dtype=np.float32)
    query = np.arange(20, 0, -1, dtype=np.float32)[None]  # ranks rows 0..9 first
    changed = gallery.copy()
    changed[[9, 10]] = changed[[10, 9]]  # one of the ten moves out
    assert top_agreement(query, gallery, gallery) == 1.0
    assert top_agreement(query, gallery, changed) == pytest.approx(0.9)


def rotated(degrees: float, share: float) -> object:
    """An encoder of 2-d inputs whose first rows are turned: cosines are known exactly."""

    def encode(batch: np.ndarray) -> np.ndarray:
        turned = batch.copy()
        rows = np.flatnonzero(batch[:, 2] < share)
        angle = np.deg2rad(degrees)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
        turned[rows, :2] = batch[rows, :2] @ turn
        return np.ascontiguousarray(turned[:, :2])

    return encode


@pytest.mark.parametrize(
    ("precision", "degrees", "share", "missed"),
    [
        ("fp32", 0.0, 1.0, []),
        ("fp32", 0.5, 1.0, ["largest difference", "smallest cosine", "first percentile", "mean"]),  # cosine 0.99996
        ("fp16", 0.5, 1.0, []),
        ("fp16", 3.0, 0.005, []),  # one crop in two hundred at 0.9986, as one with a short embedding
        ("fp16", 10.0, 0.005, ["smallest cosine"]),  # 0.985
        ("fp16", 3.0, 0.02, ["first percentile"]),
        ("fp16", 1.0, 1.0, ["mean cosine"]),  # all at 0.99985
        ("int8", 10.0, 1.0, []),  # cosine 0.9848
        ("int8", 40.0, 0.005, []),
        ("int8", 14.0, 1.0, ["mean cosine"]),  # 0.9703
        ("int8", 40.0, 0.02, ["first percentile"]),  # 0.766
    ],
)
def test_limits_of_each_precision(precision: str, degrees: float, share: float, missed: list[str]) -> None:
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, 200)
    inputs = np.stack([np.cos(angles), np.sin(angles), np.arange(200) / 200], axis=1).astype(np.float32)
    source, exported = rotated(0.0, 0.0), rotated(degrees, share)
    comparison = compare_with(source, "unturned", inputs, None, "angles")  # type: ignore[arg-type]
    parity = measure_parity("turned", exported, comparison)  # type: ignore[arg-type]
    assert parity.min_cosine == pytest.approx(np.cos(np.deg2rad(degrees)), abs=1e-6)
    found = missed_limits(parity, precision)  # type: ignore[arg-type]
    assert len(found) == len(missed), found
    assert all(name in text for name, text in zip(missed, found, strict=True))
    assert set(LIMITS) == {"fp32", "fp16", "int8"}


def test_a_missed_limit_is_named_with_both_values() -> None:
    parity = Parity((1,), 0.5, 0.8, 0.9999, 0.99995, None, 65, "crops", "fp32")
    assert missed_limits(parity, "fp16") == ("the smallest cosine is 0.8000000, at least 0.99 is required",)
