"""The rules that partial queries are compared under, beside the one of the runtime."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sal_runtime.query.schema import AttributeSchema, binary, exclusive
from sal_train.datasets.splits import Labels
from sal_train.evaluation.partial_queries import make_partial_queries, zeros_vector

SCHEMA = AttributeSchema(
    "small",
    (
        binary("gender", 0, absent="male", present="female"),
        binary("hat", 1),
        exclusive("colour", {"red": 2, "blue": 3}, allow_none=True),
    ),
)


def test_the_zeros_rule_sets_only_what_is_given() -> None:
    asked: list[NDArray[np.uint8]] = []

    def encode(vectors: NDArray[np.uint8]) -> NDArray[np.float32]:
        asked.append(vectors.copy())
        return np.ones((len(vectors), 2), np.float32)

    labels = np.array([[1, 1, 0, 1], [0, 0, 0, 0]], np.uint8)  # a woman with a hat in blue; a man in no colour
    for query in make_partial_queries(SCHEMA, Labels(labels), None, seed=0):
        zeros_vector(query, SCHEMA, encode)
    np.testing.assert_array_equal(np.concatenate(asked), labels)
    for query in make_partial_queries(SCHEMA, Labels(labels), 1, seed=0):
        zeros_vector(query, SCHEMA, encode)
        assert asked[-1].sum() <= 1
