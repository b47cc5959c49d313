"""Error rates of the attribute head, per attribute: they tell how far the evidence that search shows can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sal_runtime.arrays import BoolArray, Float32Array
from sal_runtime.query.schema import AttributeSchema
from sal_train.datasets.splits import Labels

CHANCE = 0.5
"""Balanced accuracy of a head that always says the same, or that guesses."""
WEAK = 0.65
"""Balanced accuracy below which an attribute is hardly recognised."""
FEW_PEOPLE = 3
"""People with an attribute below whom nothing can be said about it."""
FOUND = 0.4
"""Share of the images with an attribute that must be found where its precision is stated."""
STANDARD_ERRORS = 2.0
"""Distance from chance, in standard errors, from which an attribute is recognised better than by chance."""


def recognition_rates(
    logits: Float32Array, labels: Labels, schema: AttributeSchema, identities: Sequence[str] = ()
) -> dict[str, Any]:
    """Hit and rejection rates at probability 1/2, the label-based measure of pedestrian attribute recognition.

    Each attribute is measured on the images of which it is known.

    Args:
        logits: of the attribute head, float32 `[N, A]`.
        labels: of the images.
        schema: of the A attributes.
        identities: people of the N images, "" where unknown; empty if nobody is known.

    Returns:
        `by_attribute`: by name of the bit: its `group`; the number of `positives`; `people`, different people among
        them (an image of an unknown person counts as one); `share`, positives among the images, 0..1;
        `true_positive_rate` and `true_negative_rate`, 0..1, None if no image has (or lacks) the attribute;
        `precision`, of the images in which it is recognised, those that have it, and `negative_precision`, of those
        in which it is not, those that lack it, None if there is no such image; `people_without` it, counted likewise;
        `precision_at_forty`, the highest precision of any threshold at which at least 40 % of the images with the
        attribute are found, which tells whether a rare word is worth asking for; `balanced_accuracy`, the mean
        of both rates, and its `standard_error`, None without both. `mA`: mean of the balanced accuracies, None if there
        is none (Li et al., A Richly Annotated Dataset for Pedestrian Attribute Recognition, 2016); `num_attributes`:
        their number; `chance`: what a head that knows nothing reaches.
    """
    is_true = labels.attributes == 1
    known = np.ones(is_true.shape, dtype=np.bool_) if labels.known is None else labels.known
    people = np.array([identity or f" {row}" for row, identity in enumerate(identities or [""] * len(is_true))])
    by_attribute: dict[str, dict[str, Any]] = {}
    for group in schema.groups:
        for bit in group.bits:
            without = people[known[:, bit] & ~is_true[:, bit]]
            counted = {
                "group": group.name,
                "people": len(np.unique(people[is_true[:, bit]])),
                "people_without": len(np.unique(without)),
            }
            by_attribute[schema.bit_names[bit]] = counted | _rates(
                logits[known[:, bit], bit], is_true[known[:, bit], bit]
            )
    by_attribute = {name: by_attribute[name] for name in schema.bit_names}
    balanced = [rates["balanced_accuracy"] for rates in by_attribute.values() if rates["balanced_accuracy"] is not None]
    return {
        "mA": float(np.mean(balanced)) if balanced else None,
        "num_attributes": len(balanced),
        "chance": CHANCE,
        "by_attribute": by_attribute,
    }


def full_name(bit: str, group: str) -> str:
    """The name of a bit for people, with its group where the word alone may not say it: `sleeve=short`, `hat`."""
    return bit if group in bit else f"{group}={bit}"


def _rates(logits: Float32Array, is_true: BoolArray) -> dict[str, Any]:
    predicted = logits > 0
    positives, negatives = int(is_true.sum()), int((~is_true).sum())
    shown, hidden = int(predicted.sum()), int((~predicted).sum())
    hits = float((predicted & is_true).sum() / positives) if positives else None
    rejections = float((~predicted & ~is_true).sum() / negatives) if negatives else None
    balanced = error = None
    if hits is not None and rejections is not None:
        balanced = (hits + rejections) / 2
        error = 0.5 * float(np.sqrt(_variance(hits, positives) + _variance(rejections, negatives)))
    return {
        "positives": positives,
        "share": positives / max(1, len(is_true)),
        "true_positive_rate": hits,
        "true_negative_rate": rejections,
        "precision": float((predicted & is_true).sum() / shown) if shown else None,
        "negative_precision": float((~predicted & ~is_true).sum() / hidden) if hidden else None,
        "precision_at_forty": _precision_at_forty(logits, is_true) if positives else None,
        "balanced_accuracy": balanced,
        "standard_error": error,
    }


def _precision_at_forty(logits: Float32Array, is_true: BoolArray) -> float:
    order = np.argsort(-logits, kind="stable")
    found = np.cumsum(is_true[order])
    is_threshold = np.append(np.diff(logits[order]) != 0, True)  # equal logits are found together
    return float((found / np.arange(1, len(found) + 1))[is_threshold & (found >= FOUND * found[-1])].max())


def _variance(rate: float, count: int) -> float:
    """Of a rate that was counted on `count` images; one case is added on either side, so that 0 and 1 are uncertain."""
    smoothed = (rate * count + 1) / (count + 2)
    return smoothed * (1 - smoothed) / count


def strength(rates: Mapping[str, Any]) -> str:
    """How well one attribute of `by_attribute` is recognised: `good`, `weak` or `chance`.

    It is `few` where too few people have the attribute to tell, and `unknown` where none has it, or all have.
    """
    balanced = rates["balanced_accuracy"]
    if balanced is None:
        return "unknown"
    if rates["people"] < FEW_PEOPLE:
        return "few"
    if balanced - STANDARD_ERRORS * rates["standard_error"] <= CHANCE:
        return "chance"
    return "weak" if balanced < WEAK else "good"
