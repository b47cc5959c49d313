"""The query language, against a brute-force evaluation of every possible person."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sal_runtime.errors import SchemaError
from sal_runtime.query.language import Query, parse_query
from sal_runtime.query.schema import AttributeSchema
from tests.runtime.tiny_bundle import SCHEMA

PEOPLE = tuple(itertools.product(*(range(len(group.states)) for group in SCHEMA.groups)))


def satisfies(person: tuple[int, ...], query: Query) -> bool:
    """By the terms, as a reader of the grammar would."""
    for term in query.terms:
        holds = any(person[group] in states for group, states in term.states)
        if holds == term.negated:
            return False
    return True


def matching_conjunctions(person: tuple[int, ...], query: Query) -> int:
    return sum(
        all(person[group] in states for group, states in conjunction.items()) for conjunction in query.conjunctions
    )


def test_the_query_of_the_design() -> None:
    query = parse_query("male, Backpack ,!hat,upper=red|blue", SCHEMA)
    assert [term.text for term in query.terms] == ["male", "backpack", "!hat", "upper-colour=red|upper-colour=blue"]
    assert query.conjunctions == ({2: frozenset({0}), 1: frozenset({1}), 0: frozenset({0}), 3: frozenset({0, 2})},)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the query is empty"),
        (" , ,", "the query is empty"),
        ("male,female", "male and female contradict each other"),
        ("hat,!hat", "hat and !hat contradict each other"),
        ("rucksak", "did you mean rucksack"),
        ("uper=red", "did you mean upper"),
        ("upper=gren", "upper-colour cannot be 'gren'; did you mean green"),
        ("red", "could be upper-colour=red or lower-colour=red"),
        ("male|female", "names every value of gender"),
        ("upper=", "a word is missing"),
        ("!", "a word is missing"),
        ("upper=!red", "in front of the term"),
        ("upper==red", "in front of the term"),
        ("x" * 5000, "at most 4096"),
        ("red|hat,backpack,female,lower=blue", "could be"),
    ],
)
def test_wrong_queries_say_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(SchemaError) as error:
        parse_query(text, SCHEMA)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_too_many_alternatives_are_refused() -> None:
    colours = itertools.product(("red", "green"), ("red", "blue"))
    with pytest.raises(SchemaError, match="alternatives when multiplied out"):
        parse_query(",".join(f"hat|backpack|upper={upper}|lower={lower}" for upper, lower in colours), SCHEMA)


def words(schema: AttributeSchema) -> list[str]:
    return [f"{group.name}={word}" for group in schema.groups for state in group.states for word in state.words()]


terms = st.builds(
    lambda negated, alternatives: ("!" if negated else "") + "|".join(alternatives),
    st.booleans(),
    st.lists(st.sampled_from(words(SCHEMA)), min_size=1, max_size=3),
)


@settings(max_examples=300)
@given(st.lists(terms, min_size=1, max_size=4).map(",".join))
def test_conjunctions_say_what_the_terms_say(text: str) -> None:
    """Every satisfying person lies in exactly one conjunction, every other in none."""
    try:
        query = parse_query(text, SCHEMA)
    except SchemaError as error:
        reason = str(error)
        assume(not any(known in reason for known in ("contradict", "no person", "names every value", "multiplied out")))
        raise
    for person in PEOPLE:
        assert matching_conjunctions(person, query) == int(satisfies(person, query))


@settings(max_examples=300)
@given(st.text(max_size=60))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        query = parse_query(text, SCHEMA)
    except SchemaError:
        return
    assert any(satisfies(person, query) for person in PEOPLE)


def test_a_contradiction_is_only_claimed_where_no_person_fits() -> None:
    for first, second in itertools.combinations(words(SCHEMA), 2):
        fits = any(_has(person, first) and _has(person, second) for person in PEOPLE)
        assert _parses(f"{first},{second}") == fits


def _parses(text: str) -> bool:
    try:
        parse_query(text, SCHEMA)
    except SchemaError:
        return False
    return True


def _has(person: tuple[int, ...], word: str) -> bool:
    group, _, state = word.partition("=")
    number = SCHEMA.group_index[group]
    return state in SCHEMA.groups[number].states[person[number]].words()


def test_probability_of_a_query_adds_up_over_its_conjunctions() -> None:
    query = parse_query("hat|backpack|female", SCHEMA)
    covered = np.array([matching_conjunctions(person, query) for person in PEOPLE])
    assert set(covered.tolist()) == {0, 1}
    assert covered.mean() == 7 / 8
