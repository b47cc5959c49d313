"""Statistics of measured latencies. The C++ bench computes the same (docs/benchmarks.md)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sal_runtime.errors import InputError

PERCENTILES = {"median": 50, "p90": 90, "p95": 95, "p99": 99}
STABLE_VARIATION = 0.10
"""Largest coefficient of variation of a row that may be called stable."""

Values = Sequence[float] | NDArray[np.float64]


def percentile(values: Values, percent: int) -> float:
    """Nearest-rank percentile: the value at rank ceil(percent / 100 * n), counted from 1, of the sorted values.

    The result is always one of the values, never between two of them.

    Args:
        values: at least one number `[n]`, in any order.
        percent: whole number in 1..100.

    Raises:
        InputError: there is no value.
    """
    if len(values) == 0:
        raise InputError("percentile of no values; expected at least one")
    rank = -(-percent * len(values) // 100)  # the ceiling in whole numbers: 0.07 * 100 is more than 7 in floating point
    return float(np.sort(np.asarray(values, dtype=np.float64))[rank - 1])


def latency_summary(latencies_ms: Values) -> dict[str, float]:
    """`min`, `mean`, `median`, `p90`, `p95`, `p99` and `max` of latencies, ms.

    Raises:
        InputError: there is none.
    """
    percentiles = {name: percentile(latencies_ms, percent) for name, percent in PERCENTILES.items()}
    values = np.asarray(latencies_ms, dtype=np.float64)
    return {"min": float(values.min()), "mean": float(values.mean()), **percentiles, "max": float(values.max())}


def coefficient_of_variation(values: Values) -> float:
    """Standard deviation (with n - 1) over the mean; 0 for a single value.

    Raises:
        InputError: there is no value.
    """
    if len(values) == 0:
        raise InputError("coefficient of variation of no values; expected at least one")
    if len(values) == 1:
        return 0.0
    return float(np.std(values, ddof=1) / np.mean(values))
