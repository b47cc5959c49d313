"""The likelihood of match (`sal_runtime.bundle.calibration`): fitted on training people, measured on test people.

Every pair of a partial query and an image is an observation: a match or not. The regression is fitted on held-out
training categories. If a run held none out, it is fitted on categories that the encoders know; the likelihood is then
too confident for people the model never saw, and the result carries a caveat.

In a gallery of a few held-out categories, each of them is far more frequent than among all people. Matches and other
pairs are therefore weighted, query by query, to the share of matches in the whole training split (label shift: matches
look the same but are more or less frequent; Saerens et al., Neural Computation 2002).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from scipy import optimize

from sal_runtime.arrays import AnyArray, BoolArray, Float64Array, Int64Array, UInt8Array
from sal_runtime.bundle.calibration import FEATURES, Calibration, match_features
from sal_train.checkpoint import Run
from sal_train.config import DataConfig
from sal_train.datasets.splits import SearchDataset, Split
from sal_train.evaluation.held_out import own_train_rows, partition
from sal_train.evaluation.partial_queries import (
    NUM_GIVEN,
    AnsweredQuery,
    PartialQuery,
    answer,
    make_partial_queries,
    satisfied,
)
from sal_train.evaluation.subject import LabelledEmbeddings, Subject, encode_labelled

MAX_IMAGES = 4000
"""Images in the fit, drawn by the seed."""
MAX_QUERIES = 100
"""Queries for each number of given attributes, drawn by the seed."""
NUM_FOLDS = 5
NUM_BINS = 15
TOP_HITS = 20
RIDGE = 1e-4
"""Penalty on the squared weights of the standardised features; it keeps the weights of separable data finite."""
BOUNDS = ((0, None), (0, None), (None, None), (None, None), (None, 0), (None, None))
"""Bounds of the weights of `FEATURES` and of the bias. The log prior is negative, so with a negative weight of its
product with the cosine the likelihood still rises with the cosine."""
HELD_OUT = "training categories held out from training"
NOT_HELD_OUT = "training categories that the encoders were trained on"
CAVEAT = "nothing was held out: the likelihood is too confident for people unlike those in training"


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


@dataclass(frozen=True)
class Observed:
    """A query answered on the images of the fit.

    Attributes:
        answered: scores and labels of the images.
        share: of the population that satisfies the query, 0..1.
    """

    answered: AnsweredQuery
    share: float

    def label_shift(self) -> Float64Array:
        """Weight of each image: how much more frequent its kind, match or not, is in the population, `[N]`."""
        matches = self.answered.relevant
        share_here = float(matches.mean())
        if share_here in (0.0, 1.0):
            return np.ones(len(matches))
        return np.where(matches, self.share / share_here, (1.0 - self.share) / (1.0 - share_here))


def fit_run_calibration(
    run: Run, dataset: SearchDataset, subject: Subject, cache_dir: Path, console: Console
) -> dict[str, Any]:
    """Calibrate a run on its held-out categories, or with a caveat on training categories if it held none out.

    The manifest of a bundle holds the result, fitted with the encoders and the attribute head of that bundle, under
    `calibration`.

    Args:
        run: gives the held-out categories and the seed.
        dataset: the data the run was trained on; only its training split is read.
        subject: `run_subject(run, device)`, or `bundle_subject` of its export.
        cache_dir: of decoded images.
        console: for progress; standard error.

    Returns:
        JSON that `Calibration.from_json` reads, with a record of the fit.
    """
    rows, source = calibration_rows(dataset.train, run.config.data, run.config.run.seed)
    paths = [dataset.train.image_paths[row] for row in rows]
    images = encode_labelled(subject, paths, dataset.train.attributes[rows], cache_dir, console)
    population = dataset.train.attributes[: dataset.train.num_own]
    result = fit_calibration(subject, images, population, run.config.run.seed) | {"fitted_on": source}
    return result if source == HELD_OUT else result | {"caveat": CAVEAT}


def calibration_rows(split: Split, data: DataConfig, seed: int) -> tuple[Int64Array, str]:
    """Rows of the training split to calibrate on, at most `MAX_IMAGES` chosen by `seed`, and their description."""
    part = partition(split, data.validation_fraction, data.validation_seed)
    rows, source = (part.validation, HELD_OUT) if len(part.validation) else (own_train_rows(split, part), NOT_HELD_OUT)
    chosen = np.random.default_rng(seed).permutation(len(rows))[:MAX_IMAGES]
    return rows[np.sort(chosen)], source


def fit_calibration(subject: Subject, images: LabelledEmbeddings, population: UInt8Array, seed: int) -> dict[str, Any]:
    """Fit the regression on partial queries made from the labels of encoded images.

    The result includes the expected calibration error of queries that were left out of the fit in turn
    (`NUM_FOLDS` folds).

    Args:
        subject: encoded the images; its own calibration is not used.
        images: of training people.
        population: attribute vectors uint8 `[M, A]` with the attribute frequencies that search will meet.
        seed: of the queries.
    """
    categories = np.unique(images.attributes, axis=0)
    queries = [query for given in NUM_GIVEN for query in _some_queries(subject, categories, given, seed)]
    observed = [
        Observed(answer(subject, images, query), float(satisfied(subject.schema, query.given, population).mean()))
        for query in queries
    ]
    folds = np.random.default_rng(seed).permutation(len(queries)) % NUM_FOLDS
    reliability, top = Reliability(), Reliability()
    for fold in range(NUM_FOLDS):
        fitted = _fit([query for index, query in enumerate(observed) if folds[index] != fold])
        for index in np.flatnonzero(folds == fold):
            answered = observed[index].answered
            likelihood = fitted.likelihood(features_of(answered))
            count_pairs(likelihood, answered, reliability, top, observed[index].label_shift())
    calibration = _fit(observed)
    return calibration.to_json() | {
        "num_queries": len(queries),
        "num_images": len(images.attributes),
        "cross_validated": {
            "expected_calibration_error": reliability.expected_calibration_error(),
            f"top{TOP_HITS}": top.expected_calibration_error(),
        },
    }


def features_of(answered: AnsweredQuery) -> Float64Array:
    """Inputs of the calibration for all images and one query, float64 `[N, len(FEATURES)]`."""
    scores = answered.scores
    return match_features(
        scores["marginalised"], scores["attribute_likelihood"], len(answered.query.terms), answered.log_prior
    )


def count_pairs(
    likelihood: AnyArray,
    answered: AnsweredQuery,
    everything: Reliability,
    top: Reliability,
    weights: Float64Array | None = None,
) -> None:
    """Add all pairs of one query to `everything`, and its best hits, which people look at, to `top`."""
    counts = np.ones(len(likelihood)) if weights is None else weights
    everything.add(likelihood, answered.relevant, counts)
    best = _best_hits(answered)
    top.add(likelihood[best], answered.relevant[best], counts[best])


def fit_logistic(features: Float64Array, matches: BoolArray, weights: Float64Array) -> Calibration:
    """Logistic regression with a small ridge, constrained to rise with the cosine and with the evidence.

    Args:
        features: float64 `[n, len(FEATURES)]`.
        matches: bool `[n]`.
        weights: of the pairs, `[n]`.
    """
    mean, spread = features.mean(axis=0), features.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    design = np.column_stack([(features - mean) / scale, np.ones(len(features))])
    penalised = np.append(np.full(len(FEATURES), RIDGE), 0.0)  # no penalty on the bias
    shares = weights / weights.sum()

    def loss(theta: Float64Array) -> tuple[float, Float64Array]:
        logits = design @ theta
        value = shares @ (np.logaddexp(0.0, logits) - matches * logits) + 0.5 * penalised @ theta**2
        residual = shares * (0.5 * (1.0 + np.tanh(0.5 * logits)) - matches)
        return float(value), residual @ design + penalised * theta

    weights_and_bias = optimize.minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B", bounds=BOUNDS).x
    return Calibration(mean, scale, weights_and_bias[:-1], float(weights_and_bias[-1]))


def pair_weights(observed: Observed) -> Float64Array:
    """Weights of the pairs of one query in the fit, `[N]`: its best hits together weigh as much as all its pairs."""
    count = len(observed.answered.relevant)
    weights = np.full(count, 1.0 / count)
    best = _best_hits(observed.answered)
    weights[best] += 1.0 / len(best)
    return np.asarray(weights * observed.label_shift())


def _best_hits(answered: AnsweredQuery) -> Int64Array:
    return np.argsort(-answered.scores["marginalised"], kind="stable")[:TOP_HITS]


def _some_queries(subject: Subject, categories: UInt8Array, given: int | None, seed: int) -> tuple[PartialQuery, ...]:
    queries = make_partial_queries(subject.schema, categories, given, seed)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(queries))[:MAX_QUERIES])
    return tuple(queries[index] for index in chosen)


def _fit(observed: list[Observed]) -> Calibration:
    features = np.concatenate([features_of(query.answered) for query in observed])
    matches = np.concatenate([query.answered.relevant for query in observed])
    return fit_logistic(features, matches, np.concatenate([pair_weights(query) for query in observed]))
