"""Exact ranking against the product of everything with everything, sorted."""

from __future__ import annotations

import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sal_runtime.errors import InputError
from sal_runtime.ranking.exact import Sizes, top_k

SMALL = Sizes(kept_scores=150, chunk_scores=80, chunk_rows=37, block_products=64, pending_candidates=20)
"""Small galleries then have many chunks, blocks and rounds of sorting out."""


def by_sorting(
    queries: np.ndarray, gallery: np.ndarray, k: int, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    rows = np.arange(len(gallery)) if allowed is None else np.flatnonzero(allowed)
    scores = queries @ gallery[rows].T
    order = np.lexsort((np.broadcast_to(rows, scores.shape), -scores), axis=1)[:, :k]
    return rows[order], np.take_along_axis(scores, order, 1)


def eighths(rng: np.random.Generator, largest: int, shape: tuple[int, int]) -> np.ndarray:
    """Their products and sums are exact in float32, in whatever order they are added."""
    return (rng.integers(-largest, largest + 1, shape) / 8).astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(
    num=st.integers(1, 9),
    sizes=st.lists(st.integers(0, 150), min_size=1, max_size=4),
    k=st.integers(1, 400),
    share=st.sampled_from([None, 0.0, 0.03, 0.3, 0.6, 0.97, 1.0]),
    seed=st.integers(0, 10_000),
    many_ties=st.booleans(),
)
@example(num=1, sizes=[38], k=38, share=None, seed=6, many_ties=True)  # the second chunk has one row, the worst of all
@example(num=2, sizes=[80], k=60, share=None, seed=2, many_ties=True)
@example(num=3, sizes=[0, 40, 0, 41], k=81, share=0.6, seed=2, many_ties=True)
def test_equals_a_full_sort_with_ties_by_row(
    num: int, sizes: list[int], k: int, share: float | None, seed: int, many_ties: bool
) -> None:
    rng = np.random.default_rng(seed)
    queries = eighths(rng, 2 if many_ties else 2000, (num, 3))
    parts = [eighths(rng, 2 if many_ties else 2000, (size, 3)) for size in sizes]
    allowed = None if share is None else rng.random(sum(sizes)) < share
    rows, scores = top_k(queries, parts, k, allowed, sizes=SMALL)
    expected_rows, expected_scores = by_sorting(queries, np.concatenate(parts), k, allowed)
    assert rows.dtype == np.int64
    assert scores.dtype == np.float32
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("num", [1, 5, 64, 130])
@pytest.mark.parametrize("window", [None, slice(100, 4000), slice(2100, 2101)])
def test_large_chunks(num: int, window: slice | None) -> None:
    rng = np.random.default_rng(num)
    queries, gallery = eighths(rng, 4, (num, 20)), eighths(rng, 4, (40_000, 20))
    allowed = None
    if window is not None:
        allowed = np.zeros(len(gallery), bool)
        allowed[window] = True
    parts = [gallery[start : start + 32_768] for start in range(0, len(gallery), 32_768)]
    rows, scores = top_k(queries, parts, 7, allowed)
    expected_rows, expected_scores = by_sorting(queries, gallery, 7, allowed)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("num", [1, 5, 12, 64])
@pytest.mark.parametrize("share", [None, 0.05, 0.9])
def test_one_vector_many_times_is_ranked_by_row(num: int, share: float | None) -> None:
    """Its score is the same to the last bit wherever it is, although these sums are not exact."""
    rng = np.random.default_rng(num)
    gallery = rng.standard_normal((37_777, 128), dtype=np.float32)
    copies = rng.choice(len(gallery), 300, replace=False)
    gallery[copies] = gallery[copies[0]]
    allowed = None if share is None else rng.random(len(gallery)) < share
    expected = np.sort(copies if allowed is None else copies[allowed[copies]])
    queries = np.concatenate([gallery[copies[:1]], rng.standard_normal((num - 1, 128), dtype=np.float32)])
    rows, scores = top_k(queries, gallery, len(expected), allowed)
    np.testing.assert_array_equal(rows[0], expected)
    assert len(np.unique(scores[0])) == 1


@pytest.mark.parametrize("ascending", [True, False])
def test_a_gallery_in_the_order_of_its_scores(ascending: bool) -> None:
    """Every row beats all before it, or none does."""
    gallery = np.arange(1000, dtype=np.float32)[:: 1 if ascending else -1, None]
    rows, scores = top_k(np.ones((2, 1), np.float32), gallery, 5, sizes=SMALL)
    assert rows.tolist() == [[999, 998, 997, 996, 995] if ascending else [0, 1, 2, 3, 4]] * 2
    assert scores.tolist() == [[999, 998, 997, 996, 995]] * 2


def test_one_query_of_many_has_all_the_candidates() -> None:
    gallery = np.stack([np.arange(500), np.zeros(500)], axis=1).astype(np.float32)
    queries = np.array([[0, 1], [1, 0], [0, 1]], np.float32)
    rows, _ = top_k(queries, gallery, 3, sizes=SMALL)
    assert rows.tolist() == [[0, 1, 2], [499, 498, 497], [0, 1, 2]]


@pytest.mark.parametrize("num", [1, 4])
def test_arrays_that_are_not_contiguous(num: int) -> None:
    rng = np.random.default_rng(0)
    gallery = np.asfortranarray(rng.integers(-3, 4, (500, 8)).astype(np.float32))[::2]
    queries = rng.integers(-3, 4, (8, num)).astype(np.float32).T
    allowed = np.repeat(rng.random(250) < 0.8, 2)[::2]
    for mask in (None, allowed):
        rows, _ = top_k(queries, gallery, 5, mask, sizes=SMALL)
        np.testing.assert_array_equal(rows, by_sorting(queries, gallery, 5, mask)[0])


def test_many_threads_at_once() -> None:
    rng = np.random.default_rng(0)
    gallery, queries = eighths(rng, 9, (600, 6)), eighths(rng, 9, (40, 6))
    expected, _ = by_sorting(queries, gallery, 4)

    def rank(number: int) -> np.ndarray:
        return top_k(queries[number : number + 1], gallery, 4, sizes=SMALL)[0]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(rank, range(40)))
    np.testing.assert_array_equal(np.concatenate(found), expected)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    rng = np.random.default_rng(0)
    gallery = rng.standard_normal((200_000, 4), dtype=np.float32)
    queries = rng.standard_normal((16, 4), dtype=np.float32)
    for k in (10, 2000, 100_000, len(gallery)):
        tracemalloc.start()
        rows, scores = top_k(queries, gallery, k)
        peak = tracemalloc.get_traced_memory()[1] - rows.nbytes - scores.nbytes
        tracemalloc.stop()
        assert peak < 2 * 16 * 2**20 + 64 * k


def test_nothing_to_rank() -> None:
    queries = np.ones((2, 4), np.float32)
    for gallery, allowed in (
        (np.empty((0, 4), np.float32), None),
        ([], None),
        (np.ones((5, 4), np.float32), np.zeros(5, bool)),
    ):
        rows, scores = top_k(queries, gallery, 3, allowed)
        assert rows.shape == scores.shape == (2, 0)
    rows, scores = top_k(queries[:0], np.ones((5, 4), np.float32), 3)
    assert rows.shape == scores.shape == (0, 3)


@pytest.mark.parametrize(("queries", "gallery", "k"), [((2, 3), (5, 4), 1), ((2, 3), (5, 3), 0), ((3,), (5, 3), 1)])
def test_wrong_shapes_are_refused(queries: tuple[int, ...], gallery: tuple[int, ...], k: int) -> None:
    with pytest.raises(InputError):
        top_k(np.ones(queries, np.float32), np.ones(gallery, np.float32), k)


def test_wrong_types_and_masks_are_refused() -> None:
    queries, gallery = np.ones((2, 3), np.float32), np.ones((5, 3), np.float32)
    with pytest.raises(InputError, match=r"gallery float64 \(5, 3\): expected float32"):
        top_k(queries, gallery.astype(np.float64), 1)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"allowed bool \(4,\): expected bool \(5,\)"):
        top_k(queries, gallery, 1, np.ones(4, bool))
    with pytest.raises(InputError, match=r"allowed int64 \(2,\): expected bool \(5,\)"):
        top_k(queries, gallery, 1, np.array([0, 4]))  # type: ignore[arg-type]


def test_numbers_that_are_not_finite_are_refused_where_too_few_hits_are_left() -> None:
    gallery = np.full((20, 4), np.nan, np.float32)
    gallery[:6] = 1.0
    with pytest.raises(InputError, match="not finite"):
        top_k(np.ones((1, 4), np.float32), gallery, 20)
