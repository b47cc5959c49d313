"""Paired tests against scipy's permutation test, and their pairing of seeds and queries."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.training.paired_tests import compare, difference
from sal_runtime.errors import InputError


@pytest.mark.parametrize("count", [5, 40])
def test_the_sign_flip_test_is_scipys(count: int) -> None:
    from scipy import stats

    values = np.random.default_rng(2).normal(0.3, 1.0, count)
    found = difference(values)
    theirs = stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(1)
    )
    assert found.p == pytest.approx(theirs.pvalue, abs=0.0 if count == 5 else 0.02)
    assert found.standard_error == pytest.approx(stats.sem(values))


def result(seed: int, precision: list[float], is_seen: list[int]) -> dict[str, object]:
    measured = {"average_precision": precision, "is_seen": is_seen}
    return {"seed": seed, "test": measured, "held_out": measured}


def test_rows_are_paired_by_seed_and_query() -> None:
    row = [result(1, [0.5, 0.4, 0.9], [0, 0, 1]), result(2, [0.7, 0.2, 0.9], [0, 0, 1])]
    base = [result(2, [0.4, 0.1, 0.1], [0, 0, 1]), result(1, [0.4, 0.3, 0.1], [0, 0, 1]), result(3, [0, 0, 0], [0] * 3)]
    unseen = compare(row, base, "test", unseen=True)
    assert (unseen.over_seeds.count, unseen.over_queries.count) == (2, 2)
    assert unseen.over_seeds.mean == pytest.approx((0.1 + 0.2) / 2)  # seed 1, seed 2
    assert unseen.over_queries.standard_error == pytest.approx(0.05)  # 0.2 and 0.1
    assert unseen.standard_error == pytest.approx(0.05)
    assert compare(row, base, "held_out").over_queries.count == 6  # other queries for every seed


def test_a_single_seed_has_no_error_over_seeds() -> None:
    single = compare([result(1, [0.5, 0.3], [0, 0])], [result(1, [0.4, 0.4], [0, 0])], "test")
    assert math.isnan(single.over_seeds.standard_error)
    assert single.standard_error == pytest.approx(0.1)


def test_rows_without_a_common_seed_are_not_compared() -> None:
    with pytest.raises(InputError, match="no seed in common"):
        compare([result(1, [0.5], [0])], [result(2, [0.4], [0])], "test")
