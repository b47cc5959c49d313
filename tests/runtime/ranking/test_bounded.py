"""Ranking by codes and few vectors against the plain rankings: the same rows, and few vectors read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sal_runtime.arrays import BoolArray
from sal_runtime.errors import InputError
from sal_runtime.ranking import bounded, codes
from sal_runtime.ranking.codes import CodedPart
from sal_runtime.ranking.exact import top_k
from sal_runtime.ranking.scoring import top_k_by_score
from tests.runtime.lesser_product import lesser_of_two


@dataclass
class Coded:
    """A gallery as codes, whose vectors are read one by one."""

    vectors: NDArray[np.float32]
    slots: int
    read: list[int] = field(default_factory=list)

    def parts(self) -> list[CodedPart]:
        parts = []
        for start in range(0, len(self.vectors), self.slots):
            records = codes.encode(self.vectors[start : start + self.slots])
            turned = np.full((records.shape[1], self.slots), 77, np.int8)
            turned[:, : len(records)] = records.T
            parts.append(CodedPart.of(turned, len(records)))
        return parts

    def rank(self, queries: Any, k: int, allowed: Any = None) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        def read(rows: NDArray[np.int64]) -> NDArray[np.float32]:
            assert (np.diff(rows) > 0).all()
            self.read += rows.tolist()
            return self.vectors[rows]

        parts = self.parts()
        found = [
            bounded.settle(asked, bounded.find_promising(asked, parts, k, allowed), k, read)
            for asked in bounded.ask(queries, self.vectors.shape[1])
        ]
        rows, scores = zip(*found, strict=True)
        return np.concatenate(rows), np.concatenate(scores)


def drawn_gallery(kind: str, size: int, dim: int, seed: int) -> NDArray[np.float32]:
    """Unit vectors float32 `[size, dim]`."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((size, dim))
    if kind == "groups":
        vectors = 0.05 * vectors + vectors[rng.integers(0, min(size, 20), size)]
    elif kind == "copies":
        vectors = vectors[rng.integers(0, min(size, 15), size)]
    elif kind == "axes":
        vectors = np.eye(dim)[rng.integers(0, dim, size)]
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


drawn = {
    "seed": st.integers(0, 10**6),
    "size": st.integers(1, 6000),
    "slots": st.sampled_from([64, 1000, 4096]),
    "num": st.sampled_from([1, 2, 5, 70]),
    "kind": st.sampled_from(["spread", "groups", "copies", "axes"]),
    "share": st.sampled_from([None, 0.01, 0.4, 0.95]),
    "small": st.booleans(),
}


def shrink(patch: pytest.MonkeyPatch, small: bool) -> None:
    """Limits so low that every way is taken with few vectors."""
    if small:
        for name, value in {"FEW_PAIRS": 3, "PAIRS": 40, "HEAD_ROWS": 2, "READ_ROWS": 7, "FORMS": 3}.items():
            patch.setattr(bounded, name, value)


def drawn_filter(rng: np.random.Generator, size: int, share: float | None, k: int) -> tuple[BoolArray | None, int]:
    """The rows that compete, about that share of all, and as many of k as there are."""
    allowed = None if share is None else rng.random(size) < share
    return allowed, min(k, size if allowed is None else int(allowed.sum()))


@settings(max_examples=60, deadline=None)
@given(dim=st.integers(1, 40), k=st.integers(1, 12) | st.integers(100, 9000), **drawn)
def test_the_nearest_are_those_of_a_full_ranking(
    seed: int, size: int, slots: int, num: int, kind: str, share: float | None, small: bool, dim: int, k: int
) -> None:
    rng = np.random.default_rng(seed)
    gallery = drawn_gallery(kind, size, dim, seed)
    queries = rng.standard_normal((num, dim), dtype=np.float32) * np.float32(rng.choice([1, 1e-3, 30]))
    queries[0] = gallery[0]
    allowed, k = drawn_filter(rng, size, share, k)
    if k == 0:
        return
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, small)
        rows, scores = Coded(gallery, slots).rank(queries, k, allowed)
    for number, query in enumerate(queries):
        together = np.einsum("nd,nd->n", gallery, query[None].repeat(size, axis=0))
        exact = np.einsum("nd,d->n", gallery, query) if num == 1 else together
        competing = np.arange(size) if allowed is None else np.flatnonzero(allowed)
        expected = competing[np.argsort(-exact[competing], kind="stable")[:k]]
        np.testing.assert_array_equal(rows[number], expected)
        np.testing.assert_array_equal(scores[number], exact[expected])
    if num == 1:
        np.testing.assert_array_equal(rows, top_k(queries, gallery, k, allowed)[0])


@settings(max_examples=40, deadline=None)
@given(
    bounds=st.lists(st.sampled_from(["first", "both", "none"]), min_size=1, max_size=4), k=st.integers(1, 200), **drawn
)
def test_the_best_by_a_score_are_those_of_a_full_ranking(
    seed: int, size: int, slots: int, num: int, kind: str, share: float | None, small: bool, bounds: list[str], k: int
) -> None:
    rng = np.random.default_rng(seed)
    gallery = drawn_gallery(kind, size, 8, seed)
    drawn_queries = drawn_gallery("spread", 2 * len(bounds), 8, seed + 1)
    rules = [lesser_of_two(*drawn_queries[2 * n : 2 * n + 2], bound) for n, bound in enumerate(bounds)]
    allowed, k = drawn_filter(rng, size, share, k)
    if k == 0:
        return
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch, small)
        rows, scores = Coded(gallery, slots).rank(rules, k, allowed)
    expected_rows, expected_scores = top_k_by_score(rules, [gallery], k, allowed)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("num", [1, 16])
def test_few_vectors_are_read(num: int) -> None:
    gallery = Coded(drawn_gallery("spread", 100_000, 64, 0), 32_768)
    queries = drawn_gallery("spread", num, 64, 1)
    rows, _ = gallery.rank(queries, 10)
    np.testing.assert_array_equal(rows, top_k(queries, gallery.vectors, 10)[0])
    assert len(gallery.read) <= 60 * num


def test_many_equal_vectors_come_in_the_order_of_their_rows() -> None:
    gallery = Coded(np.tile(drawn_gallery("spread", 500, 16, 0), (20, 1)), 4096)
    rows, _ = gallery.rank(gallery.vectors[[5]], 8)
    np.testing.assert_array_equal(rows, [np.arange(8) * 500 + 5])


def test_what_cannot_be_asked() -> None:
    with pytest.raises(InputError, match="not finite"):
        list(bounded.ask(np.full((1, 4), np.inf, np.float32), 4))
    with pytest.raises(InputError, match="expected float32"):
        list(bounded.ask(np.ones((1, 5), np.float32), 4))
