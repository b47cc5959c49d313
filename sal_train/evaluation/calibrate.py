"""The calibration of a bundle (`sal_runtime.bundle.calibration`): fitted on training people, measured on test people.

Every pair of a partial query and an image is an observation: a match or not. Everything is fitted on held-out training
categories. If a run held none out, it is fitted on categories that the encoders know; the likelihood is then too
confident for people the model never saw, and the result carries a caveat. Three things are fitted in turn: the logits
of the attribute head, the weight of the cosine in the match score, and the likelihood of match from that score.

In a gallery of a few held-out categories, each of them is far more frequent than among all people. Matches and other
pairs are therefore weighted, query by query, to the share of matches in the whole training split (label shift: matches
look the same but are more or less frequent; Saerens et al., Neural Computation 2002).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from scipy import optimize

from sal_runtime.arrays import AnyArray, BoolArray, Float32Array, Float64Array, Int64Array
from sal_runtime.bundle.calibration import Calibration
from sal_runtime.matching.scoring import match_score
from sal_runtime.query.schema import AttributeSchema
from sal_train.config import DataConfig
from sal_train.datasets.splits import Labels, SearchDataset, Split
from sal_train.datasets.street import in_words_of
from sal_train.evaluation.attribute_calibration import calibrate_attributes
from sal_train.evaluation.held_out import own_train_rows, partition
from sal_train.evaluation.metrics import rank_queries
from sal_train.evaluation.partial_queries import (
    NUM_GIVEN,
    AnsweredQuery,
    PartialQuery,
    answer,
    judged,
    make_partial_queries,
    match_scores,
)
from sal_train.evaluation.reliability import Reliability
from sal_train.evaluation.subject import LabelledEmbeddings, Subject, encode_labelled

MAX_IMAGES = 4000
"""Images in the fit, drawn by the seed."""
MAX_QUERIES = 100
"""Queries of each data set for each number of given attributes, drawn by the seed."""
TOP_HITS = 20
FEWEST_CATEGORIES = 4
"""With fewer, there are no halves to compare, and the error across them is that of the fit itself."""
COSINE_WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0)
"""Weights of the cosine in the match score to choose from."""
TYPICAL_COSINE_WEIGHT, WORTHWHILE = 0.5, 0.005
"""The first was best on held-out categories of Market-1501 and PETA, where 0.2 to 1 hardly differ. Another weight is
only taken if its mean average precision is higher by more than the second."""
RIDGE = 1e-4
"""Penalty on the squared weights of the standardised features; it keeps the weights of separable data finite."""
SMALLEST = (1e-3, 0.0, -np.inf, -np.inf, -np.inf)
"""Bounds of the standardised weights and the bias: the likelihood always rises with the match score."""
HELD_OUT = "training categories held out from training"
NOT_HELD_OUT = "training categories that the encoders were trained on"
CAVEAT = "nothing was held out: the likelihood is too confident for people unlike those in training"


@dataclass(frozen=True)
class Observed:
    """A query answered on the images of the fit.

    Attributes:
        answered: scores and labels of the images.
        given: number of given attributes, as in `NUM_GIVEN`.
        share: of the population that satisfies the query, 0..1.
    """

    answered: AnsweredQuery
    given: int | None
    share: float

    def label_shift(self) -> Float64Array:
        """Weight of each image: how much more frequent its kind, match or not, is in the population, `[N]`."""
        matches = self.answered.relevant
        share_here = float(matches.mean())
        if share_here in (0.0, 1.0):
            return np.ones(len(matches))
        return np.where(matches, self.share / share_here, (1.0 - self.share) / (1.0 - share_here))


@dataclass(frozen=True)
class Observations:
    """The queries of a fit, answered on its images under the rules that need no calibration."""

    schema: AttributeSchema
    images: LabelledEmbeddings
    queries: Sequence[Observed]

    def scored(self, calibration: Calibration, rows: BoolArray) -> Iterable[Observed]:
        """The queries with their match scores, on some images `[N]`; those that none of these matches are left out."""
        for query in self.queries:
            answered = query.answered
            here = rows if answered.decided is None else rows[answered.decided]
            if answered.relevant[here].any():
                match = match_scores(answered, calibration, self.images, self.schema)
                scores = {name: values[here] for name, values in {**answered.scores, "match": match}.items()}
                yield replace(query, answered=replace(answered, scores=scores, relevant=answered.relevant[here]))


def calibrate(
    subject: Subject, dataset: SearchDataset, held_out: DataConfig, seed: int, cache_dir: Path, console: Console
) -> dict[str, Any]:
    """Fit a calibration on the categories that training held out, or with a caveat on others if it held none out.

    The manifest of a bundle holds the result, fitted with the encoders and the attribute head of that bundle, under
    `calibration`.

    Args:
        subject: a run, or the bundle of its export.
        dataset: the data the run was trained on; only its training split is read.
        held_out: settings of the run that tell what it held out.
        seed: of the run.
        cache_dir: of decoded images.
        console: for progress; standard error.

    Returns:
        JSON that `Calibration.from_json` reads, with a record of the fit.
    """
    split = in_words_of(dataset, subject.schema).train
    rows, source = calibration_rows(split, held_out, seed)
    paths = [split.image_paths[row] for row in rows]
    images = encode_labelled(subject, paths, split.labels.rows(rows), cache_dir, console)
    population = split.labels.rows(slice(split.num_own))
    result = fit_calibration(subject, images, population, seed) | {"fitted_on": source}
    return result if source == HELD_OUT else result | {"caveat": CAVEAT}


def calibration_rows(split: Split, data: DataConfig, seed: int) -> tuple[Int64Array, str]:
    """Rows of the training split to calibrate on, at most `MAX_IMAGES` chosen by `seed`, and their description."""
    part = partition(split, data.validation_fraction, data.validation_seed)
    rows, source = (part.validation, HELD_OUT) if len(part.validation) else (own_train_rows(split, part), NOT_HELD_OUT)
    chosen = np.random.default_rng(seed).permutation(len(rows))[:MAX_IMAGES]
    return rows[np.sort(chosen)], source


def fit_calibration(subject: Subject, images: LabelledEmbeddings, population: Labels, seed: int) -> dict[str, Any]:
    """Fit the calibration on partial queries made from the labels of encoded images.

    The weight of the cosine is chosen, and the expected calibration error is measured, across two halves of the
    categories: fitted on one, applied to the other, and the other way round. The result is then fitted on both.

    Args:
        subject: encoded the images; its own calibration is not used.
        images: of training people.
        population: labels with the attribute frequencies that search will meet.
        seed: of the queries and the halves.

    Returns:
        JSON that `Calibration.from_json` reads, with a record of the fit.
    """
    categories, category = images.labels.distinct()
    num_categories = len(categories.attributes)
    observed = _observe(subject, population, images, seed)
    first = (np.random.default_rng(seed).permutation(num_categories) % 2 == 0)[category]
    halves = [(first, ~first), (~first, first)]
    if num_categories < FEWEST_CATEGORIES:
        halves = [(np.ones_like(first), np.ones_like(first))]
    fitted = [calibrate_attributes(subject.schema, images.rows(fit), population) for fit, _ in halves]
    precisions = [
        _mean_precisions(*attributes, observed, applied)
        for attributes, (_, applied) in zip(fitted, halves, strict=True)
    ]
    mean = np.mean(precisions, axis=0)
    best, typical = int(np.argmax(mean)), COSINE_WEIGHTS.index(TYPICAL_COSINE_WEIGHT)
    cosine_weight = COSINE_WEIGHTS[best if mean[best] > mean[typical] + WORTHWHILE else typical]
    reliability, top = Reliability(), Reliability()
    for attributes, (fit, applied) in zip(fitted, halves, strict=True):
        half = _fit(_only_score(*attributes, cosine_weight), observed, fit)
        for query in observed.scored(half, applied):
            count_pairs(half, query.answered, reliability, top, query.label_shift())
    everything = calibrate_attributes(subject.schema, images, population)
    calibration = _fit(_only_score(*everything, cosine_weight), observed, np.ones_like(first))
    return calibration.to_json() | {
        "num_queries": len(observed.queries),
        "num_images": len(images.logits),
        "num_categories": num_categories,
        "cross_validated": {
            "mean_average_precision": dict(zip(map(str, COSINE_WEIGHTS), mean.tolist(), strict=True)),
            "expected_calibration_error": reliability.expected_calibration_error(),
            f"top{TOP_HITS}": top.expected_calibration_error(),
        },
    }


def count_pairs(
    calibration: Calibration,
    answered: AnsweredQuery,
    everything: Reliability,
    top: Reliability,
    weights: Float64Array | None = None,
) -> AnyArray:
    """Add all pairs of one query to `everything`, and its best hits, which people look at, to `top`.

    Returns:
        The likelihoods of the pairs, float32 `[N]`.
    """
    likelihood = calibration.likelihood(answered.scores["match"], len(answered.query.terms), answered.information)
    counts = np.ones(len(likelihood)) if weights is None else weights
    everything.add(likelihood, answered.relevant, counts)
    best = _best_hits(answered.scores["match"])
    top.add(likelihood[best], answered.relevant[best], counts[best])
    return likelihood


def fit_logistic(features: Float64Array, matches: BoolArray, weights: Float64Array) -> Float64Array:
    """Logistic regression with a small ridge, whose weights are bounded by `SMALLEST`.

    Args:
        features: float64 `[n, 4]`.
        matches: bool `[n]`.
        weights: of the pairs, `[n]`.

    Returns:
        The weights of the features and the bias, float64 `[5]`.
    """
    mean, spread = features.mean(axis=0), features.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    design = np.column_stack([(features - mean) / scale, np.ones(len(features))])
    penalised = np.append(np.full(features.shape[1], RIDGE), 0.0)  # no penalty on the bias
    shares = weights / weights.sum()

    def loss(theta: Float64Array) -> tuple[float, Float64Array]:
        logits = design @ theta
        value = shares @ (np.logaddexp(0.0, logits) - matches * logits) + 0.5 * penalised @ theta**2
        residual = shares * (0.5 * (1.0 + np.tanh(0.5 * logits)) - matches)
        return float(value), residual @ design + penalised * theta

    bounds = [(smallest, np.inf) for smallest in SMALLEST]
    theta = optimize.minimize(loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds).x
    return np.append(theta[:-1] / scale, theta[-1] - theta[:-1] @ (mean / scale))


def pair_weights(observed: Observed) -> Float64Array:
    """Weights of the pairs of one query in the fit, `[N]`: its best hits together weigh as much as all its pairs."""
    count = len(observed.answered.relevant)
    weights = np.full(count, 1.0 / count)
    best = _best_hits(observed.answered.scores["match"])
    weights[best] += 1.0 / len(best)
    return np.asarray(weights * observed.label_shift())


def _fit(scoring: Calibration, observed: Observations, rows: BoolArray) -> Calibration:
    """A calibration with the match scores of `scoring`, fitted on some images."""
    queries = list(observed.scored(scoring, rows))
    features = np.concatenate([_features(query.answered) for query in queries])
    matches = np.concatenate([query.answered.relevant for query in queries])
    theta = fit_logistic(features, matches, np.concatenate([pair_weights(query) for query in queries]))
    return Calibration(scoring.attribute_scale, scoring.attribute_shift, scoring.cosine_weight, *map(float, theta))


def _only_score(scale: Float32Array, shift: Float32Array, cosine_weight: float) -> Calibration:
    """What gives match scores; its likelihood is not fitted."""
    return Calibration(scale, shift, cosine_weight, 1.0, 0.0, 0.0, 0.0, 0.0)


def _features(answered: AnsweredQuery) -> Float64Array:
    """Match score, its product with the information, number of terms and information of all pairs, float64 `[N, 4]`."""
    scores, information = answered.scores["match"].astype(np.float64), answered.information
    features = np.empty((len(scores), 4))
    features[:, 0], features[:, 1] = scores, scores * information
    features[:, 2], features[:, 3] = len(answered.query.terms), information
    return features


def _mean_precisions(
    scale: Float32Array,
    shift: Float32Array,
    observed: Observations,
    rows: BoolArray,
) -> Float64Array:
    """For each of `COSINE_WEIGHTS` the average precision, averaged over queries and then over numbers of attributes."""
    by_given: dict[int | None, list[Float64Array]] = {}
    tried = [_only_score(scale, shift, weight) for weight in COSINE_WEIGHTS]
    for query in observed.scored(_only_score(scale, shift, 0.0), rows):
        answered = query.answered
        evidence, cosines = answered.scores["match"], answered.scores["marginalised"]
        shares = [calibration.cosine_share(answered.information) for calibration in tried]
        scores = np.stack([match_score(evidence, cosines, share) for share in shares])
        precision, _ = rank_queries(scores, np.broadcast_to(answered.relevant, scores.shape))
        by_given.setdefault(query.given, []).append(precision)
    return np.asarray(np.mean([np.mean(precisions, axis=0) for precisions in by_given.values()], axis=0))


def _observe(subject: Subject, population: Labels, images: LabelledEmbeddings, seed: int) -> Observations:
    schema, (categories, _) = subject.schema, images.labels.distinct()
    queries = [
        Observed(answer(subject, images, query), given, _share(schema, query, population))
        for given in NUM_GIVEN
        for query in _some_queries(schema, categories, given, seed)
    ]
    return Observations(schema, images, queries)


def _share(schema: AttributeSchema, query: PartialQuery, population: Labels) -> float:
    """Share of the people whose labels decide it who satisfy a query."""
    relevant, decided = judged(schema, query, population)
    return float(relevant[decided].mean())


def _best_hits(scores: AnyArray) -> Int64Array:
    return np.argsort(-scores, kind="stable")[:TOP_HITS]


def _some_queries(schema: AttributeSchema, categories: Labels, given: int | None, seed: int) -> Sequence[PartialQuery]:
    by_source: dict[int | None, list[PartialQuery]] = {}
    for query in make_partial_queries(schema, categories, given, seed):
        by_source.setdefault(query.source, []).append(query)
    return [
        queries[index]
        for queries in by_source.values()
        for index in np.sort(np.random.default_rng(seed).permutation(len(queries))[:MAX_QUERIES])
    ]
