"""How well images fit a query: similarity in the common space, evidence for each asked attribute, likelihood of match.

A query leaves most attributes open, but the attribute encoder knows full vectors only. So completions of the query are
drawn from the training statistics and all encoded. The query becomes the direction from the mean of unconstrained draws
(the average person) to the mean of the completions (the average person who fits). A query that fixes every group leaves
nothing to average and is the single vector of the paper.

Hits are ordered by the match score (`sal_runtime.bundle.calibration`), which joins the cosine with that direction and
the evidence of the attribute head. All of it is a function of inner products of an image's vector, so that a gallery is
ranked by it exactly (`match_scoring`). docs/evaluation.md compares this rule with others.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sal_runtime.arrays import AnyArray, Float32Array, Float64Array, UInt8Array
from sal_runtime.query.schema import AttributeSchema
from sal_runtime.ranking.scoring import Scoring

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle
    from sal_runtime.query.language import Query, Term
    from sal_runtime.query.schema import Conjunction, Group
    from sal_runtime.query.statistics import AttributeStatistics

NUM_COMPLETIONS = 256
PROBABILITY_FLOOR = 1e-12
"""Smallest probability, so that logarithms stay finite."""
SHORTEST_VECTOR = 1e-6
"""A shorter difference of means is rounding."""
CERTAIN = 1e-6
"""Joint evidence is capped at 1 - CERTAIN, so that its logit stays finite."""

MOST_BOUNDS = 64
"""With more, it is cheaper to score everything."""
BOUND_SLACK = 1e-4
"""Added to bounds, relative to the sizes of their numbers, for the rounding of float32."""
SCORE_ROUNDING = 1e-7
"""Largest error of a float32 score for each step of its sums, relative to the sizes of their numbers."""

EncodeAttributes = Callable[[UInt8Array], Float32Array]
"""Attribute vectors uint8 `[Q, A]` to unit vectors float32 `[Q, d]`."""


@dataclass(frozen=True)
class Assessment:
    """How well each of N images fits a query.

    Attributes:
        cosines: float32 `[N]`, of the image and the query vector, -1..1.
        likelihood: float32 `[N]`, calibrated likelihood in 0..1 that an image fits the whole query; None where the
            bundle holds no calibration.
        evidence: float32 `[N, T]`, probability in 0..1 that each asked term holds, in the order of the query; not less
            than the likelihood.
    """

    cosines: Float32Array
    likelihood: Float32Array | None
    evidence: Float32Array


def match_scoring(bundle: Bundle, query: Query, vector: Float32Array) -> Scoring:
    """The match score of a query, which orders its hits, as a function of inner products.

    Args:
        bundle: calibrated; gives schema, training statistics, attribute head and calibration.
        query: parsed with the bundle's schema.
        vector: of the query (`query_vector`), float32 `[d]`.
    """
    calibration, schema = bundle.calibration, bundle.schema
    assert calibration is not None
    share = calibration.cosine_share(query_information(query, bundle.statistics))
    weight, bias = calibration.head(*bundle.attribute_head)
    asked = sorted({group for term in query.terms for group, _ in term.states})
    bits = [bit for group in asked for bit in schema.groups[group].bits]

    def score(products: Float32Array) -> Float32Array:
        columns = np.ascontiguousarray(products.T)  # what follows works on whole columns
        columns[1:] += bias[bits, None]
        evidence = joint_logit(term_logits(query, schema, dict(zip(bits, columns[1:], strict=True))))
        return np.asarray(match_score(evidence, columns[0], share))

    forms = evidence_bounds(query, schema, weight, bias)
    bounds = share * vector + (1.0 - share) * forms[:, :-1]
    slack = BOUND_SLACK * (1.0 + np.abs(forms).sum(axis=1))
    lengths = np.linalg.norm(bounds, axis=1)
    sizes = np.linalg.norm(weight[bits], axis=1) + np.abs(bias[bits])
    return Scoring(
        bounds=bounds.astype(np.float32),
        offsets=((1.0 - share) * forms[:, -1] + slack).astype(np.float32),
        directions=np.concatenate([vector[None], weight[bits]]),
        score=score,
        nearest=(bounds[0] / lengths[0]).astype(np.float32) if len(bounds) == 1 and lengths[0] > 0 else vector,
        slope=share * float(np.linalg.norm(vector)) + (1.0 - share) * evidence_slope(query, schema, weight),
        slack=SCORE_ROUNDING * (100 + len(vector)) * (1.0 + float(sizes.sum())),
    )


def assess(
    bundle: Bundle, query: Query, vector: Float32Array, scores: Float32Array, embeddings: Float32Array
) -> Assessment:
    """What is told of the hits of a query.

    Args:
        bundle: gives schema, training statistics, attribute head and calibration.
        query: parsed with the bundle's schema.
        vector: of the query (`query_vector`), float32 `[d]`.
        scores: float32 `[N]`, by which the hits are ordered (`match_scoring`).
        embeddings: unit vectors float32 `[N, d]` of the images.
    """
    calibration, (weight, bias), likelihood = bundle.calibration, bundle.attribute_head, None
    if calibration is not None:
        weight, bias = calibration.head(weight, bias)
        likelihood = calibration.likelihood(scores, len(query.terms), query_information(query, bundle.statistics))
    evidence = term_probabilities(query, bundle.schema, embeddings @ weight.T + bias)
    if likelihood is not None:
        evidence = agreeing_evidence(evidence, likelihood)
    return Assessment(embeddings @ vector, likelihood, evidence.astype(np.float32))


def agreeing_evidence(evidence: Float64Array, likelihood: Float32Array) -> Float64Array:
    """Evidence that agrees with the likelihood of match: no term is less likely than all of them together.

    The likelihood m also knows the cosine. By the attribute head alone, all terms hold with probability j, the product
    of the evidence p of each. Jeffrey's rule keeps what the head says of a term where not all hold: the evidence
    becomes m + (1 - m) (p - j) / (1 - j), which is p where m is j, and m for a single term.

    Args:
        evidence: by the attribute head alone, `[n, T]` in 0..1.
        likelihood: of match, `[n]` in 0..1.
    """
    joint = evidence.prod(axis=1, keepdims=True)
    match = np.asarray(likelihood, dtype=np.float64)[:, None]
    rest = (evidence - joint) / np.maximum(1.0 - joint, PROBABILITY_FLOOR)
    return np.asarray(match + (1.0 - match) * rest)


def query_seed(query: Query) -> int:
    """A seed that depends on what the query means, not on the order or the words it was written in."""
    meaning = sorted(
        sorted((group, sorted(states)) for group, states in conjunction.items()) for conjunction in query.conjunctions
    )
    return int.from_bytes(hashlib.sha256(json.dumps(meaning).encode()).digest()[:8], "big")


def match_score(evidence: AnyArray, cosines: AnyArray, cosine_share: float) -> AnyArray:
    """Match scores `[n]` from the logits of the joint evidence `[n]` and the cosines `[n]`, in their type."""
    return np.asarray(evidence + np.asarray(cosine_share, evidence.dtype) * (cosines - evidence))


def query_information(query: Query, statistics: AttributeStatistics) -> float:
    """How much a query says, in nats: -log of the probability that a person of the training statistics satisfies it."""
    probability = sum(statistics.probability(conjunction) for conjunction in query.conjunctions)
    return -math.log(min(max(probability, PROBABILITY_FLOOR), 1.0))


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


def term_logits(query: Query, schema: AttributeSchema, logits: Mapping[int, AnyArray]) -> list[AnyArray]:
    """For each asked term the logit `[n]` of the probability that it holds, from the attribute head.

    The head was trained with one sigmoid per bit. Given that a group is in one of its states, independent bits with
    these logits are in state s with probability softmax(logits)[s], where a state without a bit has logit 0. So the
    probabilities of a group sum to 1, a binary group keeps its sigmoid, "one of" inside a group is a sum, and "not"
    changes the sign of the logit. Alternatives in different groups count as independent: 1 - product(1 - p).

    Args:
        query: T terms.
        schema: of the query.
        logits: `[n]` of each bit of the asked groups.
    """
    return [_term_logit(term, schema, logits) for term in query.terms]


def joint_logit(term_logits: Sequence[AnyArray]) -> AnyArray:
    """The logit `[n]` of the probability that all terms hold, taken as independent; at most that of 1 - `CERTAIN`."""
    if len(term_logits) == 1:
        return np.minimum(term_logits[0], -math.log(CERTAIN))
    log_joint = np.minimum(reduce(np.add, map(_log_sigmoid, term_logits)), math.log1p(-CERTAIN))
    return np.asarray(log_joint - np.log(-np.expm1(log_joint)))


def evidence_bounds(query: Query, schema: AttributeSchema, weight: Float32Array, bias: Float32Array) -> Float64Array:
    """Linear functions of an image's vector; the logit of the joint evidence is at most the largest of them.

    Args:
        query: with the groups of `schema`.
        schema: of the attribute head.
        weight: of the calibrated attribute head, float32 `[A, d]`.
        bias: of it, float32 `[A]`.

    Returns:
        float64 `[B, d + 1]`: coefficients, and the constant, which is infinite where nothing is known.
    """
    head = np.column_stack([weight, bias]).astype(np.float64)
    return _bounds_of_all([_term_bounds(term, schema, head) for term in query.terms])


def evidence_slope(query: Query, schema: AttributeSchema, weight: Float32Array) -> float:
    """The most by which the logit of the joint evidence changes for each unit that an image's vector moves.

    The joint logit changes by at most as much as the logits of all groups together. That of a group is a difference of
    two LSE, and the gradient of an LSE is a mean of the weights in it; so the gradient of the difference is not longer
    than the longest difference of a weight of either side. Arguments are those of `evidence_bounds`.
    """
    total = 0.0
    for term in query.terms:
        for group, named in term.states:
            states = schema.groups[group].states
            rows = np.array([np.zeros(weight.shape[1]) if state.bit is None else weight[state.bit] for state in states])
            holding = np.isin(np.arange(len(states)), list(named))
            total += float(np.linalg.norm(rows[holding][:, None] - rows[~holding][None], axis=2).max())
    return total


def _term_bounds(term: Term, schema: AttributeSchema, head: Float64Array) -> Float64Array:
    groups = [_group_bounds(schema.groups[group], named, term.negated, head) for group, named in term.states]
    return _bounds_of_all(groups) if term.negated or len(groups) == 1 else _bounds_of_any(groups)


def _bounds_of_all(parts: Sequence[Float64Array]) -> Float64Array:
    """Bounds where all must hold, which is at most as likely as each: its logit is at most the mean of theirs."""
    single = [forms for forms in parts if len(forms) == 1]
    return np.asarray(np.mean(single, axis=0)) if single else min(parts, key=len)


def _bounds_of_any(parts: Sequence[Float64Array]) -> Float64Array:
    """Bounds where something must hold. The odds are the sum of the products of the odds of all subsets."""
    nothing = np.zeros((1, parts[0].shape[1]))
    choices = itertools.product(*(np.concatenate([nothing, forms]) for forms in parts))
    sums = np.array([np.sum(chosen, axis=0) for chosen in choices])[1:]  # the first chose nothing
    if len(sums) > MOST_BOUNDS:
        nothing[0, -1] = np.inf
        return nothing
    sums[:, -1] += math.log(2 ** len(parts) - 1)
    return sums


def _group_bounds(group: Group, named: frozenset[int], negated: bool, head: Float64Array) -> Float64Array:
    """Bounds of the logit that a group is in one of the named states, or in none of them.

    It is LSE(their logits) - LSE(the other logits), with LSE(x) = log(sum(exp(x))) of n numbers, which is at least
    mean(x) + log(n) and at most the largest x + log(n).
    """
    forms = [np.zeros(head.shape[1]) if state.bit is None else head[state.bit] for state in group.states]
    holding = np.array([form for number, form in enumerate(forms) if (number in named) != negated])
    others = np.array([form for number, form in enumerate(forms) if (number in named) == negated])
    bounds: Float64Array = holding - others.mean(axis=0)
    bounds[:, -1] += math.log(len(holding)) - math.log(len(others))
    return bounds


def term_probabilities(query: Query, schema: AttributeSchema, attribute_logits: NDArray[Any]) -> Float64Array:
    """Probability that each asked term holds, float64 `[n, T]` in `PROBABILITY_FLOOR`..1, from logits `[n, A]`."""
    columns = dict(enumerate(np.asarray(attribute_logits, dtype=np.float64).T))
    holding = [np.exp(_log_sigmoid(logit)) for logit in term_logits(query, schema, columns)]
    return np.asarray(np.clip(np.stack(holding, axis=1), PROBABILITY_FLOOR, 1.0))


def _term_logit(term: Term, schema: AttributeSchema, logits: Mapping[int, AnyArray]) -> AnyArray:
    groups = [_states_logit(schema, group, named, logits) for group, named in term.states]
    # not holding is to hold in none of the groups
    logit = groups[0] if len(groups) == 1 else -joint_logit([-part for part in groups])
    return -logit if term.negated else logit


def _states_logit(
    schema: AttributeSchema, group: int, named: frozenset[int], logits: Mapping[int, AnyArray]
) -> AnyArray:
    """Logit `[n]` of the probability that a group is in one of the named states."""
    states = schema.groups[group].states
    none = np.zeros_like(logits[schema.groups[group].bits[0]])
    sides: tuple[list[AnyArray], list[AnyArray]] = ([], [])
    for number, state in enumerate(states):
        sides[number in named].append(none if state.bit is None else logits[state.bit])
    return np.asarray(_log_sum_exp(sides[True]) - _log_sum_exp(sides[False]))


def _log_sum_exp(values: Sequence[AnyArray]) -> AnyArray:
    """log(sum(exp(x))) over arrays `[n]`, without overflow."""
    if len(values) == 1:
        return values[0]
    highest = reduce(np.maximum, values)
    return np.asarray(highest + np.log(reduce(np.add, [np.exp(value - highest) for value in values])))


def _log_sigmoid(logit: AnyArray) -> AnyArray:
    """log(sigmoid(x)) without overflow."""
    return np.minimum(logit, 0) - np.log1p(np.exp(-np.abs(logit)))


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
