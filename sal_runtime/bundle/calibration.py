"""What turns a bundle's scores into probabilities: numbers in its manifest that training fits and search applies.

Two things are calibrated (sal_train/evaluation/calibrate.py fits both on held-out training people). The logits of the
attribute head, so that the evidence for an asked word is a probability. And the match score, one number for a pair of
query and image that orders the hits, so that its logistic is the likelihood that the image fits the query. Both depend
on the pair alone: a hit keeps its numbers whatever else is searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sal_runtime.arrays import AnyArray, Float32Array
from sal_runtime.errors import BundleError

METHOD = "match score"
NUMBERS = ("cosine_weight", "score_weight", "growing_score_weight", "terms_weight", "information_weight", "bias")


@dataclass(frozen=True)
class Calibration:
    """Calibrated attribute logits, and the likelihood of match as a logistic regression.

    The information of a query is -log of the share of training people who satisfy it, in nats. The match score is a
    weighted mean of the logit of the joint evidence, with weight 1, and of the cosine, with weight `cosine_weight *
    information**2`: the more a query says, the more the cosine counts. `likelihood = sigmoid((score_weight +
    growing_score_weight * information) * match score + terms_weight * number of terms + information_weight *
    information + bias)`.

    Attributes:
        attribute_scale: float32 `[A]`, not negative; factor on the logit of each attribute.
        attribute_shift: float32 `[A]`, added to the scaled logit.
        cosine_weight: not negative.
        score_weight: positive, so that the likelihood rises with the match score.
        growing_score_weight: not negative.
        terms_weight: of the number of terms.
        information_weight: of the information of the query.
        bias: constant term of the logit.
    """

    attribute_scale: Float32Array
    attribute_shift: Float32Array
    cosine_weight: float
    score_weight: float
    growing_score_weight: float
    terms_weight: float
    information_weight: float
    bias: float

    def head(self, weight: Float32Array, bias: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Weight float32 `[A, d]` and bias float32 `[A]` of the attribute head that gives calibrated logits."""
        return weight * self.attribute_scale[:, None], bias * self.attribute_scale + self.attribute_shift

    def cosine_share(self, information: float) -> float:
        """Share of the cosine in the match score of a query, 0..1; the rest is that of the evidence."""
        weight = self.cosine_weight * information**2
        return weight / (1.0 + weight)

    def likelihood(self, scores: AnyArray, num_terms: int, information: float) -> Float32Array:
        """Likelihoods of match in 0..1, float32 `[N]`, for match scores `[N]` of one query."""
        constant = self.terms_weight * num_terms + self.information_weight * information + self.bias
        slope = self.score_weight + self.growing_score_weight * information
        logits = slope * np.asarray(scores, dtype=np.float64) + constant
        # the half-angle form of the sigmoid never overflows
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)), dtype=np.float32)

    def to_json(self) -> dict[str, Any]:
        """The content of `calibration` in the manifest; `from_json` reads it back."""
        attributes = {name: getattr(self, name).tolist() for name in ("attribute_scale", "attribute_shift")}
        return {"method": METHOD, **{name: getattr(self, name) for name in NUMBERS}, **attributes}

    @staticmethod
    def from_json(data: Mapping[str, Any], num_attributes: int) -> Calibration:
        """Read what `to_json` writes; other keys, such as how it was fitted, are ignored.

        Raises:
            BundleError: the method differs, or a number is missing, not finite or of the wrong sign.
        """
        if data.get("method") != METHOD:
            raise BundleError(
                f"calibration: got the method {data.get('method')!r}, expected {METHOD!r}; export the bundle again "
                "with this version of sal"
            )
        try:
            scale, shift = (np.array(data[f"attribute_{name}"], dtype=np.float32) for name in ("scale", "shift"))
            numbers = {name: float(data[name]) for name in NUMBERS}
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"calibration: cannot be read ({error!r}); export the bundle again") from error
        finite = np.isfinite([*scale, *shift, *numbers.values()]).all()
        signs_fit = (scale >= 0).all() and min(numbers["cosine_weight"], numbers["growing_score_weight"]) >= 0
        signs_fit = signs_fit and numbers["score_weight"] > 0
        if scale.shape != (num_attributes,) or shift.shape != scale.shape or not finite or not signs_fit:
            raise BundleError(
                f"calibration: expected {num_attributes} finite numbers for each of attribute_scale (not negative) "
                "and attribute_shift, finite cosine_weight and growing_score_weight (not negative), score_weight "
                "(positive), terms_weight, information_weight and bias; export the bundle again"
            )
        return Calibration(scale, shift, **numbers)
