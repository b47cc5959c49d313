"""How well the attribute head recognises each attribute: the error rates behind the evidence that search shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def recognition_rates(
    logits: NDArray[np.float32], attributes: NDArray[np.uint8], names: Sequence[str]
) -> dict[str, Any]:
    """Hit and rejection rates at probability 1/2, the label-based measure of pedestrian attribute recognition.

    Args:
        logits: of the attribute head, float32 `[N, A]`.
        attributes: labels, uint8 `[N, A]`.
        names: of the attributes, A.

    Returns:
        `by_attribute`: for each name the number of `positives`, `true_positive_rate` and `true_negative_rate`, 0..1,
        None where no image has (or lacks) it; `mA`: mean of both rates, over the attributes that have both (Li et al.,
        A Richly Annotated Dataset for Pedestrian Attribute Recognition, 2016); `num_attributes`: how many those are.
    """
    said, is_true = logits > 0, attributes == 1
    positives, negatives = is_true.sum(axis=0), (~is_true).sum(axis=0)
    hits, rejections = (said & is_true).sum(axis=0), (~said & ~is_true).sum(axis=0)
    by_attribute = {
        name: {
            "positives": int(positives[bit]),
            "true_positive_rate": _rate(hits[bit], positives[bit]),
            "true_negative_rate": _rate(rejections[bit], negatives[bit]),
        }
        for bit, name in enumerate(names)
    }
    both = (positives > 0) & (negatives > 0)
    balanced = (hits[both] / positives[both] + rejections[both] / negatives[both]) / 2
    return {
        "mA": float(balanced.mean()) if both.any() else None,
        "num_attributes": int(both.sum()),
        "by_attribute": by_attribute,
    }


def _rate(count: np.int64, of: np.int64) -> float | None:
    return float(count / of) if of else None
