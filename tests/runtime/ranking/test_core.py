"""Picking the best scores against sorting them."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sal_runtime.ranking.core import best


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 60), st.integers(1, 70), st.integers(0, 10_000))
def test_the_best_of_each_row_with_ties_by_row(num: int, size: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (num, size)).astype(np.float32)
    rows = np.stack([rng.permutation(1000)[:size] for _ in range(num)])
    found_scores, found_rows = best(scores, rows, k)
    for query in range(num):
        expected = sorted(zip(-scores[query], rows[query], strict=True))[:k]
        assert found_rows[query].tolist() == [row for _, row in expected]
        assert found_scores[query].tolist() == [-score for score, _ in expected]
