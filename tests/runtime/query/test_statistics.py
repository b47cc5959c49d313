"""Training statistics and conditional sampling, against enumeration of every possible person."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from numpy.typing import NDArray

from sal_runtime.errors import SchemaError
from sal_runtime.query.schema import AttributeSchema, binary, exclusive
from sal_runtime.query.statistics import AttributeStatistics
from sal_train.datasets.attribute_tree import fit_statistics
from sal_train.datasets.splits import states_from_vectors
from tests.runtime.tiny_bundle import SCHEMA

PEOPLE = np.array(list(itertools.product(*(range(len(group.states)) for group in SCHEMA.groups))))


def bit_probabilities(statistics: AttributeStatistics) -> NDArray[np.float64]:
    """Probability that each bit is set."""
    probabilities = np.zeros(statistics.schema.num_bits)
    for number, group in enumerate(statistics.schema.groups):
        for state_number, state in enumerate(group.states):
            if state.bit is not None:
                probabilities[state.bit] = statistics.probability({number: frozenset({state_number})})
    return probabilities


def fitted(count: int = 3000) -> tuple[AttributeStatistics, np.ndarray]:
    """People whose lower colour follows the upper one and whose backpack depends on gender."""
    rng = np.random.default_rng(1)
    gender = rng.integers(0, 2, count)
    backpack = (rng.random(count) < 0.2 + 0.5 * gender).astype(int)
    upper = rng.choice(4, count, p=[0.5, 0.2, 0.2, 0.1])
    lower = np.where(rng.random(count) < 0.7, np.minimum(upper, 2), rng.integers(0, 3, count))
    hat = (rng.random(count) < 0.1).astype(int)
    states = np.stack([hat, backpack, gender, upper, lower], axis=1)
    return fit_statistics(SCHEMA, SCHEMA.vectors_from_states(states)), states


def joint_probability(statistics: AttributeStatistics, person: np.ndarray) -> float:
    probability = 1.0
    for group, parent in enumerate(statistics.parents):
        table = statistics.tables[group]
        probability *= table[person[group]] if parent < 0 else table[person[parent], person[group]]
    return probability


def test_the_tree_keeps_the_strong_dependencies() -> None:
    statistics, _ = fitted()
    edges = {frozenset((group, parent)) for group, parent in enumerate(statistics.parents) if parent >= 0}
    assert frozenset((1, 2)) in edges  # backpack and gender
    assert frozenset((3, 4)) in edges  # the two colours
    assert len(edges) == len(SCHEMA.groups) - 1


def test_marginals_are_those_of_the_data() -> None:
    statistics, states = fitted()
    assert bit_probabilities(statistics) == pytest.approx(SCHEMA.vectors_from_states(states).mean(axis=0), abs=2e-3)


def test_probabilities_of_all_people_sum_to_one() -> None:
    statistics, _ = fitted()
    assert sum(joint_probability(statistics, person) for person in PEOPLE) == pytest.approx(1.0)
    assert statistics.probability({}) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "conjunction",
    [{0: frozenset({1})}, {2: frozenset({0}), 4: frozenset({0, 2})}, {1: frozenset({1}), 3: frozenset({1, 3})}],
)
def test_probability_of_constraints_equals_the_sum_over_people(conjunction: dict[int, frozenset[int]]) -> None:
    statistics, _ = fitted()
    allowed = [person for person in PEOPLE if all(person[group] in states for group, states in conjunction.items())]
    expected = sum(joint_probability(statistics, person) for person in allowed)
    assert statistics.probability(conjunction) == pytest.approx(expected)


def test_completions_follow_the_conditional_distribution() -> None:
    statistics, _ = fitted()
    conjunction = {4: frozenset({0}), 1: frozenset({1})}
    vectors, weights = statistics.sample_completions([conjunction], 200_000, seed=5)
    drawn = {tuple(row): weight for row, weight in zip(states_from_vectors(SCHEMA, vectors), weights, strict=True)}
    assert weights.sum() == 200_000
    for person in PEOPLE:
        fits = person[4] == 0 and person[1] == 1
        expected = joint_probability(statistics, person) / statistics.probability(conjunction) if fits else 0.0
        assert drawn.get(tuple(person), 0) / 200_000 == pytest.approx(expected, abs=0.004)


def test_alternatives_are_drawn_by_their_probability() -> None:
    statistics, _ = fitted()
    rare, common = {0: frozenset({1}), 2: frozenset({0})}, {0: frozenset({0}), 2: frozenset({1})}
    vectors, weights = statistics.sample_completions([rare, common], 50_000, seed=2)
    share = weights[vectors[:, 0] == 1].sum() / weights.sum()
    probabilities = statistics.probability(rare), statistics.probability(common)
    assert share == pytest.approx(probabilities[0] / sum(probabilities), abs=0.01)


def test_same_seed_same_completions_and_a_full_query_has_one() -> None:
    statistics, _ = fitted()
    first, second = (statistics.sample_completions([{0: frozenset({1})}], 100, seed=9) for _ in range(2))
    assert (first[0] == second[0]).all()
    full = {group: frozenset({1}) for group in range(len(SCHEMA.groups))}
    vectors, weights = statistics.sample_completions([full], 100, seed=9)
    assert vectors.shape == (1, SCHEMA.num_bits)
    assert weights.tolist() == [100]


def test_contradictory_training_rows_count_in_parts() -> None:
    schema = AttributeSchema("c", (exclusive("colour", {"red": 0, "blue": 1}, allow_none=False), binary("hat", 2)))
    rows = np.array([[1, 1, 0]] * 50 + [[0, 0, 0]] * 50, dtype=np.uint8)  # both colours, and none
    statistics = fit_statistics(schema, rows)
    assert bit_probabilities(statistics)[:2] == pytest.approx([0.5, 0.5])


def test_manifest_form_reads_back() -> None:
    statistics, _ = fitted()
    again = AttributeStatistics.from_json(json.loads(json.dumps(statistics.to_json())), SCHEMA)
    assert again.parents == statistics.parents
    assert bit_probabilities(again) == pytest.approx(bit_probabilities(statistics), abs=1e-5)
    with pytest.raises(SchemaError, match="do not fit"):
        AttributeStatistics.from_json(statistics.to_json(), AttributeSchema("other", (binary("hat", 0),)))
