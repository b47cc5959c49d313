"""Precision and recall of the hits at or above a likelihood."""

from __future__ import annotations

from typing import Any

import numpy as np

from sal_runtime.arrays import AnyArray, BoolArray

THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Likelihoods of match, as search can require them of a hit."""


class OperatingPoints:
    """Pairs of a query and an image, counted at and above each of the `THRESHOLDS`."""

    def __init__(self) -> None:
        """Start without queries."""
        self.queries = 0
        self.pairs = 0
        self.matching = 0
        self.shown = np.zeros(len(THRESHOLDS), dtype=np.int64)
        self.found = np.zeros(len(THRESHOLDS), dtype=np.int64)

    def add(self, likelihood: AnyArray, matches: BoolArray) -> None:
        """Count the images of one query.

        Args:
            likelihood: of match, in 0..1, `[N]`.
            matches: bool `[N]`.
        """
        self.queries += 1
        self.pairs += len(matches)
        self.matching += int(matches.sum())
        for index, threshold in enumerate(THRESHOLDS):
            kept = likelihood >= threshold
            self.shown[index] += kept.sum()
            self.found[index] += (kept & matches).sum()

    def to_json(self) -> list[dict[str, Any]]:
        """Rates at each threshold, over all queries together.

        Returns:
            For each threshold `shown_per_query`, images; `precision`, share of shown images that match; `recall`,
            share of matching images that are shown; `false_positive_rate`, share of other images that are shown. A rate
            of no images is None.
        """
        others = self.pairs - self.matching
        points = []
        for threshold, shown, found in zip(THRESHOLDS, self.shown.tolist(), self.found.tolist(), strict=True):
            points.append(
                {
                    "min_likelihood": threshold,
                    "shown_per_query": shown / self.queries,
                    "precision": found / shown if shown else None,
                    "recall": found / self.matching if self.matching else None,
                    "false_positive_rate": (shown - found) / others if others else None,
                }
            )
        return points
