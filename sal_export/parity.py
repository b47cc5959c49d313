"""The gate: an exported encoder must give what its source gives, or nothing is published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sal_runtime.errors import ParityError

BATCHES = (1, 2, 3, 17, 64)
TOP = 10
MAX_ABS = 1e-4
"""Largest difference of a coordinate of a unit vector; measured fp32 exports stay near 1e-6."""
MIN_COSINE = 0.99999
MIN_TOP_AGREEMENT = 0.99
"""Smallest mean share of the first ten hits that both encoders agree on."""
TIE = 1e-5
"""Cosines closer than this are the same hit to a person."""

Float32Array = NDArray[np.float32]
Encode = Callable[[NDArray[Any]], Float32Array]


@dataclass(frozen=True)
class Parity:
    """How an exported encoder compares with its source.

    Attributes:
        batches: sizes that were run.
        max_abs: largest absolute difference of a coordinate, over all batches.
        min_cosine: smallest cosine between the two embeddings of one input.
        top10_agreement: mean share of common hits among the first ten; None where there is no ranking to compare.
        num_inputs: distinct inputs.
        inputs: what they were.
    """

    batches: tuple[int, ...]
    max_abs: float
    min_cosine: float
    top10_agreement: float | None
    num_inputs: int
    inputs: str

    def to_json(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)


def measure_parity(
    name: str, inputs: NDArray[Any], source: Encode, exported: Encode, queries: Float32Array | None, described: str
) -> Parity:
    """Compare two encoders on the same inputs in batches of 1, 2, 3, 17 and 64.

    Args:
        name: for messages.
        inputs: crops or attribute vectors, at least 64 rows.
        source: the reference, PyTorch in fp32 on the CPU.
        exported: the artefact; must accept every batch size.
        queries: unit vectors [Q, d] to rank the inputs by, or None.
        described: what the inputs are.

    Raises:
        ParityError: shapes differ, a value is not finite, or a limit of this module is exceeded.
    """
    if len(inputs) < max(BATCHES):
        raise ParityError(f"{name}: the gate needs {max(BATCHES)} inputs, got {len(inputs)}")
    reference = np.concatenate([source(inputs[start : start + 64]) for start in range(0, len(inputs), 64)])
    differences, cosines = [0.0], [1.0]
    for size in BATCHES:
        for start in (0, len(inputs) - size):
            got = exported(inputs[start : start + size])
            wanted = reference[start : start + size]
            _check_output(name, got, wanted)
            differences.append(float(np.abs(got - wanted).max()))
            cosines.append(float(_cosine(got, wanted).min()))
    whole = np.concatenate([exported(inputs[start : start + 64]) for start in range(0, len(inputs), 64)])
    _check_output(name, whole, reference)
    differences.append(float(np.abs(whole - reference).max()))
    cosines.append(float(_cosine(whole, reference).min()))
    agreement = None if queries is None else top_agreement(queries, reference, whole)
    parity = Parity(BATCHES, max(differences), min(cosines), agreement, len(inputs), described)
    _check_limits(name, parity)
    return parity


def top_agreement(queries: Float32Array, reference: Float32Array, exported: Float32Array) -> float:
    """Mean over queries of the share of the exported encoder's first ten that belong to the source's first ten.

    A hit belongs there if the source scores it within `TIE` of its own tenth: near-duplicates may swap places.
    """
    shares = []
    for query in queries:
        scores = reference @ query
        tenth = np.sort(scores)[-min(TOP, len(scores))]
        found = np.argsort(-(exported @ query), kind="stable")[:TOP]
        shares.append(float((scores[found] >= tenth - TIE).mean()))
    return float(np.mean(shares))


def _cosine(left: Float32Array, right: Float32Array) -> NDArray[np.float64]:
    dot = (left.astype(np.float64) * right).sum(axis=1)
    return np.asarray(dot / (np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)))


def _check_output(name: str, got: Float32Array, wanted: Float32Array) -> None:
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        raise ParityError(f"{name}: gives {got.dtype} {got.shape} where its source gives {wanted.dtype} {wanted.shape}")
    if not np.isfinite(got).all():
        raise ParityError(f"{name}: {int((~np.isfinite(got)).sum())} values are NaN or infinite")
    norms = np.linalg.norm(got, axis=1)
    if np.abs(norms - 1.0).max() > 1e-3:
        raise ParityError(f"{name}: embeddings have lengths {norms.min():.4f} to {norms.max():.4f}, expected 1")


def _check_limits(name: str, parity: Parity) -> None:
    found = f"{name}: max abs {parity.max_abs:.2e}, min cosine {parity.min_cosine:.7f}, top-10 {parity.top10_agreement}"
    too_different = parity.max_abs > MAX_ABS or parity.min_cosine < MIN_COSINE
    if too_different or (parity.top10_agreement is not None and parity.top10_agreement < MIN_TOP_AGREEMENT):
        raise ParityError(
            f"{found}; limits {MAX_ABS:.0e}, {MIN_COSINE}, {MIN_TOP_AGREEMENT}. Nothing has been published"
        )
