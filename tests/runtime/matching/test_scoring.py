"""The scoring rules against enumeration of everything a hand-made head and a hand-made population can say."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sal_runtime.bundle.calibration import Calibration
from sal_runtime.errors import BundleError
from sal_runtime.matching import scoring
from sal_runtime.matching.scoring import (
    agreeing_evidence,
    assess,
    joint_logit,
    match_scoring,
    query_vector,
    term_probabilities,
)
from sal_runtime.query.language import Term, parse_query
from sal_runtime.query.schema import AttributeSchema, binary, exclusive
from sal_runtime.ranking.scoring import top_k_by_score
from sal_train.datasets.attribute_tree import fit_statistics
from sal_train.datasets.splits import states_from_vectors

SCHEMA = AttributeSchema(
    "tiny",
    (
        binary("gender", 0, absent="male", present="female"),
        binary("hat", 1),
        exclusive("colour", {"red": 2, "blue": 3}, allow_none=True),
        exclusive("age", {"young": 4, "old": 5}, allow_none=False),
    ),
)
DIMENSION = 8
QUERIES = ["male", "hat", "!hat", "red", "red|blue", "!red", "none", "hat|red", "!hat|red", "male,hat|red,old", "!old"]


class Population:
    """Training statistics that are the list of all legal vectors with their probabilities; completions are exact."""

    def __init__(self, schema: AttributeSchema, seed: int) -> None:
        self.schema = schema
        states = [range(len(group.states)) for group in schema.groups]
        self.states = np.array(list(itertools.product(*states)))
        self.vectors = schema.vectors_from_states(self.states)
        self.probabilities = np.random.default_rng(seed).dirichlet(np.ones(len(self.states)))

    def _fits(self, conjunction: Mapping[int, frozenset[int]]) -> np.ndarray:
        fits = np.ones(len(self.states), dtype=bool)
        for group, allowed in conjunction.items():
            fits &= np.isin(self.states[:, group], sorted(allowed))
        return fits

    def probability(self, conjunction: Mapping[int, frozenset[int]]) -> float:
        return float(self.probabilities[self._fits(conjunction)].sum())

    def sample_completions(
        self, conjunctions: Sequence[Mapping[int, frozenset[int]]], count: int, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        fits = np.any([self._fits(conjunction) for conjunction in conjunctions], axis=0)
        return self.vectors[fits], self.probabilities[fits]


def encode(vectors: np.ndarray) -> np.ndarray:
    """A fixed random network: enough to tell vectors apart."""
    hidden = np.tanh(vectors @ np.random.default_rng(5).standard_normal((SCHEMA.num_bits, DIMENSION)) + 0.3)
    return (hidden / np.linalg.norm(hidden, axis=1, keepdims=True)).astype(np.float32)


def unit_rows(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, DIMENSION))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def make_bundle(calibration: Calibration | None = None) -> Any:
    generator = np.random.default_rng(11)
    head = (
        generator.standard_normal((SCHEMA.num_bits, DIMENSION)).astype(np.float32),
        generator.standard_normal(SCHEMA.num_bits).astype(np.float32),
    )
    return SimpleNamespace(
        schema=SCHEMA,
        statistics=Population(SCHEMA, 1),
        embedding_dim=DIMENSION,
        attribute_head=head,
        calibration=calibration,
    )


ENCODER = SimpleNamespace(encode=encode)


def holds(term: Term, states: Sequence[int]) -> bool:
    any_alternative = any(states[group] in named for group, named in term.states)
    return any_alternative != term.negated


@pytest.mark.parametrize("text", QUERIES)
def test_evidence_is_the_probability_given_legal_states(text: str) -> None:
    """Independent bits, each set with its sigmoid; keep the patterns the schema allows; count where the term holds."""
    query = parse_query(text, SCHEMA)
    logits = np.random.default_rng(2).normal(scale=2.0, size=(5, SCHEMA.num_bits))
    got = term_probabilities(query, SCHEMA, logits)
    assert got.shape == (5, len(query.terms))
    for row, sigmoid in enumerate(1 / (1 + np.exp(-logits))):
        legal, holding = 0.0, np.zeros(len(query.terms))
        for pattern in itertools.product((0, 1), repeat=SCHEMA.num_bits):
            states = states_from_vectors(SCHEMA, np.array(pattern, dtype=np.uint8))
            if (states < 0).any():
                continue
            probability = math.prod(p if bit else 1 - p for p, bit in zip(sigmoid, pattern, strict=True))
            legal += probability
            holding += [probability * holds(term, states) for term in query.terms]
        np.testing.assert_allclose(got[row], holding / legal, rtol=1e-9)


def test_evidence_by_hand() -> None:
    logits = np.array([[0.0, math.log(3.0), math.log(2.0), 0.0, 0.0, 0.0]])
    query = parse_query("female,!hat,red", SCHEMA)
    np.testing.assert_allclose(term_probabilities(query, SCHEMA, logits), [[1 / 2, 1 / 4, 2 / 4]])


def test_certain_logits_stay_finite() -> None:
    logits = np.full((2, SCHEMA.num_bits), 1e4)
    logits[1] *= -1
    probabilities = term_probabilities(parse_query("male,hat,red", SCHEMA), SCHEMA, logits)
    assert ((probabilities > 0) & (probabilities <= 1)).all()


def test_full_query_is_the_cosine_of_its_one_vector_exactly() -> None:
    vector = query_vector(parse_query("female,no-hat,colour=blue,old", SCHEMA), make_bundle().statistics, encode)
    np.testing.assert_array_equal(vector, encode(np.array([[1, 0, 0, 1, 0, 1]], dtype=np.uint8))[0])


@pytest.mark.parametrize("text", QUERIES)
def test_marginalised_score_by_enumeration(text: str) -> None:
    """The direction from the average person to the average person who fits."""
    query, bundle, gallery = parse_query(text, SCHEMA), make_bundle(), unit_rows(20, 4)
    cosines = gallery @ query_vector(query, bundle.statistics, encode)
    population = bundle.statistics
    everyone, fitting, share = np.zeros(DIMENSION), np.zeros(DIMENSION), 0.0
    for states, probability in zip(population.states, population.probabilities, strict=True):
        embedding = encode(SCHEMA.vectors_from_states(states)[None])[0]
        everyone += probability * embedding
        if all(holds(term, states) for term in query.terms):
            fitting += probability * embedding
            share += probability
    direction = fitting / share - everyone
    expected = [row @ direction / math.sqrt(direction @ direction) for row in gallery.astype(np.float64)]
    np.testing.assert_allclose(cosines, expected, atol=1e-5)
    assert scoring.query_information(query, population) == pytest.approx(-math.log(share))


def test_a_query_true_of_everyone_drawn_still_has_a_vector() -> None:
    population = Population(SCHEMA, 1)
    population.probabilities = np.where(population.states[:, 1] == 0, population.probabilities, 0.0)  # nobody has a hat
    vector = scoring.query_vector(parse_query("!hat", SCHEMA), population, encode)
    mean = population.probabilities @ encode(population.vectors)
    np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-5)


def test_draws_of_the_real_statistics_approach_the_enumeration() -> None:
    population = Population(SCHEMA, 1)
    rows = np.random.default_rng(3).choice(len(population.vectors), size=20000, p=population.probabilities)
    statistics = fit_statistics(SCHEMA, population.vectors[rows])
    for text in ("male", "!hat", "red|blue,old"):
        query = parse_query(text, SCHEMA)
        drawn, exact = (scoring.query_vector(query, known, encode) for known in (statistics, population))
        assert drawn @ exact > 0.9
        np.testing.assert_array_equal(scoring.query_vector(query, statistics, encode), drawn)


def test_order_and_wording_do_not_matter() -> None:
    seeds = {scoring.query_seed(parse_query(text, SCHEMA)) for text in ("male,hat", "hat,male", "gender=male, !no-hat")}
    assert len(seeds) == 1
    assert scoring.query_seed(parse_query("female,hat", SCHEMA)) not in seeds


CALIBRATION = Calibration(
    attribute_scale=np.array([1.5, 0.5, 1.0, 1.0, 2.0, 2.0], np.float32),
    attribute_shift=np.array([0.25, -1.0, 0.5, -0.5, 0.0, 1.0], np.float32),
    cosine_weight=0.6,
    score_weight=0.8,
    growing_score_weight=0.4,
    terms_weight=-0.3,
    information_weight=0.2,
    bias=-1.0,
)


def by_hand(text: str, gallery: np.ndarray) -> tuple[list[float], list[float], list[list[float]]]:
    """Match scores, likelihoods and evidence, with loops and in float64, from what the docstrings say."""
    query, bundle = parse_query(text, SCHEMA), make_bundle()
    population, (weight, bias) = bundle.statistics, bundle.attribute_head
    vector = query_vector(query, population, encode).astype(np.float64)
    fits = [all(holds(term, states) for term in query.terms) for states in population.states]
    information = -math.log(population.probabilities[fits].sum())
    scores, likelihoods, evidences = [], [], []
    for row in gallery.astype(np.float64):
        logits = CALIBRATION.attribute_scale * (weight @ row + bias) + CALIBRATION.attribute_shift
        evidence = []
        for term in query.terms:
            absent = 1.0
            for group, named in term.states:
                states = SCHEMA.groups[group].states
                odds = [math.exp(0 if state.bit is None else logits[state.bit]) for state in states]
                absent *= 1 - sum(odds[state] for state in named) / sum(odds)
            evidence.append(absent if term.negated else 1 - absent)
        joint, cosine_weight = math.prod(evidence), 0.6 * information**2
        score = (math.log(joint / (1 - joint)) + cosine_weight * (row @ vector)) / (1 + cosine_weight)
        logit = (0.8 + 0.4 * information) * score - 0.3 * len(query.terms) + 0.2 * information - 1
        match = 1 / (1 + math.exp(-logit))
        scores.append(score)
        likelihoods.append(match)
        evidences.append([match + (1 - match) * (term - joint) / (1 - joint) for term in evidence])
    return scores, likelihoods, evidences


@pytest.mark.parametrize("text", [*QUERIES, "male,hat|red", "!old,!hat,none"])
def test_scores_likelihood_and_evidence_by_hand(text: str) -> None:
    gallery, bundle, query = unit_rows(40, 8), make_bundle(CALIBRATION), parse_query(text, SCHEMA)
    vector = query_vector(query, bundle.statistics, encode)
    rows, found = top_k_by_score([match_scoring(bundle, query, vector)], [gallery], 40)
    scores, likelihoods, evidences = by_hand(text, gallery)
    assert rows[0].tolist() == sorted(range(40), key=lambda row: -scores[row])
    np.testing.assert_allclose(found[0], np.array(scores)[rows[0]], rtol=1e-4, atol=1e-5)
    told = assess(bundle, query, vector, found[0], gallery[rows[0]])
    assert told.likelihood is not None
    np.testing.assert_allclose(told.likelihood, np.array(likelihoods)[rows[0]], rtol=1e-4)
    np.testing.assert_allclose(told.evidence, np.array(evidences)[rows[0]], rtol=1e-4)
    np.testing.assert_allclose(told.cosines, gallery[rows[0]] @ vector, atol=1e-6)
    assert (np.diff(told.likelihood) <= 0).all()


def test_queries_asked_together_have_the_scores_that_they_have_alone() -> None:
    bundle, gallery = make_bundle(CALIBRATION), unit_rows(300, 12)
    queries = [parse_query(text, SCHEMA) for text in QUERIES]
    vectors = np.array([query_vector(query, bundle.statistics, encode) for query in queries])
    rules = [match_scoring(bundle, *pair) for pair in zip(queries, vectors, strict=True)]
    rows, scores = top_k_by_score(rules, [gallery], 9)
    for number in range(len(queries)):
        alone = top_k_by_score(rules[number : number + 1], [gallery], 9)
        np.testing.assert_array_equal(rows[number], alone[0][0])
        np.testing.assert_allclose(scores[number], alone[1][0], rtol=1e-5, atol=1e-5)


def test_without_a_calibration_nothing_is_likely() -> None:
    bundle, gallery, query = make_bundle(), unit_rows(30, 9), parse_query("hat,red", SCHEMA)
    vector = query_vector(query, bundle.statistics, encode)
    assert assess(bundle, query, vector, gallery @ vector, gallery).likelihood is None


SEVERAL_BOUNDS = ["red|blue,!none", "hat|red|blue", "!hat|red|blue", "female|old|red"]


@pytest.mark.parametrize("text", [*QUERIES, "male,hat", "male,hat,red|blue,!old", *SEVERAL_BOUNDS])
def test_bounds_hold_and_are_close_for_what_fits_best(text: str) -> None:
    bundle, gallery, query = make_bundle(CALIBRATION), unit_rows(3000, 14), parse_query(text, SCHEMA)
    rule = match_scoring(bundle, query, query_vector(query, bundle.statistics, encode))
    scores = rule.score(gallery @ rule.directions.T)
    upper = (gallery @ rule.bounds.T + rule.offsets).max(axis=1)
    assert (upper >= scores).all()
    if text != "!hat|red":  # a bound of red alone, and the drawn head hardly tells colours apart
        assert (upper >= np.sort(scores)[-10]).mean() < 0.5


@pytest.mark.parametrize("text", [*QUERIES, "male,hat", "male,hat,red|blue,!old", *SEVERAL_BOUNDS])
def test_a_score_changes_no_faster_than_its_slope(text: str) -> None:
    bundle, query = make_bundle(CALIBRATION), parse_query(text, SCHEMA)
    rule = match_scoring(bundle, query, query_vector(query, bundle.statistics, encode))
    steepest = 0.0
    for seed, step in enumerate((1e-3, 1e-2, 0.1, 1.0)):
        before, moves = unit_rows(3000, 2 * seed), unit_rows(3000, 2 * seed + 1)
        after = before + np.float32(step) * moves
        change = np.abs(rule.score(before @ rule.directions.T) - rule.score(after @ rule.directions.T))
        distance = np.linalg.norm(after.astype(np.float64) - before, axis=1)
        assert (change <= rule.slope * distance + rule.slack).all()
        steepest = max(steepest, float((change / (rule.slope * distance + rule.slack)).max()))
    assert steepest > 0.1  # the slope is not far from what happens
    assert rule.slack < 0.01 * rule.slope


@pytest.mark.parametrize("text", [*QUERIES, "male,hat", "male,hat,red|blue,!old"])
def test_no_word_is_less_likely_than_the_whole_description(text: str) -> None:
    bundle, gallery, query = make_bundle(CALIBRATION), unit_rows(200, 10), parse_query(text, SCHEMA)
    vector = query_vector(query, bundle.statistics, encode)
    rows, scores = top_k_by_score([match_scoring(bundle, query, vector)], [gallery], 200)
    told = assess(bundle, query, vector, scores[0], gallery[rows[0]])
    assert told.likelihood is not None
    assert (told.evidence >= told.likelihood[:, None] - 1e-6).all()
    assert (told.evidence <= 1).all()
    if len(query.terms) == 1:  # the percentage of a single word is the likelihood
        np.testing.assert_allclose(told.evidence[:, 0], told.likelihood, atol=1e-6)


def test_evidence_stays_where_the_cosine_says_nothing_new() -> None:
    evidence = np.array([[0.9, 0.5], [0.2, 0.7], [1.0, 1.0]])
    agreed = agreeing_evidence(evidence, evidence.prod(axis=1).astype(np.float32))
    np.testing.assert_allclose(agreed, evidence, atol=1e-6)
    # all hold with 0.6 instead of 0.45; of the other 0.4, (0.9 - 0.45) / 0.55 and (0.5 - 0.45) / 0.55
    likelier = agreeing_evidence(evidence[:1], np.array([0.6], np.float32))
    np.testing.assert_allclose(likelier, [[0.6 + 0.4 * 0.45 / 0.55, 0.6 + 0.4 * 0.05 / 0.55]], atol=1e-6)


@pytest.mark.parametrize("size", [1e4, 88.0, 1e-3])
@pytest.mark.parametrize("terms", [1, 2, 30])
def test_certain_logits_give_finite_scores(size: float, terms: int) -> None:
    for kind in (np.float32, np.float64):
        logits = np.array([size, -size, 0.0], kind)
        joint = joint_logit([logits] * terms)
        assert joint.dtype == kind
        assert np.isfinite(joint).all()
        assert joint[0] >= joint[2] >= joint[1]


def test_no_images() -> None:
    query, bundle, nobody = parse_query("hat", SCHEMA), make_bundle(CALIBRATION), np.empty((0, DIMENSION), np.float32)
    vector = query_vector(query, bundle.statistics, encode)
    rows, scores = top_k_by_score([match_scoring(bundle, query, vector)], [nobody], 3)
    assert rows.shape == scores.shape == (1, 0)
    assert assess(bundle, query, vector, scores[0], nobody).evidence.shape == (0, 1)


def test_calibration_survives_its_json() -> None:
    again = Calibration.from_json(CALIBRATION.to_json(), SCHEMA.num_bits)
    scores = np.random.default_rng(0).standard_normal(9) * 1e3
    np.testing.assert_array_equal(again.likelihood(scores, 2, 3.0), CALIBRATION.likelihood(scores, 2, 3.0))
    assert again.to_json() == CALIBRATION.to_json()
    assert (again.likelihood(scores, 2, 3.0) >= 0).all()
    assert (again.likelihood(scores, 2, 3.0) <= 1).all()


@pytest.mark.parametrize(
    "change",
    [
        {"method": "isotonic"},
        {"attribute_scale": [1.0]},
        {"attribute_scale": [1, 1, 1, -1, 1, 1]},
        {"attribute_shift": [0, 0, 0, 0, 0, "nan"]},
        {"score_weight": 0},
        {"growing_score_weight": -1},
        {"cosine_weight": -0.1},
        {"bias": None},
    ],
)
def test_calibration_refuses(change: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="calibration"):
        Calibration.from_json(CALIBRATION.to_json() | change, SCHEMA.num_bits)
