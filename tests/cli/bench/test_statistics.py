"""Statistics of latencies against values worked out by hand (the C++ bench has the same vectors) and against numpy."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sal_cli.bench.statistics import PERCENTILES, coefficient_of_variation, latency_summary, percentile
from sal_runtime.errors import InputError

LATENCIES = st.lists(st.floats(min_value=1e-3, max_value=1e6), min_size=1, max_size=200)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (range(1, 11), {50: 5, 90: 9, 95: 10, 99: 10}),
        ([7], {1: 7, 50: 7, 90: 7, 95: 7, 99: 7, 100: 7}),
        (range(1, 101), {1: 1, 7: 7, 50: 50, 90: 90, 95: 95, 99: 99, 100: 100}),
        ([30, 10, 20], {33: 10, 34: 20, 66: 20, 67: 30}),
    ],
)
def test_percentiles_are_nearest_rank(values: list[float], expected: dict[int, float]) -> None:
    assert {percent: percentile(list(values), percent) for percent in expected} == expected


@given(LATENCIES, st.integers(min_value=1, max_value=100))
def test_a_percentile_is_the_least_value_that_covers_its_share(values: list[float], percent: int) -> None:
    found = percentile(values, percent)
    assert found in values
    assert 100 * sum(value <= found for value in values) >= percent * len(values)
    smaller = [value for value in values if value < found]
    assert 100 * len(smaller) < percent * len(values)


def test_summary_and_variation_by_hand() -> None:
    summary = latency_summary([4.0, 1.0, 3.0, 2.0])
    assert summary == {"min": 1, "mean": 2.5, "median": 2, "p90": 4, "p95": 4, "p99": 4, "max": 4}
    assert list(summary) == ["min", "mean", "median", "p90", "p95", "p99", "max"]
    # deviations -1.5, 1.5, -0.5, 0.5: sum of squares 5, over n - 1 = 3
    assert coefficient_of_variation([4.0, 1.0, 3.0, 2.0]) == pytest.approx(math.sqrt(5 / 3) / 2.5)
    assert coefficient_of_variation([7.0]) == 0.0


@given(LATENCIES)
def test_summary_and_variation_against_the_standard_library(values: list[float]) -> None:
    summary = latency_summary(np.array(values))
    ordered = sorted(values)
    assert summary["min"] == ordered[0]
    assert summary["max"] == ordered[-1]
    assert summary["mean"] == pytest.approx(statistics.fmean(values))
    assert [summary[name] for name in PERCENTILES] == sorted(summary[name] for name in PERCENTILES)
    if len(values) > 1:
        expected = statistics.stdev(values) / statistics.fmean(values)
        assert coefficient_of_variation(values) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(
    "statistic", [lambda values: percentile(values, 50), latency_summary, coefficient_of_variation]
)
def test_nothing_measured_is_an_error(statistic: object) -> None:
    with pytest.raises(InputError, match="at least one"):
        statistic([])  # type: ignore[operator]
