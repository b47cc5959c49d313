"""Statistics of labels with gaps: against enumeration of all people, and against the tree that the people come from."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sal_runtime.arrays import BoolArray, Float64Array, Int64Array, UInt8Array
from sal_runtime.query.schema import AttributeSchema, binary, exclusive
from sal_runtime.query.statistics import AttributeStatistics
from sal_train.datasets import attribute_tree
from sal_train.datasets.attribute_tree import fill_unknown, fit_statistics

SCHEMA = AttributeSchema(
    "four",
    (
        binary("hat", 0),
        exclusive("colour", {"red": 1, "blue": 2}, allow_none=True),
        exclusive("age", {"young": 3, "middle": 4, "old": 5}, allow_none=False),
        binary("bag", 6),
    ),
)
PEOPLE = np.array(list(itertools.product(*(range(len(group.states)) for group in SCHEMA.groups))))
VECTORS = SCHEMA.vectors_from_states(PEOPLE)
DRAWN = AttributeStatistics(
    SCHEMA,
    (2, 0, -1, 1),
    (
        np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]),
        np.array([[0.8, 0.1, 0.1], [0.1, 0.6, 0.3]]),
        np.array([0.5, 0.3, 0.2]),
        np.array([[0.9, 0.1], [0.3, 0.7], [0.1, 0.9]]),
    ),
    1,
)
"""Age decides on the hat, the hat on the colour, the colour on the bag."""


def probabilities(tree: AttributeStatistics) -> Float64Array:
    """Of each of `PEOPLE`."""
    product = np.ones(len(PEOPLE))
    for group, parent in enumerate(tree.parents):
        table = tree.tables[group]
        product *= table[PEOPLE[:, group]] if parent < 0 else table[PEOPLE[:, parent], PEOPLE[:, group]]
    return product


def drawn_people(count: int, missing: float, seed: int) -> tuple[UInt8Array, BoolArray]:
    """Vectors with gaps: some groups are unknown as a whole, some bits alone."""
    rng = np.random.default_rng(seed)
    vectors = VECTORS[rng.choice(len(PEOPLE), count, p=probabilities(DRAWN))]
    known = rng.random(vectors.shape) > missing / 2
    for group in SCHEMA.groups:
        known[np.ix_(rng.random(count) < missing / 2, group.bits)] = False
    return np.where(known, vectors, 0).astype(np.uint8), known


def fitting(vector: UInt8Array, known: BoolArray) -> BoolArray:
    """Which of `PEOPLE` differ in nothing that is known."""
    return np.asarray((VECTORS[:, known] == vector[known]).all(axis=1))


def test_what_is_unknown_gets_its_probability_given_what_is_known() -> None:
    vectors, known = drawn_people(60, 0.8, seed=1)
    filled = fill_unknown(DRAWN, vectors, known)
    for vector, row_known, got in zip(vectors, known, filled, strict=True):
        weights = probabilities(DRAWN) * fitting(vector, row_known)
        np.testing.assert_allclose(got, weights @ VECTORS / weights.sum(), atol=1e-6)


def test_expected_counts_of_all_pairs_are_those_of_enumeration() -> None:
    vectors, known = drawn_people(40, 0.9, seed=2)
    weights = np.arange(1.0, 41.0)
    pairs, likelihood = attribute_tree._expected_counts(
        DRAWN, attribute_tree._evidence(SCHEMA, vectors, known), weights
    )
    wanted = [[np.zeros((len(a.states), len(b.states))) for b in SCHEMA.groups] for a in SCHEMA.groups]
    log_likelihood = 0.0
    for vector, row_known, weight in zip(vectors, known, weights, strict=True):
        joint = probabilities(DRAWN) * fitting(vector, row_known)
        log_likelihood += weight * np.log(joint.sum())
        for first, second in itertools.product(range(4), repeat=2):
            np.add.at(wanted[first][second], (PEOPLE[:, first], PEOPLE[:, second]), weight * joint / joint.sum())
    assert likelihood == pytest.approx(log_likelihood)
    for first, second in itertools.product(range(4), repeat=2):
        np.testing.assert_allclose(pairs[first][second], wanted[first][second], atol=1e-9)


def test_the_likelihood_never_falls(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    counted = attribute_tree._expected_counts

    def recorded(*arguments: object) -> tuple[list[list[Float64Array]], float]:
        result = counted(*arguments)  # type: ignore[arg-type]
        seen.append(result[1])
        return result

    monkeypatch.setattr(attribute_tree, "SMOOTHING", 1e-9)  # pseudo-observations pull away from the most likely tree
    monkeypatch.setattr(attribute_tree, "CONVERGED", 1e-9)
    monkeypatch.setattr(attribute_tree, "_expected_counts", recorded)
    fit_statistics(SCHEMA, *drawn_people(400, 0.7, seed=3))
    assert len(seen) > 5
    assert (np.diff(seen) > -1e-6).all()


def test_half_of_the_labels_are_enough_to_recover_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attribute_tree, "CONVERGED", 1e-5)
    fitted = fit_statistics(SCHEMA, *drawn_people(20_000, 0.5, seed=4))
    edges = {frozenset((group, parent)) for group, parent in enumerate(fitted.parents) if parent >= 0}
    assert edges == {frozenset(pair) for pair in ((0, 2), (1, 0), (3, 1))}
    assert np.abs(probabilities(fitted) - probabilities(DRAWN)).sum() < 0.05
    assert fitted.count == 20_000


def test_two_sets_that_share_some_words_are_joined_by_them() -> None:
    """One set knows hats and colours, the other colours and bags; nobody's hat and bag are both known."""
    vectors, known = drawn_people(20_000, 0.0, seed=5)
    known[:10_000, 3:] = False
    known[10_000:, [0, 3, 4, 5]] = False
    fitted = fit_statistics(SCHEMA, np.where(known, vectors, 0).astype(np.uint8), known)
    hat, bag = frozenset((1,)), frozenset((1,))
    both = probabilities(DRAWN)[(PEOPLE[:, 0] == 1) & (PEOPLE[:, 3] == 1)].sum()
    assert fitted.probability({0: hat, 3: bag}) == pytest.approx(both, abs=0.03)


def test_a_mask_that_leaves_nothing_out_changes_nothing() -> None:
    states: Int64Array = np.random.default_rng(6).integers(0, 2, (500, 4))
    vectors = SCHEMA.vectors_from_states(states)
    vectors[0, [1, 2]] = 1  # two colours at once
    plain, masked = fit_statistics(SCHEMA, vectors), fit_statistics(SCHEMA, vectors, np.ones(vectors.shape, dtype=bool))
    assert plain.to_json() == masked.to_json()
    assert all((a == b).all() for a, b in zip(plain.tables, masked.tables, strict=True))
    assert (fill_unknown(plain, vectors, np.ones(vectors.shape, dtype=bool)) == vectors).all()
