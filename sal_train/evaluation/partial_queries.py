"""Queries that name some attributes and leave the rest open, and how well each scoring rule answers them.

For each category of the gallery a seeded permutation of the groups is drawn; its first n groups, with the states the
category has, are the query with n attributes given. So the query with 3 extends the one with 2, whatever else is
measured. Different categories often give the same query (there are not many with one attribute); each counts once.
A gallery image is relevant when its labels satisfy everything that is given. Where labels have gaps, groups are given
of which the category knows something, perhaps only that it is one of several states; images whose labels do not decide
are left out, and so are images of other data sets.

Four rules are compared. `match` is the one of the runtime, the match score of a calibrated bundle
(sal_runtime/matching/scoring.py). The others are its ingredients and a naive rule. `marginalised` is the cosine with
the query's direction. `attribute_likelihood` does without the common space: it is the product of the probabilities that
the attribute head gives to the asked terms, as they are before calibration. `zeros` sets everything that is not given
to zero, as if every unmentioned thing were absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from sal_runtime.arrays import BoolArray, Float32Array
from sal_runtime.bundle.calibration import Calibration
from sal_runtime.matching.scoring import (
    EncodeAttributes,
    encoded_completions,
    joint_logit,
    match_score,
    query_information,
    query_seed,
    query_vector,
    term_logits,
    term_probabilities,
)
from sal_runtime.query.language import Query, parse_query
from sal_runtime.query.schema import AttributeSchema, Group
from sal_train.datasets.splits import Labels, possible_states
from sal_train.evaluation.metrics import RetrievalMetrics, rank_queries, summarise
from sal_train.evaluation.subject import LabelledEmbeddings, Subject

NUM_GIVEN: tuple[int | None, ...] = (1, 2, 3, 5, 10, None)
"""Attributes given; None: all that the category's labels settle."""

TEMPERATURES = (4.0, 16.0, 64.0)
"""Inverse temperatures of the aggregation `log_mean_exp`: 0 would be the mean, infinity the maximum."""


@dataclass(frozen=True)
class PartialQuery:
    """A query made from a category.

    Attributes:
        given: group -> states of which one holds, all by number.
        query: the same, parsed from text as a user would write it.
        source: number of the data set whose images it is for; None: all.
    """

    given: Mapping[int, frozenset[int]]
    query: Query
    source: int | None = None


@dataclass(frozen=True)
class AnsweredQuery:
    """Scores of the images under each rule, and what the labels say.

    Attributes:
        scores: rule (or variant of a rule) -> float32 `[n]`.
        relevant: bool `[n]`.
        information: of the query under the training statistics, in nats.
        decided: the n of all N images that the query is for and whose labels decide, bool `[N]`; None: all.
    """

    query: Query
    scores: Mapping[str, Float32Array]
    relevant: BoolArray
    information: float
    decided: BoolArray | None = None


def make_partial_queries(
    schema: AttributeSchema, categories: Labels, num_given: int | None, seed: int
) -> tuple[PartialQuery, ...]:
    """The distinct queries with `num_given` attributes of K categories, in order of first appearance.

    A group whose labels contradict each other (two colours at once) or say nothing is never given. Categories with
    fewer settled groups than `num_given` give no query, except for None, which gives all there are.
    """
    queries: dict[tuple[str, int | None], PartialQuery] = {}
    possible = possible_states(schema, categories.attributes, categories.known)
    for category in range(len(categories.attributes)):
        states = [frozenset(np.flatnonzero(allowed[category]).tolist()) for allowed in possible]
        settled = [int(group) for group in np.random.default_rng([seed, category]).permutation(len(states))]
        settled = [group for group in settled if 0 < len(states[group]) < len(schema.groups[group].states)]
        if not settled or (num_given is not None and len(settled) < num_given):
            continue
        given = {group: states[group] for group in sorted(settled[:num_given])}
        text = ",".join(_term(schema.groups[group], allowed) for group, allowed in given.items())
        source = None if categories.sources is None else int(categories.sources[category])
        if (text, source) not in queries:
            queries[text, source] = PartialQuery(given, parse_query(text, schema), source)
    return tuple(queries.values())


def _term(group: Group, allowed: frozenset[int]) -> str:
    return f"{group.name}={'|'.join(group.states[state].name for state in sorted(allowed))}"


def judged(schema: AttributeSchema, partial: PartialQuery, labels: Labels) -> tuple[BoolArray, BoolArray]:
    """What the labels of N images say of a query.

    A state holds where its bit is set, or, if it has none, where no bit of its group is. So a person labelled both
    black and white satisfies black.

    Returns:
        Which images satisfy everything that is given, and of which images this is known, bool `[N]` each. Images of
        another data set are not judged.
    """
    attributes, possible = labels.attributes, possible_states(schema, labels.attributes, labels.known)
    holds, fails = (np.full(len(attributes), value) for value in (True, False))
    for number, allowed in partial.given.items():
        group, states = schema.groups[number], possible[number]
        within = states[:, sorted(allowed)].any(axis=1)
        beyond = states[:, sorted(set(range(len(group.states))) - allowed)].any(axis=1)
        set_bits = [bit for state in allowed if (bit := group.states[state].bit) is not None]
        here = (attributes[:, set_bits] == 1).any(axis=1) | (within & ~beyond)
        holds &= here
        fails |= ~here & ~within
    decided = holds | fails
    if labels.sources is not None and partial.source is not None:
        decided &= labels.sources == partial.source
    return holds, decided


def answer(
    subject: Subject,
    images: LabelledEmbeddings,
    partial: PartialQuery,
    calibration: Calibration | None = None,
    variants: bool = False,
) -> AnsweredQuery:
    """Score all images under every rule, and under `match` with a calibration.

    With `variants`, other aggregations of the completions are scored, too.
    """
    query, statistics, encode = partial.query, subject.statistics, subject.encode_attributes
    probabilities = term_probabilities(query, subject.schema, images.logits)
    scores = {
        "marginalised": images.embeddings @ query_vector(query, statistics, encode),
        "zeros": images.embeddings @ zeros_vector(partial, subject.schema, encode),
        "attribute_likelihood": np.log(probabilities).sum(axis=1).astype(np.float32),
    }
    if variants:
        scores |= aggregations(*encoded_completions(query.conjunctions, statistics, encode, query_seed(query)), images)
    relevant, decided = judged(subject.schema, partial, images.labels)
    information = query_information(query, statistics)
    answered = AnsweredQuery(query, scores, relevant, information)
    if not decided.all():
        kept = {rule: values[decided] for rule, values in scores.items()}
        answered = AnsweredQuery(query, kept, relevant[decided], information, decided)
    if calibration is None:
        return answered
    match = match_scores(answered, calibration, images, subject.schema)
    return replace(answered, scores={**answered.scores, "match": match})


def match_scores(
    answered: AnsweredQuery, calibration: Calibration, images: LabelledEmbeddings, schema: AttributeSchema
) -> Float32Array:
    """Match scores of the decided images, float32 `[n]`, from their logits and their scores under `marginalised`."""
    logits = images.logits if answered.decided is None else images.logits[answered.decided]
    logits = logits * calibration.attribute_scale + calibration.attribute_shift
    evidence = joint_logit(term_logits(answered.query, schema, dict(enumerate(logits.T))))
    share = calibration.cosine_share(answered.information)
    return np.asarray(match_score(evidence, answered.scores["marginalised"], share))


def zeros_vector(partial: PartialQuery, schema: AttributeSchema, encode: EncodeAttributes) -> Float32Array:
    """The unit vector float32 `[d]` of a query under the rule `zeros`: only a state that is given alone sets a bit."""
    vector = np.zeros((1, schema.num_bits), dtype=np.uint8)
    for group, states in partial.given.items():
        bits = [schema.groups[group].states[state].bit for state in states]
        if len(bits) == 1 and bits[0] is not None:
            vector[0, bits[0]] = 1
    return np.asarray(encode(vector)[0])


def aggregations(
    embeddings: Float32Array, weights: Float32Array, images: LabelledEmbeddings
) -> dict[str, Float32Array]:
    """Ways to make one score of the cosines with all completions, without reference to the average person.

    Args:
        embeddings: of the completions, `[C, d]`.
        weights: of the completions, `[C]`, summing to 1.
        images: N of them.

    Returns:
        `mean`; `log_mean_exp T`, log(mean(exp(T * cosine))) / T; `max`. float32 `[N]` each.
    """
    cosines = images.embeddings @ embeddings.T  # [N, C]
    highest = cosines.max(axis=1)
    scores = {"mean": cosines @ weights}
    for temperature in TEMPERATURES:
        shifted = np.exp(temperature * (cosines - highest[:, None])) @ weights
        scores[f"log_mean_exp {temperature:g}"] = highest + np.log(shifted) / temperature
    return {name: score.astype(np.float32) for name, score in (scores | {"max": highest}).items()}


def answers(
    subject: Subject,
    images: LabelledEmbeddings,
    queries: tuple[PartialQuery, ...],
    console: Console,
    calibration: Calibration | None = None,
    variants: bool = False,
) -> Iterator[AnsweredQuery]:
    """`answer` for one query after the other, with progress on `console`."""
    described = f"{len(queries)} partial queries"
    for partial in track(queries, described, console=console, disable=not console.is_terminal):
        yield answer(subject, images, partial, calibration, variants)


def summarise_rules(answered: Iterator[AnsweredQuery], num_gallery: int) -> dict[str, Any]:
    """Metrics of each rule over queries with as many attributes given, and the share of relevant images.

    The share of relevant images is what mAP a random order would have; with one attribute given it is high.
    """
    collected: dict[str, list[tuple[float, int]]] = {}
    shares = []
    for query in answered:
        shares.append(float(query.relevant.mean()))
        for rule, scores in query.scores.items():
            precision, first = rank_queries(scores[None], query.relevant[None])
            collected.setdefault(rule, []).append((float(precision[0]), int(first[0])))
    rules = {rule: _summary(pairs, num_gallery).to_json() for rule, pairs in collected.items()}
    return {"num_queries": len(shares), "share_relevant": float(np.mean(shares)), "rules": rules}


def _summary(pairs: list[tuple[float, int]], num_gallery: int) -> RetrievalMetrics:
    precision, first = zip(*pairs, strict=True)
    return summarise(np.array(precision), np.array(first, dtype=np.int64), num_gallery)
