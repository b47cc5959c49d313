"""How well images fit a query: similarity in the common space, evidence for each asked attribute, likelihood of match.

A query leaves most attributes open, but the attribute encoder knows full vectors only. So completions of the query are
drawn from the training statistics and all encoded. The query becomes the direction from the mean of unconstrained draws
(the average person) to the mean of the completions (the average person who fits). A query that fixes every group leaves
nothing to average and is the single vector of the paper. docs/evaluation.md compares this rule with others.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sal_runtime.arrays import Float32Array, Float64Array, UInt8Array
from sal_runtime.bundle.calibration import match_features
from sal_runtime.query.schema import AttributeSchema

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle
    from sal_runtime.query.language import Query
    from sal_runtime.query.schema import Conjunction
    from sal_runtime.query.statistics import AttributeStatistics

NUM_COMPLETIONS = 256
PROBABILITY_FLOOR = 1e-12
"""Smallest probability, so that logarithms stay finite."""
SHORTEST_VECTOR = 1e-6
"""A shorter difference of means is rounding."""
CHUNK_ROWS = 65536
"""Images scored at a time; the logits of 105 attributes are then 28 MB."""

EncodeAttributes = Callable[[UInt8Array], Float32Array]
"""Attribute vectors uint8 `[Q, A]` to unit vectors float32 `[Q, d]`."""


@dataclass(frozen=True)
class Assessment:
    """How well each of N images fits a query.

    Attributes:
        likelihood: float32 `[N]`, calibrated likelihood in 0..1 that an image fits the whole query; None where the
            bundle holds no calibration.
        evidence: float32 `[N, T]`, probability in 0..1 that each asked term holds, in the order of the query.
    """

    likelihood: Float32Array | None
    evidence: Float32Array


def assess(
    bundle: Bundle, query: Query, cosines: Float32Array, embeddings: Float32Array, chunk_rows: int = CHUNK_ROWS
) -> Assessment:
    """Judge images by the attribute head and the calibration of a bundle.

    Args:
        bundle: gives schema, training statistics, attribute head and calibration.
        query: parsed with the bundle's schema.
        cosines: float32 `[N]`, of the images and the query's vector (`query_vector`).
        embeddings: unit vectors float32 `[N, d]` of the images.
        chunk_rows: images judged at a time.
    """
    calibration = bundle.calibration
    log_prior = query_log_prior(query, bundle.statistics)
    weight, bias = bundle.attribute_head
    count = len(embeddings)
    likelihood, evidence = np.empty(count, np.float32), np.empty((count, len(query.terms)), np.float32)
    for start in range(0, count, chunk_rows):
        rows = slice(start, min(start + chunk_rows, count))
        probabilities = term_probabilities(query, bundle.schema, embeddings[rows] @ weight.T + bias)
        evidence[rows] = probabilities
        if calibration is not None:
            log_evidence = log_likelihood(probabilities).astype(np.float32)
            features = match_features(cosines[rows], log_evidence, len(query.terms), log_prior)
            likelihood[rows] = calibration.likelihood(features)
    return Assessment(likelihood if calibration is not None else None, evidence)


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
    """The unit vector float32 `[d]` that stands for a query in the common space.

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
        for group, named in term.states:
            if group not in states:
                states[group] = _state_probabilities(schema, group, attribute_logits)
            absent *= 1.0 - states[group][:, sorted(named)].sum(axis=1)
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
