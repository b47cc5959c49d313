"""Schemas: states and vectors, validation, the JSON form."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sal_runtime.errors import SchemaError
from sal_runtime.query.schema import AttributeSchema, Group, State, binary, exclusive, normalise_word
from sal_train.datasets.splits import describe, states_from_vectors
from tests.runtime.tiny_bundle import SCHEMA

PEOPLE = st.tuples(*(st.integers(0, len(group.states) - 1) for group in SCHEMA.groups))


@given(st.lists(PEOPLE, min_size=1, max_size=20))
def test_states_and_vectors_are_inverse(rows: list[tuple[int, ...]]) -> None:
    states = np.array(rows, dtype=np.int64)
    vectors = SCHEMA.vectors_from_states(states)
    assert vectors.shape == (len(rows), SCHEMA.num_bits)
    assert (states_from_vectors(SCHEMA, vectors) == states).all()


def test_contradictory_bits_have_no_state() -> None:
    vector = np.zeros(SCHEMA.num_bits, dtype=np.uint8)
    vector[[3, 4]] = 1  # red and green at once
    assert states_from_vectors(SCHEMA, vector).tolist() == [0, 0, 0, -1, 2]


def test_json_form_reads_back_equal() -> None:
    assert AttributeSchema.from_json(json.loads(json.dumps(SCHEMA.to_json()))) == SCHEMA


def test_bit_names_are_unique_and_in_order() -> None:
    upper = ("upper-colour=red", "upper-colour=green", "upper-colour=blue")
    assert SCHEMA.bit_names == ("hat", "backpack", "female", *upper, "lower-colour=red", "lower-colour=blue")


def test_description_of_a_vector() -> None:
    vector = np.array([0, 1, 0, 1, 0, 0, 0, 1], dtype=np.uint8)
    assert describe(SCHEMA, vector) == ("backpack", "male", "upper-colour=red", "lower-colour=blue")


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ((binary("hat", 0), binary("cap", 0)), r"own the bits \[0, 0\]"),
        ((binary("hat", 1),), r"own the bits \[1\]"),
        ((binary("hat", 0), binary("hat", 1)), "two groups are called 'hat'"),
        ((binary("Hat", 0),), "cannot name a group"),
        ((exclusive("colour", {"red": 0, "a,b": 1}, allow_none=True),), "cannot name a state"),
        ((exclusive("colour", {"red": 0}, allow_none=True),), "two bits or more"),
        ((binary("hat", 0, absent="hat"),), "used for two states"),
        ((Group("hat", "binary", (State("hat", 0), State("none", None))),), "an absent state"),
    ],
)
def test_inconsistent_schemas_are_refused(groups: tuple[Group, ...], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        AttributeSchema("wrong", groups)


@pytest.mark.parametrize("vectors", [np.zeros((2, 3)), np.full((1, 8), 2), np.zeros(())])
def test_vectors_of_another_form_are_refused(vectors: np.ndarray) -> None:
    with pytest.raises(SchemaError):
        SCHEMA.check_vectors(vectors)


def test_words_are_normalised() -> None:
    assert normalise_word("  Upper_Colour  x ") == "upper-colour-x"


def test_reading_something_else_is_a_schema_error() -> None:
    with pytest.raises(SchemaError, match="not an attribute schema"):
        AttributeSchema.from_json({"name": "x"})
