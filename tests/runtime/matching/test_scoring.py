"""The scoring rules against enumeration of everything a hand-made head and a hand-made population can say."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sal_runtime.bundle.calibration import FEATURES, Calibration, match_features
from sal_runtime.errors import BundleError
from sal_runtime.matching import scoring
from sal_runtime.matching.scoring import Assessment, assess, query_vector, term_probabilities
from sal_runtime.query.language import Query, Term, parse_query
from sal_runtime.query.schema import AttributeSchema, binary, exclusive
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
    assert np.isfinite(scoring.log_likelihood(probabilities)).all()
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
    assert scoring.query_log_prior(query, population) == pytest.approx(math.log(share))


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


MEAN, SCALE, WEIGHTS, BIAS = (
    [0.1, -1.0, 2.0, -3.0, -0.2],
    [0.2, 2.0, 1.0, 4.0, 0.5],
    [1.5, 1.0, -0.5, 0.25, -0.75],
    -1.0,
)
CALIBRATION = Calibration(np.array(MEAN), np.array(SCALE), np.array(WEIGHTS), BIAS)


def assessed(
    query: Query, gallery: np.ndarray, calibration: dict[str, Any] | None = None, **settings: Any
) -> Assessment:
    bundle = make_bundle(calibration)
    return assess(bundle, query, gallery @ query_vector(query, bundle.statistics, encode), gallery, **settings)


def test_likelihood_is_the_logistic_of_the_features() -> None:
    query, gallery = parse_query("male,hat|red", SCHEMA), unit_rows(6, 8)
    bundle = make_bundle(CALIBRATION)
    cosines = gallery @ query_vector(query, bundle.statistics, encode)
    scores = assess(bundle, query, cosines, gallery)
    population = bundle.statistics
    hat_or_red = (population.states[:, 1] == 1) | (population.states[:, 2] == 0)
    log_prior = math.log(population.probabilities[(population.states[:, 0] == 0) & hat_or_red].sum())
    assert scores.likelihood is not None
    for row in range(6):
        joint = float(scores.evidence[row].astype(np.float64).prod())
        cosine = float(cosines[row])
        features = [cosine, math.log(joint / (1 - joint)), 2, log_prior, cosine * log_prior]
        logit = BIAS + sum(w * (f - m) / s for w, f, m, s in zip(WEIGHTS, features, MEAN, SCALE, strict=True))
        assert scores.likelihood[row] == pytest.approx(1 / (1 + math.exp(-logit)), rel=1e-4)


def test_no_calibration_no_likelihood() -> None:
    assert assessed(parse_query("hat", SCHEMA), unit_rows(2, 9)).likelihood is None


def test_chunks_change_nothing() -> None:
    query, gallery = parse_query("male,hat|red", SCHEMA), unit_rows(50, 10)
    whole = assessed(query, gallery, CALIBRATION)
    chunked = assessed(query, gallery, CALIBRATION, chunk_rows=7)
    for name in ("likelihood", "evidence"):
        np.testing.assert_allclose(getattr(chunked, name), getattr(whole, name), rtol=1e-5, atol=1e-6)


def test_certain_evidence_gives_a_finite_likelihood() -> None:
    features = match_features(np.zeros(3), np.array([0.0, -1e-9, -300.0]), 1, -1.0)
    assert np.isfinite(features).all()
    assert np.isfinite(CALIBRATION.likelihood(features)).all()


def test_no_images() -> None:
    assert assessed(parse_query("hat", SCHEMA), np.empty((0, DIMENSION), np.float32)).evidence.shape == (0, 1)


def test_calibration_survives_its_json() -> None:
    again = Calibration.from_json(CALIBRATION.to_json())
    features = np.random.default_rng(0).standard_normal((9, len(FEATURES))) * 1e3
    np.testing.assert_array_equal(again.likelihood(features), CALIBRATION.likelihood(features))
    assert (again.likelihood(features) >= 0).all()
    assert (again.likelihood(features) <= 1).all()


@pytest.mark.parametrize(
    "change",
    [
        {"method": "isotonic"},
        {"features": ["cosine"]},
        {"weights": [1.0]},
        {"scale": [1, 1, 0, 1, 1]},
        {"bias": None},
        {"mean": [0, 0, 0, 0, "nan"]},
    ],
)
def test_calibration_refuses(change: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="calibration"):
        Calibration.from_json(CALIBRATION.to_json() | change)
