"""Is one row of a plan better than another? Paired differences, their standard error, and a sign-flip test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sal_runtime.arrays import AnyArray, Float64Array
from sal_runtime.errors import InputError

FLIPS = 9_999
"""Random sign flips of a test; with few differences all flips are tried instead."""
EXACT = 12
"""Number of differences up to which all flips are tried."""


@dataclass(frozen=True)
class Difference:
    """A mean of paired differences.

    Attributes:
        mean: of the differences.
        standard_error: sample standard deviation / sqrt(number); NaN of a single one.
        p: two-sided probability of so large a mean if each difference might as well have the other sign.
        count: number of differences.
    """

    mean: float
    standard_error: float
    p: float
    count: int


@dataclass(frozen=True)
class Comparison:
    """A row against another, on the same seeds and queries.

    Attributes:
        over_seeds: one difference of mAP for each seed; its error is that of training.
        over_queries: one difference of average precision for each query; its error is that of the choice of queries.
    """

    over_seeds: Difference
    over_queries: Difference

    @property
    def standard_error(self) -> float:
        """The larger of the two errors."""
        return float(np.fmax(self.over_seeds.standard_error, self.over_queries.standard_error))


def difference(values: AnyArray) -> Difference:
    """Mean, standard error and sign-flip test of paired differences `[n]`.

    Raises:
        InputError: there is none.
    """
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        raise InputError("no pair to compare: the rows have no seed in common")
    count = len(values)
    if count <= EXACT:
        numbers = np.arange(2**count)
        signs = 1.0 - 2.0 * (numbers[:, None] >> np.arange(count) & 1)
        larger = np.abs(signs @ values) >= abs(values.sum()) - 1e-12
        p = float(larger.mean())
    else:
        rng = np.random.default_rng(0)
        signs = 1.0 - 2.0 * rng.integers(0, 2, (FLIPS, count), dtype=np.int8)
        larger = np.abs(signs @ values) >= abs(values.sum()) - 1e-12
        p = float((1 + larger.sum()) / (1 + FLIPS))
    error = float(values.std(ddof=1) / np.sqrt(count)) if count > 1 else float("nan")
    return Difference(float(values.mean()), error, p, count)


def compare(
    records: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], measure: str, unseen: bool = False
) -> Comparison:
    """Compare two rows of a plan on one data set, seed by seed and query by query.

    Args:
        records: results of the row, as `campaign.py` writes them.
        others: results of the row to compare with.
        measure: `held_out` or `test`.
        unseen: count only queries whose category training has not seen.

    Raises:
        InputError: the rows have no seed in common.
    """
    by_seed = {record["seed"]: _precision(record[measure], unseen) for record in others}
    pairs = [
        _precision(record[measure], unseen) - by_seed[record["seed"]] for record in records if record["seed"] in by_seed
    ]
    if not pairs:
        raise InputError("no pair to compare: the rows have no seed in common")
    # the test queries are the same for all seeds, and count once; each seed holds out other categories
    queries = np.mean(pairs, axis=0) if measure == "test" else np.concatenate(pairs)
    return Comparison(difference(np.array([pair.mean() for pair in pairs])), difference(queries))


def _precision(measured: Mapping[str, Any], unseen: bool) -> Float64Array:
    """The average precision of each query, float64 `[Q]`."""
    precision = np.array(measured["average_precision"], dtype=np.float64)
    return precision[np.array(measured["is_seen"]) == 0] if unseen else precision
