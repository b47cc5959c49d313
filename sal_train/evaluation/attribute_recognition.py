"""Error rates of the attribute head, per attribute: they tell how far the evidence that search shows can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sal_runtime.arrays import Float32Array, UInt8Array


def recognition_rates(logits: Float32Array, attributes: UInt8Array, names: Sequence[str]) -> dict[str, Any]:
    """Hit and rejection rates at probability 1/2, the label-based measure of pedestrian attribute recognition.

    Args:
        logits: of the attribute head, float32 `[N, A]`.
        attributes: labels, uint8 `[N, A]`.
        names: A names of attributes.

    Returns:
        `by_attribute`: by name the number of `positives`, `true_positive_rate` and `true_negative_rate`, 0..1, None if
        no image has (or lacks) the attribute; `mA`: mean of both rates over the attributes that have both, None if
        none has (Li et al., A Richly Annotated Dataset for Pedestrian Attribute Recognition, 2016); `num_attributes`:
        the number of these attributes.
    """
    predicted, is_true = logits > 0, attributes == 1
    positives, negatives = is_true.sum(axis=0), (~is_true).sum(axis=0)
    hits, rejections = (predicted & is_true).sum(axis=0), (~predicted & ~is_true).sum(axis=0)
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


def _rate(count: np.int64, total: np.int64) -> float | None:
    return float(count / total) if total else None
