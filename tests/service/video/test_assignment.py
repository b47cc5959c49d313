"""The best pairs against those of all permutations and against scipy."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from sal_service.video.assignment import best_pairs


def test_a_great_gain_is_given_up_for_a_greater_sum() -> None:
    rows, columns = best_pairs(np.array([[0.9, 0.8], [0.7, 0.0]]))
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 1), (1, 0)]


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (2, 0)])
def test_nobody_to_pair(shape: tuple[int, int]) -> None:
    rows, columns = best_pairs(np.zeros(shape))
    assert rows.tolist() == columns.tolist() == []


def test_sums_are_the_greatest_there_are() -> None:
    generator = np.random.default_rng(0)
    for _ in range(300):
        n, m = generator.integers(1, 5, 2)
        gain = generator.random((n, m)) * (generator.random((n, m)) < generator.random())
        rows, columns = best_pairs(gain)
        assert len(set(rows.tolist())) == len(set(columns.tolist())) == len(rows)
        assert (gain[rows, columns] > 0).all()
        small, large = sorted((n, m))
        tall = gain if n == small else gain.T
        best = max(tall[range(small), list(chosen)].sum() for chosen in permutations(range(large), int(small)))
        assert gain[rows, columns].sum() == pytest.approx(best)


def test_a_crowd_as_scipy_pairs_it() -> None:
    gain = np.random.default_rng(1).random((40, 55))
    gain[gain < 0.6] = 0
    for matrix in (gain, gain.T):
        expected = linear_sum_assignment(matrix, maximize=True)
        assert matrix[best_pairs(matrix)].sum() == pytest.approx(matrix[expected].sum())
