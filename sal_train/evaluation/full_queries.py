"""Full queries, one per category of a protocol, ranked by the paper's cosine and by other scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sal_runtime.arrays import Float32Array
from sal_runtime.bundle.calibration import Calibration
from sal_runtime.matching.scoring import (
    NUM_COMPLETIONS,
    EncodeAttributes,
    encoded_completions,
    query_information,
)
from sal_runtime.query.statistics import AttributeStatistics
from sal_train.datasets.splits import Labels, possible_states
from sal_train.evaluation.attribute_recognition import recognition_rates
from sal_train.evaluation.metrics import random_metrics, summarise
from sal_train.evaluation.partial_queries import AnsweredQuery, make_partial_queries, match_scores
from sal_train.evaluation.protocol import Protocol
from sal_train.evaluation.subject import LabelledEmbeddings, Subject

QUERY_CHUNK = 64
FUSION_WEIGHT = 0.2
"""Weight of the attribute head's likelihood against the cosine's 1, both standardised over the gallery."""
NUM_DESCRIPTIONS = 2048
"""Descriptions drawn for the neighbourhoods of CSLS."""
NUM_NEIGHBOURS = 10
"""Nearest descriptions in a neighbourhood of CSLS."""


def full_queries(
    subject: Subject, images: LabelledEmbeddings, protocol: Protocol, seed: int, chunk: int = QUERY_CHUNK
) -> dict[str, Any]:
    """Metrics of the paper's cosine ranking and of two others.

    Args:
        subject: encoded the images.
        images: the gallery.
        protocol: the queries.
        seed: of the completions that give the average person.
        chunk: queries to rank at a time.

    Returns:
        Metrics of the cosine, or of the scores of a pairwise subject, of all queries together; `by_source` has them for
        each data set, if there are several.
        `attribute_likelihood`: attribute recognition alone, as in DeepMAR: the sum over all known attributes of log p
        where the query has 1 and of log(1 - p) where it has 0; p is the sigmoid of the attribute head. `centred`: the
        cosine with the query's direction from the average person, as the rule `marginalised` uses it for partial
        queries; a pairwise subject has none. `random`: images in random order. `recognition`: error rates of the
        attribute head.
    """
    queries = encode_descriptions(protocol.queries, subject.statistics, subject.encode_attributes, seed)
    anyone, weights = encoded_completions([{}], subject.statistics, subject.encode_attributes, seed)
    average = weights @ anyone

    def score(rows: slice) -> Float32Array:
        return subject.scores(queries[rows], images.embeddings)

    def centred(rows: slice) -> Float32Array:
        # not normalised: the length of a query does not change its ranking
        return np.asarray((queries[rows] - average) @ images.embeddings.T)

    report = _rank_in_chunks(protocol, score, chunk)
    if subject.compare is None:
        report["centred"] = _rank_in_chunks(protocol, centred, chunk)
    report["attribute_likelihood"] = _rank_in_chunks(protocol, _attribute_likelihood(images, protocol), chunk)
    report["random"] = by_chance(protocol)
    people = protocol.identities
    report["recognition"] = recognition_rates(images.logits, images.labels, subject.schema, people)
    return report


def rank_by_match(
    subject: Subject, images: LabelledEmbeddings, protocol: Protocol, calibration: Calibration, seed: int
) -> dict[str, Any]:
    """Metrics of the order in which a search shows its hits: by the match score of the description.

    Its evidence leaves out what contradicts itself in a category, such as two colours where a group has one state,
    because no query can ask for it. Its cosine is that of the whole description, as in the paper.

    Args:
        subject: encoded the images.
        images: the gallery.
        protocol: the queries.
        calibration: of the subject.
        seed: of the completions of what is unknown of a category.
    """
    schema, statistics = subject.schema, subject.statistics
    vectors = encode_descriptions(protocol.queries, statistics, subject.encode_attributes, seed)

    def score_one(row: int) -> Float32Array:
        cosines = np.asarray(images.embeddings @ vectors[row])
        asked = make_partial_queries(schema, protocol.queries.rows(np.array([row])), None, seed)
        if not asked:  # nothing is known of the category
            return cosines
        query, unjudged = asked[0].query, np.zeros(len(cosines), dtype=bool)
        answered = AnsweredQuery(query, {"marginalised": cosines}, unjudged, query_information(query, statistics))
        return match_scores(answered, calibration, images, schema)

    def score(rows: slice) -> Float32Array:
        return np.stack([score_one(row) for row in range(len(protocol.seen))[rows]])

    return _rank_in_chunks(protocol, score)


def encode_descriptions(
    descriptions: Labels, statistics: AttributeStatistics, encode: EncodeAttributes, seed: int
) -> Float32Array:
    """Embeddings of full queries, float32 `[Q, d]`.

    Where something is unknown, it is the mean of the unit embeddings of completions drawn from the training statistics,
    all with the same random numbers.

    Args:
        descriptions: Q of them.
        statistics: of the attributes in training.
        encode: attribute vectors to unit vectors.
        seed: of the completions.
    """
    if descriptions.known is None:
        return encode(descriptions.attributes)
    means = []
    possible = possible_states(statistics.schema, descriptions.attributes, descriptions.known)
    for row, (vector, known) in enumerate(zip(descriptions.attributes, descriptions.known, strict=True)):
        allowed = {group: np.flatnonzero(states[row]).tolist() for group, states in enumerate(possible)}
        conjunction = {group: frozenset(states) for group, states in allowed.items() if states}  # none: contradictory
        completions, drawn = statistics.sample_completions([conjunction], NUM_COMPLETIONS, seed)
        completions[:, known] = vector[known]
        means.append((drawn / drawn.sum()).astype(np.float32) @ encode(completions))
    return np.stack(means)


def by_chance(protocol: Protocol) -> dict[str, float]:
    """What rankings in random order reach: `random_metrics`, the mean over all queries."""
    relevant = np.bincount(protocol.categories)
    parts = protocol.queries_by_source()
    if not parts:
        return random_metrics(relevant, len(protocol.image_paths))
    chance = [(len(rows), random_metrics(relevant[rows], int(relevant[rows].sum()))) for rows in parts.values()]
    queries = sum(count for count, _ in chance)
    return {name: sum(count * metrics[name] for count, metrics in chance) / queries for name in chance[0][1]}


def rankings_at_test_time(
    subject: Subject, images: LabelledEmbeddings, mirrored: LabelledEmbeddings, protocol: Protocol, seed: int
) -> dict[str, Any]:
    """Metrics of rankings that search could use instead of the plain cosine, with the same networks.

    Args:
        subject: encoded the images.
        images: the gallery.
        mirrored: the same images, flipped horizontally.
        protocol: the queries.
        seed: of the descriptions drawn for CSLS.

    Returns:
        `mirrored`: the gallery holds the mean direction of an image and its mirror image. `csls`: the cosine minus half
        the mean cosine of the image to its ten nearest descriptions, of `NUM_DESCRIPTIONS` drawn from the training
        statistics; it ranks images lower that are near every query (CSLS of Conneau et al., ICLR 2018, without its term
        of the query, which does not change a ranking). `fused`: cosine plus `FUSION_WEIGHT` times the attribute
        likelihood, each standardised over the gallery. `mirrored_csls`: the first two together.
    """
    queries = encode_descriptions(protocol.queries, subject.statistics, subject.encode_attributes, seed)
    both = images.embeddings + mirrored.embeddings
    both /= np.linalg.norm(both, axis=1, keepdims=True)
    drawn, _ = subject.statistics.sample_completions([{}], NUM_DESCRIPTIONS, seed)
    descriptions = subject.encode_attributes(drawn)
    attribute_likelihood = _attribute_likelihood(images, protocol)

    def csls(gallery: Float32Array) -> Callable[[slice], Float32Array]:
        offset = _nearest_mean(descriptions, gallery)
        return lambda rows: np.asarray(queries[rows] @ gallery.T - 0.5 * offset)

    def fused(rows: slice) -> Float32Array:
        cosine = queries[rows] @ images.embeddings.T
        return _standardised(cosine) + FUSION_WEIGHT * _standardised(attribute_likelihood(rows))

    rankings = {
        "mirrored": lambda rows: np.asarray(queries[rows] @ both.T),
        "csls": csls(images.embeddings),
        "fused": fused,
        "mirrored_csls": csls(both),
    }
    return {name: _rank_in_chunks(protocol, score) for name, score in rankings.items()}


def _attribute_likelihood(images: LabelledEmbeddings, protocol: Protocol) -> Callable[[slice], Float32Array]:
    """A function that scores some queries by attribute recognition alone, `[rows, N]`."""
    log_absent = -np.logaddexp(0.0, images.logits)  # [N, A]: log(1 - p)
    of_all = log_absent.sum(axis=1)

    def score(rows: slice) -> Float32Array:
        # log p - log(1 - p) is the logit, so the sum is linear in the query
        queries = protocol.queries.rows(rows)
        absent = of_all if queries.known is None else queries.known.astype(np.float32) @ log_absent.T
        return np.asarray(queries.attributes.astype(np.float32) @ images.logits.T + absent)

    return score


def _nearest_mean(descriptions: Float32Array, gallery: Float32Array) -> Float32Array:
    """Mean cosine of each image to its nearest descriptions, float32 `[N]`."""
    count = min(NUM_NEIGHBOURS, len(descriptions))
    parts = []
    for start in range(0, len(gallery), 1024):
        cosine = gallery[start : start + 1024] @ descriptions.T
        parts.append(np.partition(cosine, -count, axis=1)[:, -count:].mean(axis=1))
    return np.concatenate(parts)


def _standardised(scores: Float32Array) -> Float32Array:
    """Scores `[Q, N]` with mean 0 and standard deviation 1 over the gallery, query by query."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(scores.std(axis=1, keepdims=True), 1e-12), dtype=np.float32)


def _rank_in_chunks(
    protocol: Protocol, score: Callable[[slice], Float32Array], chunk: int = QUERY_CHUNK
) -> dict[str, Any]:
    """Metrics of all queries, and under `by_source` of those of each data set if there are several."""
    parts, num_queries = [], len(protocol.queries.attributes)
    for start in range(0, num_queries, chunk):
        rows = slice(start, min(start + chunk, num_queries))
        parts.append(protocol.rank(score(rows), rows))
    precision, first = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    report = summarise(precision, first, len(protocol.image_paths), protocol.seen).to_json()
    of_sources = {
        name: summarise(
            precision[rows], first[rows], int(np.isin(protocol.categories, rows).sum()), protocol.seen[rows]
        )
        for name, rows in protocol.queries_by_source().items()
    }
    return report | ({"by_source": {name: part.to_json() for name, part in of_sources.items()}} if of_sources else {})
