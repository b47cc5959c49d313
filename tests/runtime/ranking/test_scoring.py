"""Rankings by a function of inner products against a sort of all scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sal_runtime.errors import InputError
from sal_runtime.ranking.scoring import Scoring, best_proposed, top_k_by_score
from tests.runtime.lesser_product import lesser_of_two


def unit_rows(count: int, dim: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@given(
    count=st.integers(0, 120),
    bounds=st.lists(st.sampled_from(["first", "both", "none"]), min_size=1, max_size=4),
    k=st.integers(1, 130),
    seed=st.integers(0, 999),
    share=st.sampled_from([0.0, 0.1, 0.6, 1.0]),
    sizes=st.sampled_from([{}, {"chunk_rows": 16, "scored_rows": 3}, {"chunk_rows": 40, "scored_rows": 1}]),
)
def test_the_best_by_any_score(
    count: int, bounds: list[str], k: int, seed: int, share: float, sizes: dict[str, int]
) -> None:
    gallery, queries, others = (unit_rows(size, 8, seed) for size in (count, len(bounds), len(bounds) + 1))
    allowed = np.random.default_rng(seed).random(count) < share
    rules = [lesser_of_two(*each) for each in zip(queries, others[1:], bounds, strict=True)]
    cut = count // 3
    rows, scores = top_k_by_score(rules, [gallery[:cut], gallery[cut:]], k, allowed, **sizes)
    competing = np.flatnonzero(allowed)
    assert rows.shape == scores.shape == (len(bounds), min(k, len(competing)))
    for number, rule in enumerate(rules):
        products = gallery.astype(np.float64) @ rule.directions.T
        exact = 4 * products.min(axis=1)
        on_the_edge = np.abs(exact - np.floor(exact) - 0.5) < 1e-4  # the rounding may go either way
        if not on_the_edge[competing].any():
            expected = sorted(competing.tolist(), key=lambda row: (-np.round(exact[row]), row))[:k]
            assert rows[number].tolist() == expected
            np.testing.assert_allclose(scores[number], np.round(exact[expected]) / 4)


def test_a_score_is_computed_only_where_the_bound_allows() -> None:
    gallery, query = unit_rows(40_000, 8, 1), unit_rows(1, 8, 2)[0]
    scored = 0

    def score(products: np.ndarray) -> np.ndarray:
        nonlocal scored
        scored += len(products)
        return products[:, 0] - 0.01

    rule = Scoring(query[None], np.zeros(1, np.float32), query[None], score, query, 1.001, 1e-5)
    rows, _ = top_k_by_score([rule], [gallery], 5)
    assert rows[0].tolist() == np.argsort(-(gallery @ query), kind="stable")[:5].tolist()
    assert scored < 4000


def test_the_best_of_what_was_proposed() -> None:
    gallery, rule = unit_rows(50, 8, 1), lesser_of_two(*unit_rows(2, 8, 2), "first")
    places, scores = best_proposed(rule, gallery, 4)
    rows, exact = top_k_by_score([rule], [gallery], 4)
    np.testing.assert_array_equal(places, rows[0])
    np.testing.assert_array_equal(scores, exact[0])
    assert best_proposed(rule, gallery[:2], 4)[0].shape == (2,)


def test_what_is_refused() -> None:
    rule = lesser_of_two(*unit_rows(2, 8, 2), "first")
    with pytest.raises(InputError, match="k is 0"):
        top_k_by_score([rule], [unit_rows(5, 8, 1)], 0)
    with pytest.raises(InputError, match=r"expected float32 \[Q, d\]"):
        top_k_by_score([rule], [unit_rows(5, 9, 1)], 1)
    with pytest.raises(InputError, match="not finite"):
        top_k_by_score([rule], [unit_rows(5, 8, 1) * np.nan], 2)
