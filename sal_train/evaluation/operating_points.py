"""What is shown and what is missed when only hits of at least some likelihood are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9)
"""Likelihoods of match, what `sal search --min-likelihood` takes."""


class OperatingPoints:
    """Pairs of a query and an image, counted at and above each of the `THRESHOLDS`."""

    def __init__(self) -> None:
        """No query yet."""
        self.queries = 0
        self.pairs = 0
        self.matching = 0
        self.shown = np.zeros(len(THRESHOLDS), dtype=np.int64)
        self.found = np.zeros(len(THRESHOLDS), dtype=np.int64)

    def add(self, likelihood: NDArray[Any], matches: NDArray[np.bool_]) -> None:
        """Count the images of one query: likelihood in 0..1 and whether they match, both `[N]`."""
        self.queries += 1
        self.pairs += len(matches)
        self.matching += int(matches.sum())
        for index, threshold in enumerate(THRESHOLDS):
            kept = likelihood >= threshold
            self.shown[index] += kept.sum()
            self.found[index] += (kept & matches).sum()

    def to_json(self) -> list[dict[str, Any]]:
        """For each threshold, over all queries together.

        `shown_per_query`, images; `precision`, share of them that match (None if nothing is shown); `recall`, share of
        all matching images that are shown; `false_positive_rate`, share of all other images that are.
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
