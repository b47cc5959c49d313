"""The list of words, and the notes on weak words."""

from __future__ import annotations

import pytest

from sal_runtime.query.language import parse_query
from sal_runtime.query.schema import AttributeSchema, binary, exclusive
from sal_runtime.query.vocabulary import vocabulary_of
from sal_runtime.query.words import asks_for_colour, list_words, weak_words
from sal_train.datasets.market1501 import SCHEMA as MARKET
from sal_train.datasets.peta_schema import SCHEMA as PETA
from sal_train.datasets.street_schema import SCHEMA as STREET
from tests.runtime.tiny_bundle import SCHEMA

METRICS = {
    "recognition": {
        "by_attribute": {
            "hat": {"positives": 480, "true_positive_rate": 0.0, "true_negative_rate": 1.0},
            "backpack": {
                "positives": 100,
                "people": 9,
                "people_without": 30,
                "true_positive_rate": 0.6,
                "true_negative_rate": 0.9,
            },
            "upper-colour=red": {
                "positives": 50,
                "people": 7,
                "true_positive_rate": 0.04,
                "true_negative_rate": 0.9,
                "precision": 0.5,
                "precision_at_forty": 0.3,
            },
        }
    }
}


def test_every_listed_word_can_be_asked() -> None:
    groups = list_words(SCHEMA, METRICS)
    assert [group["group"] for group in groups] == [group.name for group in SCHEMA.groups]
    for number, group in enumerate(groups):
        for index, value in enumerate(group["values"]):
            for word in (value["word"], *value["synonyms"]):
                (term,) = parse_query(f"{group['group']}={word}", SCHEMA).terms
                assert term.states == ((number, frozenset({index})),)


def test_what_is_listed_beside_a_word_means_it_wherever_it_is_typed() -> None:
    """In the words of the street, `jeans` are no synonym of `trousers`, and `adult` is one of two ages."""
    for number, group in enumerate(list_words(STREET)):
        for index, value in enumerate(group["values"]):
            for word in value["synonyms"]:
                assert (number, index) in vocabulary_of(STREET).words[word], (group["group"], word)
    synonyms = {value["word"]: value["synonyms"] for group in list_words(STREET) for value in group["values"]}
    assert synonyms["trousers"] == []
    assert synonyms["pants"] == ["slacks"]
    assert "adult" in synonyms["31-45"]
    assert "adult" in synonyms["46-60"]


def test_recognition_is_told_for_both_answers_of_a_binary_group() -> None:
    hat, backpack, gender, upper, _ = list_words(SCHEMA, METRICS)
    assert [value["recognised"] for value in hat["values"]] == [1.0, 0.0]
    assert [value["recognised"] for value in backpack["values"]] == [0.9, 0.6]
    assert [value["recognised"] for value in gender["values"]] == [None, None]
    assert gender["sensitive"]
    assert "lady" in gender["values"][1]["synonyms"]
    rates = {"recognised": 0.04, "precision": 0.5, "people": 7, "precision_at_forty": 0.3}
    assert upper["values"][0] == {"word": "red", "synonyms": [], **rates}
    assert [value["people"] for value in backpack["values"]] == [30, 9]
    assert "jacket" in upper["synonyms"]


def test_weak_words_are_noted_also_where_they_are_negated() -> None:
    def notes(text: str) -> tuple[str, ...]:
        return weak_words(parse_query(text, SCHEMA), SCHEMA, METRICS)

    hat = "hat is recognised in 0 of 480 test images that show it; do not rely on it"
    red = "upper-colour=red is recognised in 2 of 50 test images that show it; do not rely on it"
    assert notes("hat") == notes("no-hat") == notes("!hat") == (hat,)
    assert notes("hat,upper=red|blue") == (hat, red)
    assert notes("backpack,female,upper=green") == ()
    assert weak_words(parse_query("hat", SCHEMA), SCHEMA, {}) == ()


OWN = AttributeSchema(
    "own",
    (
        exclusive("hat-color", {"bright": 0, "dark": 1}, allow_none=True),
        exclusive("jacke", {"rot": 2, "blau": 3}, allow_none=True, aliases=("jacke-colour",)),
        exclusive("coat", {"red": 4, "light-blue": 5}, allow_none=True),
        binary("black-shoes", 6),
        exclusive("upper", {"weiß": 7, "schwarz": 8}, allow_none=True),
        exclusive("lower-length", {"long": 9, "short": 10}, allow_none=True),
        binary("redcoat", 11),
    ),
)


@pytest.mark.parametrize(
    ("schema", "colours"),
    [
        (MARKET, {"upper-colour", "lower-colour"}),
        (PETA, {"upper-colour", "lower-colour", "hair-colour", "footwear-colour"}),
        (STREET, {"upper-colour", "lower-colour", "hair-colour", "footwear-colour"}),
        (SCHEMA, {"upper-colour", "lower-colour"}),
        (OWN, {"hat-color", "jacke", "coat", "black-shoes", "upper"}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_groups_that_give_a_colour(schema: AttributeSchema, colours: set[str]) -> None:
    found = {
        group.name
        for group in schema.groups
        for state in group.states
        if asks_for_colour(parse_query(f"{group.name}={state.name}", schema), schema)
    }
    assert found == colours


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("male,backpack,!hat", False),
        ("man with a backpack, no hat", False),
        ("green", True),
        ("!green", True),
        ("hat,!upper=red", True),
        ("upper=red|blue", True),
        ("hat|upper=red", True),
        ("upper=none", True),
        ("man in a red jacket", True),
        ("woman with no blue trousers", True),
    ],
)
def test_descriptions_that_name_a_colour(text: str, expected: bool) -> None:
    assert asks_for_colour(parse_query(text, SCHEMA), SCHEMA) is expected
