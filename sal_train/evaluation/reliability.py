"""How well stated likelihoods agree with what happened: pairs counted by predicted likelihood."""

from __future__ import annotations

from typing import Any

import numpy as np

from sal_runtime.arrays import AnyArray, BoolArray, Float64Array

NUM_BINS = 15


class Reliability:
    """Pairs counted by predicted likelihood, in `NUM_BINS` equal bins of 0..1, for the expected calibration error."""

    def __init__(self) -> None:
        """Start without pairs."""
        self.pairs = np.zeros(NUM_BINS)
        self.predicted = np.zeros(NUM_BINS)
        self.matched = np.zeros(NUM_BINS)

    def add(self, likelihood: AnyArray, matches: BoolArray, weights: Float64Array | float = 1.0) -> None:
        """Count pairs.

        Args:
            likelihood: predicted, in 0..1, `[n]`.
            matches: bool `[n]`.
            weights: of the pairs, `[n]`, or one for all.
        """
        bins = np.minimum((likelihood * NUM_BINS).astype(np.int64), NUM_BINS - 1)
        counts = np.broadcast_to(np.asarray(weights, dtype=np.float64), bins.shape)
        self.pairs += np.bincount(bins, weights=counts, minlength=NUM_BINS)
        self.predicted += np.bincount(bins, weights=counts * likelihood, minlength=NUM_BINS)
        self.matched += np.bincount(bins, weights=counts * matches, minlength=NUM_BINS)

    def expected_calibration_error(self) -> float:
        """Mean over pairs of |mean likelihood - share of matches| of their bin."""
        return float(np.abs(self.predicted - self.matched).sum() / self.pairs.sum())

    def to_json(self) -> dict[str, Any]:
        """The error, the share of matches, and the bins with pairs."""
        filled = np.flatnonzero(self.pairs)
        return {
            "expected_calibration_error": self.expected_calibration_error(),
            "num_pairs": int(self.pairs.sum()),
            "share_matching": float(self.matched.sum() / self.pairs.sum()),
            "bins": [
                {
                    "from": round(index / NUM_BINS, 4),
                    "pairs": int(self.pairs[index]),
                    "likelihood": float(self.predicted[index] / self.pairs[index]),
                    "matching": float(self.matched[index] / self.pairs[index]),
                }
                for index in filled
            ],
        }
