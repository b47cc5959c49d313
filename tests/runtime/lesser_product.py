"""A score that is a function of two inner products, for tests of rankings by scores."""

from __future__ import annotations

import numpy as np

from sal_runtime.ranking.scoring import Scoring


def lesser_of_two(query: np.ndarray, other: np.ndarray, bound: str) -> Scoring:
    """The lesser product counts, and is rounded, so that many are equal; either product bounds it."""
    bounds = {"first": query[None], "both": np.stack([query, other]), "none": np.zeros_like(query)[None]}[bound]
    offsets = np.full(len(bounds), np.inf if bound == "none" else 0.13, np.float32)
    slope = float(max(np.linalg.norm(query), np.linalg.norm(other)))
    return Scoring(
        bounds,
        offsets,
        np.stack([query, other]),
        lambda two: np.round(4 * two.min(axis=1)) / 4,
        query,
        slope * 1.001,
        0.2501,  # what lies on two sides of an edge is rounded to values that far apart
    )
