"""Exact ranking against a full sort."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sal_runtime import ranking
from sal_runtime.errors import InputError
from sal_runtime.ranking import top_k


def by_sorting(queries: np.ndarray, gallery: np.ndarray, k: int) -> np.ndarray:
    scores = queries @ gallery.T
    return np.array([np.lexsort((np.arange(len(gallery)), -row))[:k] for row in scores])


@settings(max_examples=80)
@given(st.integers(1, 4), st.integers(1, 300), st.integers(1, 320), st.integers(0, 10_000), st.booleans())
@example(num=1, size=38, k=38, seed=6, many_ties=True)  # the second chunk has one row, the worst of all
@example(num=2, size=80, k=60, seed=2, many_ties=True)
def test_equals_a_full_sort_with_ties_by_index(num: int, size: int, k: int, seed: int, many_ties: bool) -> None:
    rng = np.random.default_rng(seed)
    # eighths: their products and sums are exact in float32, in whatever order they are added
    largest = 2 if many_ties else 2000
    queries = (rng.integers(-largest, largest + 1, (num, 3)) / 8).astype(np.float32)
    gallery = (rng.integers(-largest, largest + 1, (size, 3)) / 8).astype(np.float32)
    previous, ranking.CHUNK_ROWS = ranking.CHUNK_ROWS, 37
    try:
        indices, scores = top_k(queries, gallery, k)
    finally:
        ranking.CHUNK_ROWS = previous
    expected = by_sorting(queries, gallery, k)
    assert (indices == expected).all()
    assert np.allclose(scores, np.take_along_axis(queries @ gallery.T, expected, 1), atol=1e-5)


def test_non_contiguous_inputs() -> None:
    rng = np.random.default_rng(0)
    gallery = np.asfortranarray(rng.integers(-3, 4, (500, 8)).astype(np.float32))[::2]
    queries = rng.integers(-3, 4, (8, 2)).astype(np.float32).T
    assert (top_k(queries, gallery, 5)[0] == by_sorting(queries, gallery, 5)).all()


def test_an_empty_gallery_has_no_hits() -> None:
    indices, scores = top_k(np.ones((2, 4), np.float32), np.empty((0, 4), np.float32), 3)
    assert indices.shape == scores.shape == (2, 0)


@pytest.mark.parametrize(("queries", "gallery", "k"), [((2, 3), (5, 4), 1), ((2, 3), (5, 3), 0), ((3,), (5, 3), 1)])
def test_wrong_shapes_are_refused(queries: tuple[int, ...], gallery: tuple[int, ...], k: int) -> None:
    with pytest.raises(InputError):
        top_k(np.ones(queries, np.float32), np.ones(gallery, np.float32), k)
