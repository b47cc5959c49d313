"""How well images fit a query: similarity in the common space, evidence per asked attribute, likelihood of match.

A query leaves most attributes open, and the attribute encoder knows full vectors only. Three rules deal with that:

* `marginalised` draws completions of the query from the training statistics and encodes them all. The query becomes
  the direction from the mean of unconstrained draws (the average person) to the mean of the completions (the average
  person who fits). A query that fixes every group leaves nothing to average, and is the paper's single vector.
* `zeros` sets what was not asked to zero, as if every unmentioned thing were absent.
* `attribute_likelihood` leaves the common space alone: the product of the probabilities that the attribute head gives
  to the asked terms.

`docs/evaluation.md` has the comparison by which `marginalised` and its aggregation were chosen.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from sal_runtime.arrays import Float32Array, Float64Array
from sal_runtime.bundle.calibration import match_features
from sal_runtime.errors import InputError
from sal_runtime.query.schema import AttributeSchema

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle
    from sal_runtime.query.language import Query
    from sal_runtime.query.schema import Conjunction
    from sal_runtime.query.statistics import AttributeStatistics

Rule = Literal["marginalised", "zeros", "attribute_likelihood"]

RULES: tuple[Rule, ...] = get_args(Rule)
NUM_COMPLETIONS = 256
PROBABILITY_FLOOR = 1e-12
"""Probabilities are not let below, so that their logarithms stay finite."""
SHORTEST_VECTOR = 1e-6
"""A difference of means shorter than this is rounding."""
CHUNK_ROWS = 65536
"""Gallery rows scored at a time; the logits of 105 attributes are then 28 MB."""

EncodeAttributes = Callable[[NDArray[np.uint8]], Float32Array]


class VectorEncoder(Protocol):
    """What scoring needs of an `AttributeEncoder`."""

    def encode(self, vectors: NDArray[np.uint8]) -> Float32Array:
        """Unit embeddings float32 `[Q, d]` of attribute vectors uint8 `[Q, A]`."""


@dataclass(frozen=True)
class Scores:
    """What is known about each of N images and a query.

    Attributes:
        ranking: float32 `[N]`, by which hits are ordered: the cosine, or the log-likelihood of the asked terms under
            the rule `attribute_likelihood`.
        cosine: float32 `[N]`, of the images and the query's vector in the common space, in -1..1.
        likelihood: float32 `[N]`, calibrated likelihood of match in 0..1; None where the bundle holds no calibration.
        evidence: float32 `[N, T]`, probability in 0..1 that each asked term holds, in the order of the query.
    """

    ranking: Float32Array
    cosine: Float32Array
    likelihood: Float32Array | None
    evidence: Float32Array


@dataclass(frozen=True)
class QueryVectors:
    """The unit vectors float32 `[d]` that stand for a query in the common space.

    Attributes:
        ranking: by the rule that was asked for; `attribute_likelihood` has the one of `marginalised` here.
        match: by the rule `marginalised`, for which the likelihood of match is calibrated.
    """

    ranking: Float32Array
    match: Float32Array


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
    return score_embeddings(bundle, query, query_vectors(bundle, attribute_encoder, query, rule), embeddings, rule)


def query_vectors(
    bundle: Bundle, attribute_encoder: VectorEncoder, query: Query, rule: Rule = "marginalised"
) -> QueryVectors:
    """The vectors that stand for a query parsed with the bundle's schema."""
    match = query_vector(query, bundle.statistics, attribute_encoder.encode)
    zeros = rule == "zeros"
    return QueryVectors(zeros_vector(query, bundle.statistics, attribute_encoder.encode) if zeros else match, match)


def score_embeddings(
    bundle: Bundle, query: Query, vectors: QueryVectors, embeddings: Float32Array, rule: Rule = "marginalised"
) -> Scores:
    """As `score_query`, with the vectors of the query."""
    if embeddings.ndim != 2 or embeddings.shape[1] != bundle.embedding_dim:
        raise InputError(
            f"gallery embeddings have shape {embeddings.shape}, expected [images, {bundle.embedding_dim}]; "
            "encode the gallery with this bundle"
        )
    calibration = bundle.calibration
    log_prior = query_log_prior(query, bundle.statistics)
    weight, bias = bundle.attribute_head
    count = len(embeddings)
    cosine, likelihood = np.empty(count, np.float32), np.empty(count, np.float32)
    log_evidence, evidence = np.empty(count, np.float32), np.empty((count, len(query.terms)), np.float32)
    for start in range(0, count, CHUNK_ROWS):
        rows = slice(start, min(start + CHUNK_ROWS, count))
        chunk = embeddings[rows]
        cosine[rows] = chunk @ vectors.ranking
        probabilities = term_probabilities(query, bundle.schema, chunk @ weight.T + bias)
        evidence[rows] = probabilities
        log_evidence[rows] = log_likelihood(probabilities)
        if calibration is not None:
            features = match_features(chunk @ vectors.match, log_evidence[rows], len(query.terms), log_prior)
            likelihood[rows] = calibration.likelihood(features)
    ranking = log_evidence if rule == "attribute_likelihood" else cosine
    return Scores(ranking, cosine, likelihood if calibration is not None else None, evidence)


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


def query_vector(query: Query, statistics: AttributeStatistics, encode: EncodeAttributes) -> Float32Array:
    """The unit vector float32 `[d]` that stands for a query under the rule `marginalised`.

    The constrained and the unconstrained draws use the same random numbers: what the query does not touch is drawn
    alike and cancels, so that a few hundred draws are enough.
    """
    seed = query_seed(query)
    fitting, weights = encoded_completions(query.conjunctions, statistics, encode, seed)
    if _fixes_every_group(query, statistics.schema):
        return np.asarray(fitting[0])
    anyone, anyone_weights = encoded_completions([{}], statistics, encode, seed)
    return _unit_or(weights @ fitting - anyone_weights @ anyone, weights @ fitting)


def encoded_completions(
    conjunctions: Sequence[Conjunction], statistics: AttributeStatistics, encode: EncodeAttributes, seed: int
) -> tuple[Float32Array, Float32Array]:
    """Unit embeddings float32 `[C, d]` of drawn completions, and the share of the draws float32 `[C]` that each got."""
    vectors, drawn = statistics.sample_completions(conjunctions, NUM_COMPLETIONS, seed)
    return encode(vectors), np.asarray(drawn / drawn.sum(), dtype=np.float32)


def zeros_vector(query: Query, statistics: AttributeStatistics, encode: EncodeAttributes) -> Float32Array:
    """The unit vector float32 `[d]` that stands for a query under the rule `zeros`.

    Alternatives of the query are averaged by their probability. Where one leaves several states that all set a bit
    (`red|pink`), the most frequent is taken.
    """
    schema, bit_probabilities = statistics.schema, statistics.bit_probabilities
    vectors = np.zeros((len(query.conjunctions), schema.num_bits), dtype=np.uint8)
    for vector, conjunction in zip(vectors, query.conjunctions, strict=True):
        for group, states in conjunction.items():
            bits = [schema.groups[group].states[state].bit for state in sorted(states)]
            set_bits = [bit for bit in bits if bit is not None]
            if len(set_bits) == len(bits):
                vector[max(set_bits, key=lambda bit: bit_probabilities[bit])] = 1
    embeddings = encode(vectors)
    if len(embeddings) == 1:
        return np.asarray(embeddings[0])
    weights = np.array([statistics.probability(one) for one in query.conjunctions], dtype=np.float32)
    return _unit_or(weights @ embeddings, embeddings[0])


def term_probabilities(query: Query, schema: AttributeSchema, attribute_logits: NDArray[Any]) -> Float64Array:
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
    states: dict[int, Float64Array] = {}
    columns = []
    for term in query.terms:
        absent = np.ones(len(attribute_logits))
        for group, allowed in term.allowed:
            if group not in states:
                states[group] = _state_probabilities(schema, group, attribute_logits)
            absent *= 1.0 - states[group][:, sorted(allowed)].sum(axis=1)
        columns.append(absent if term.negated else 1.0 - absent)
    return np.asarray(np.clip(np.stack(columns, axis=1), PROBABILITY_FLOOR, 1.0))


def log_likelihood(probabilities: Float64Array) -> Float64Array:
    """Log-likelihood `[n]` that all asked terms hold, taken as independent: the sum of the logs of `[n, T]`."""
    return np.asarray(np.log(probabilities).sum(axis=1))


def _fixes_every_group(query: Query, schema: AttributeSchema) -> bool:
    only = query.conjunctions[0]
    settled = sum(len(states) == 1 for states in only.values())
    return len(query.conjunctions) == 1 and settled == len(schema.groups)


def _unit_or(vector: Float32Array, fallback: Float32Array) -> Float32Array:
    """`vector` at length 1; if it has none (the query is true of everyone drawn), `fallback` at length 1."""
    length = np.linalg.norm(vector)
    if length < SHORTEST_VECTOR:
        vector, length = fallback, np.linalg.norm(fallback)
    return np.asarray(vector / length, dtype=np.float32)


def _state_probabilities(schema: AttributeSchema, group: int, attribute_logits: NDArray[Any]) -> Float64Array:
    """float64 `[n, states]` of one group; rows sum to 1."""
    states = schema.groups[group].states
    logits = np.zeros((len(attribute_logits), len(states)))
    for number, state in enumerate(states):
        if state.bit is not None:
            logits[:, number] = attribute_logits[:, state.bit]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True))
