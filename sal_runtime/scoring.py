"""How well images fit a query: similarity in the common space, evidence per asked attribute, likelihood of match.

A query leaves most attributes open, and the attribute encoder knows full vectors only. Three rules deal with that:

* `marginalised` draws completions of the query from the training statistics, encodes them all and aggregates their
  cosines. A query that fixes every group has one completion, and the rule is the paper's cosine.
* `zeros` sets what was not asked to zero, as if every unmentioned thing were absent.
* `attribute_likelihood` leaves the common space alone: the product of the probabilities that the attribute head gives
  to the asked terms.

`docs/evaluation.md` has the comparison by which `marginalised` and its aggregation were chosen.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from sal_runtime.calibration import Calibration, match_features
from sal_runtime.errors import InputError
from sal_runtime.schema import AttributeSchema

if TYPE_CHECKING:
    from sal_runtime.bundle import Bundle
    from sal_runtime.completions import AttributeStatistics
    from sal_runtime.query import Query

Rule = Literal["marginalised", "zeros", "attribute_likelihood"]
Aggregation = Literal["mean", "log_mean_exp", "max"]

RULES: tuple[Rule, ...] = get_args(Rule)
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)
NUM_COMPLETIONS = 256
AGGREGATION: Aggregation = "log_mean_exp"
TEMPERATURE = 16.0
"""Inverse temperature of `log_mean_exp`: 0 is the mean of the cosines, infinity their maximum."""
PROBABILITY_FLOOR = 1e-12
"""Probabilities are not let below, so that their logarithms stay finite."""
CHUNK_ROWS = 16384
"""Gallery rows scored at a time: with 256 completions, 16 MB of cosines."""

FloatArray = NDArray[np.float64]
Float32Array = NDArray[np.float32]
EncodeAttributes = Callable[[NDArray[np.uint8]], Float32Array]


class VectorEncoder(Protocol):
    """What scoring needs of an `AttributeEncoder`."""

    def encode(self, vectors: NDArray[np.uint8]) -> Float32Array:
        """Unit embeddings float32 `[Q, d]` of attribute vectors uint8 `[Q, A]`."""


@dataclass(frozen=True)
class Prototypes:
    """The points of the common space that stand for a query.

    Attributes:
        embeddings: unit vectors float32 `[C, d]`.
        weights: float64 `[C]`, positive, summing to 1.
    """

    embeddings: Float32Array
    weights: FloatArray


@dataclass(frozen=True)
class Scores:
    """What is known about each of N images and a query.

    Attributes:
        ranking: float32 `[N]`, by which hits are ordered: the cosine, or the log-likelihood of the asked terms under
            the rule `attribute_likelihood`.
        cosine: float32 `[N]`, similarity in the common space, in -1..1.
        likelihood: float32 `[N]`, calibrated likelihood of match in 0..1; None where the bundle holds no calibration.
        evidence: float32 `[N, T]`, probability in 0..1 that each asked term holds, in the order of the query.
    """

    ranking: Float32Array
    cosine: Float32Array
    likelihood: Float32Array | None
    evidence: Float32Array


def score_query(
    bundle: Bundle,
    attribute_encoder: VectorEncoder,
    query: Query,
    embeddings: Float32Array,
    rule: Rule = "marginalised",
) -> Scores:
    """Score gallery embeddings against a query. The same query and embeddings always give the same scores.

    Args:
        bundle: gives schema, training statistics, attribute head and calibration.
        attribute_encoder: of the same bundle.
        query: parsed with the bundle's schema.
        embeddings: unit vectors float32 `[N, d]`; read in chunks, so N may be large.
        rule: one of `RULES`. The likelihood of match is calibrated for `marginalised` and always computed from it.

    Raises:
        InputError: the embeddings are not `[N, embedding_dim]`.
    """
    if embeddings.ndim != 2 or embeddings.shape[1] != bundle.embedding_dim:
        raise InputError(
            f"gallery embeddings have shape {embeddings.shape}, expected [images, {bundle.embedding_dim}]; "
            "encode the gallery with this bundle"
        )
    encode = attribute_encoder.encode
    marginalised = query_prototypes(query, bundle.statistics, encode)
    shown = zeros_prototypes(query, bundle.schema, bundle.statistics, encode) if rule == "zeros" else marginalised
    calibration = Calibration.from_json(bundle.calibration) if bundle.calibration is not None else None
    log_prior = query_log_prior(query, bundle.statistics)
    weight, bias = bundle.attribute_head
    count = len(embeddings)
    cosine, fit = np.empty(count, np.float32), np.empty(count, np.float32)
    log_evidence, evidence = np.empty(count, np.float32), np.empty((count, len(query.terms)), np.float32)
    for start in range(0, count, CHUNK_ROWS):
        rows = slice(start, min(start + CHUNK_ROWS, count))
        chunk = embeddings[rows]
        cosine[rows] = similarity(shown, chunk)
        probabilities = term_probabilities(query, bundle.schema, chunk @ weight.T + bias)
        evidence[rows] = probabilities
        log_evidence[rows] = log_likelihood(probabilities)
        if calibration is not None:
            score = cosine[rows] if shown is marginalised else similarity(marginalised, chunk)
            features = match_features(score, log_evidence[rows], len(query.terms), log_prior)
            fit[rows] = calibration.likelihood(features)
    ranking = log_evidence if rule == "attribute_likelihood" else cosine
    return Scores(ranking, cosine, fit if calibration is not None else None, evidence)


def query_seed(query: Query) -> int:
    """A seed that depends on what the query means, not on the order or the words it was written in."""
    meaning = sorted(
        sorted((group, sorted(states)) for group, states in conjunction.items()) for conjunction in query.conjunctions
    )
    return int.from_bytes(hashlib.sha256(json.dumps(meaning).encode()).digest()[:8], "big")


def query_log_prior(query: Query, statistics: AttributeStatistics) -> float:
    """Log of the probability that a person of the training statistics satisfies the query."""
    probability = sum(statistics.probability(conjunction) for conjunction in query.conjunctions)
    return math.log(min(max(probability, PROBABILITY_FLOOR), 1.0))


def query_prototypes(
    query: Query, statistics: AttributeStatistics, encode: EncodeAttributes, count: int = NUM_COMPLETIONS
) -> Prototypes:
    """The encoded completions of a query, weighted by how often they were drawn.

    Args:
        query: what is asked.
        statistics: to complete from.
        encode: the attribute encoder.
        count: completions to draw; equal ones count once, with their weights added.
    """
    vectors, weights = statistics.sample_completions(query.conjunctions, count, query_seed(query))
    return Prototypes(encode(vectors), np.asarray(weights, dtype=np.float64) / np.sum(weights))


def zeros_prototypes(
    query: Query, schema: AttributeSchema, statistics: AttributeStatistics, encode: EncodeAttributes
) -> Prototypes:
    """One vector per conjunction of the query with zeros for every group it leaves open.

    Where a conjunction leaves several states, all of which set a bit (`red|pink`), the most frequent one is taken.
    """
    bit_probabilities = statistics.bit_probabilities
    vectors = np.zeros((len(query.conjunctions), schema.num_bits), dtype=np.uint8)
    for vector, conjunction in zip(vectors, query.conjunctions, strict=True):
        for group, states in conjunction.items():
            bits = [schema.groups[group].states[state].bit for state in sorted(states)]
            set_bits = [bit for bit in bits if bit is not None]
            if len(set_bits) == len(bits):
                vector[max(set_bits, key=lambda bit: bit_probabilities[bit])] = 1
    weights = np.array([max(statistics.probability(one), PROBABILITY_FLOOR) for one in query.conjunctions])
    return Prototypes(encode(vectors), weights / weights.sum())


def similarity(
    prototypes: Prototypes,
    embeddings: Float32Array,
    aggregation: Aggregation = AGGREGATION,
    temperature: float = TEMPERATURE,
) -> Float32Array:
    """Aggregated cosine of images and the prototypes of a query, float32 `[n]`.

    With a single prototype every aggregation is its cosine, exactly.

    Args:
        prototypes: of the query.
        embeddings: unit vectors float32 `[n, d]`.
        aggregation: `mean` of the cosines; `log_mean_exp`, log(mean(exp(temperature * cosine))) / temperature;
            `max`, the best completion whatever its weight.
        temperature: inverse temperature of `log_mean_exp`, positive.
    """
    weights = prototypes.weights.astype(np.float32)
    if len(weights) == 1:
        return embeddings @ prototypes.embeddings[0]
    if aggregation == "mean":
        return embeddings @ (weights @ prototypes.embeddings)
    cosines = embeddings @ prototypes.embeddings.T  # [n, C]
    highest = cosines.max(axis=1)
    if aggregation == "max":
        return np.asarray(highest)
    cosines -= highest[:, None]
    cosines *= np.float32(temperature)
    return np.asarray(highest + np.log(np.exp(cosines, out=cosines) @ weights) / np.float32(temperature))


def term_probabilities(query: Query, schema: AttributeSchema, attribute_logits: NDArray[Any]) -> FloatArray:
    """Probability that each asked term holds, from the attribute head.

    The head was trained with one sigmoid per bit. Given that a group is in one of its states, independent bits with
    these logits are in state s with probability softmax(logits)[s], where a state without a bit has logit 0. So the
    probabilities of a group sum to 1, a binary group keeps its sigmoid, "one of" inside a group is a sum, and "not" is
    1 - p. Alternatives in different groups count as independent: 1 - product(1 - p).

    Args:
        query: T terms.
        schema: of the query.
        attribute_logits: `[n, A]`.

    Returns:
        float64 `[n, T]` in `PROBABILITY_FLOOR`..1.
    """
    states: dict[int, FloatArray] = {}
    columns = []
    for term in query.terms:
        absent = np.ones(len(attribute_logits))
        for group, allowed in term.allowed:
            if group not in states:
                states[group] = _state_probabilities(schema, group, attribute_logits)
            absent *= 1.0 - states[group][:, sorted(allowed)].sum(axis=1)
        columns.append(absent if term.negated else 1.0 - absent)
    return np.asarray(np.clip(np.stack(columns, axis=1), PROBABILITY_FLOOR, 1.0))


def log_likelihood(probabilities: FloatArray) -> FloatArray:
    """Log-likelihood `[n]` that all asked terms hold, taken as independent: the sum of the logs of `[n, T]`."""
    return np.asarray(np.log(probabilities).sum(axis=1))


def _state_probabilities(schema: AttributeSchema, group: int, attribute_logits: NDArray[Any]) -> FloatArray:
    """float64 `[n, states]` of one group; rows sum to 1."""
    states = schema.groups[group].states
    logits = np.zeros((len(attribute_logits), len(states)))
    for number, state in enumerate(states):
        if state.bit is not None:
            logits[:, number] = attribute_logits[:, state.bit]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))
