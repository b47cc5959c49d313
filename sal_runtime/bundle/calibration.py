"""The likelihood that a hit matches its query: a logistic regression in the manifest of a bundle.

Training fits it (sal_train/evaluation/calibrate.py); here it is only applied. Its inputs describe one pair of query and
image and do not depend on the rest of the gallery, so a hit keeps its likelihood whatever else is searched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sal_runtime.arrays import AnyArray, Float32Array, Float64Array
from sal_runtime.errors import BundleError

FEATURES = ("cosine", "evidence_logit", "num_terms", "log_prior", "cosine_x_log_prior")
CERTAIN = 1e-6
"""Joint evidence is capped at 1 - CERTAIN, so that its logit stays finite."""


@dataclass(frozen=True)
class Calibration:
    """Logistic regression on standardised features: `likelihood = sigmoid(bias + weights . (x - mean) / scale)`.

    Attributes:
        mean: float64 `[len(FEATURES)]`, subtracted from the features.
        scale: float64 `[len(FEATURES)]`, positive; the differences are divided by it.
        weights: float64 `[len(FEATURES)]`, weights of the standardised features.
        bias: constant term of the logit.
    """

    mean: Float64Array
    scale: Float64Array
    weights: Float64Array
    bias: float

    def likelihood(self, features: Float64Array) -> Float32Array:
        """Likelihoods of match in 0..1, float32 `[N]`, for features float64 `[N, len(FEATURES)]`."""
        logits = (features - self.mean) / self.scale @ self.weights + self.bias
        # the half-angle form of the sigmoid never overflows
        return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)), dtype=np.float32)

    def to_json(self) -> dict[str, Any]:
        """The content of `calibration` in the manifest; `from_json` reads it back."""
        return {
            "method": "logistic",
            "features": list(FEATURES),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "weights": self.weights.tolist(),
            "bias": self.bias,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Calibration:
        """Read what `to_json` writes; other keys, such as how it was fitted, are ignored.

        Raises:
            BundleError: the method or the features differ, or a number is missing or not finite.
        """
        method, features = data.get("method"), tuple(data.get("features", ()))
        if method != "logistic" or features != FEATURES:
            raise BundleError(
                f"calibration: got {method!r} on {', '.join(map(str, features)) or 'nothing'}, expected 'logistic' on "
                f"{', '.join(FEATURES)}; export the bundle again with this version of sal"
            )
        try:
            mean, scale, weights = (np.array(data[key], dtype=np.float64) for key in ("mean", "scale", "weights"))
            bias = float(data["bias"])
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"calibration: cannot be read ({error!r}); export the bundle again") from error
        shapes_fit = all(values.shape == (len(FEATURES),) for values in (mean, scale, weights))
        if not shapes_fit or not np.isfinite([*mean, *scale, *weights, bias]).all() or (scale <= 0).any():
            raise BundleError(
                f"calibration: expected {len(FEATURES)} finite numbers for each of mean, scale (positive) and weights "
                "and a finite bias; export the bundle again"
            )
        return Calibration(mean, scale, weights, bias)


def match_features(cosine: AnyArray, log_evidence: AnyArray, num_terms: int, log_prior: float) -> Float64Array:
    """Features of the calibration, float64 `[N, len(FEATURES)]`.

    The logit of the joint evidence would be the answer if the attribute head were right and its attributes independent.
    The last feature gives the cosine more weight the rarer the query is.

    Args:
        cosine: cosines of the images and the query vector of the rule `marginalised`, `[N]`.
        log_evidence: log-likelihoods of the query's terms under the attribute head, `[N]`.
        num_terms: number of terms in the query.
        log_prior: log of the share of training people who satisfy the query, at most 0.
    """
    log_evidence = np.minimum(log_evidence, np.log1p(-CERTAIN))
    columns = np.empty((len(cosine), len(FEATURES)))
    columns[:, 0] = cosine
    columns[:, 1] = log_evidence - np.log(-np.expm1(log_evidence))
    columns[:, 2] = num_terms
    columns[:, 3] = log_prior
    columns[:, 4] = columns[:, 0] * log_prior
    return columns
