"""Full queries, one per category of a protocol, ranked by the paper's cosine and by other scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sal_runtime.arrays import Float32Array
from sal_runtime.matching.scoring import encoded_completions
from sal_train.evaluation.attribute_recognition import recognition_rates
from sal_train.evaluation.metrics import RetrievalMetrics, random_metrics, rank_queries, summarise
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
        Metrics of the cosine. `attribute_likelihood`: attribute recognition alone, as in DeepMAR: the sum over all
        attributes of log p where the query has 1 and of log(1 - p) where it has 0; p is the sigmoid of the attribute
        head. `centred`: the cosine with the query's direction from the average person, as the rule `marginalised`
        uses it for partial queries. `random`: images in random order. `recognition`: error rates of the attribute head.
    """
    queries = subject.encode_attributes(protocol.queries)
    anyone, weights = encoded_completions([{}], subject.statistics, subject.encode_attributes, seed)
    average = weights @ anyone

    def cosine(rows: slice) -> Float32Array:
        return np.asarray(queries[rows] @ images.embeddings.T)

    def centred(rows: slice) -> Float32Array:
        # not normalised: the length of a query does not change its ranking
        return np.asarray((queries[rows] - average) @ images.embeddings.T)

    attribute_likelihood = _attribute_likelihood(images, protocol)
    report = _rank_in_chunks(protocol, cosine, chunk).to_json()
    report["centred"] = _rank_in_chunks(protocol, centred, chunk).to_json()
    report["attribute_likelihood"] = _rank_in_chunks(protocol, attribute_likelihood, chunk).to_json()
    report["random"] = random_metrics(np.bincount(protocol.categories), len(protocol.image_paths))
    people = protocol.identities
    report["recognition"] = recognition_rates(images.logits, images.attributes, subject.schema, people)
    return report


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
    queries = subject.encode_attributes(protocol.queries)
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
    return {name: _rank_in_chunks(protocol, score).to_json() for name, score in rankings.items()}


def _attribute_likelihood(images: LabelledEmbeddings, protocol: Protocol) -> Callable[[slice], Float32Array]:
    """A function that scores some queries by attribute recognition alone, `[rows, N]`."""
    log_absent = -np.logaddexp(0.0, images.logits).sum(axis=1)  # [N]: log(1 - p) of all attributes

    def score(rows: slice) -> Float32Array:
        # log p - log(1 - p) is the logit, so the sum is linear in the query
        return np.asarray(protocol.queries[rows].astype(np.float32) @ images.logits.T + log_absent)

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
) -> RetrievalMetrics:
    parts = []
    for start in range(0, len(protocol.queries), chunk):
        rows = slice(start, min(start + chunk, len(protocol.queries)))
        relevance = protocol.categories[None, :] == np.arange(rows.start, rows.stop)[:, None]
        parts.append(rank_queries(score(rows), relevance))
    precision, first = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return summarise(precision, first, len(protocol.image_paths), protocol.seen)
