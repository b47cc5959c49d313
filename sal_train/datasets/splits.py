"""The common form of data sets: two splits of images, labelled by categories.

A category is the set of images with the same attribute vector (paper, sec. 4). A query is the vector of a test
category; its true matches are the gallery images of that category.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from sal_runtime.arrays import BoolArray, Float64Array, Int64Array, UInt8Array
from sal_runtime.errors import InputError
from sal_runtime.query.schema import AttributeSchema


@dataclass(frozen=True)
class Split:
    """The images of one side of a protocol.

    Attributes:
        image_paths: N files.
        attributes: of the images, uint8 [N, A].
        categories: of the images, int64 [N], 0..K-1 within this split in order of first appearance.
        identities: person of each image, "" if unknown.
        num_auxiliary: images at the end that come from another data set, with labels in the words of this one. They are
            only trained on, never held out or counted in statistics: nobody will search for people like them.
    """

    image_paths: tuple[Path, ...]
    attributes: UInt8Array
    categories: Int64Array
    identities: tuple[str, ...]
    num_auxiliary: int = 0

    @property
    def num_own(self) -> int:
        """Number of images that are not auxiliary; they come first, and so do their categories."""
        return len(self.image_paths) - self.num_auxiliary

    @property
    def num_categories(self) -> int:
        """K, the number of categories."""
        return int(self.categories.max()) + 1 if len(self.categories) else 0

    @property
    def category_vectors(self) -> UInt8Array:
        """The attribute vector of each category, uint8 [K, A]."""
        _, first = np.unique(self.categories, return_index=True)
        return self.attributes[first]


@dataclass(frozen=True)
class SearchDataset:
    """A data set with its search protocol: train on one split, query with the category vectors of the other.

    Attributes:
        name: for reports.
        schema: the attributes.
        train: the training split.
        test: the gallery; its categories are the queries.
        seen: bool [K_test], whether a test category also occurs in training.
        prior: probability of each attribute in training, float64 [A].
        one_draw_groups: multi-valued attributes, which the paper samples by one multinomial draw; it samples all other
            attributes bit by bit.
        notes: findings of the loader that a person should know, one line each.
        attribution: authors of the data.
        licence: terms of the data, one line.
        source: how `load_dataset` finds it again: `dataset`, and `data` for the folder of a published one.
    """

    name: str
    schema: AttributeSchema
    train: Split
    test: Split
    seen: BoolArray
    prior: Float64Array
    one_draw_groups: tuple[str, ...]
    notes: tuple[str, ...]
    attribution: str
    licence: str
    source: Mapping[str, str] = field(default_factory=dict)


def split_from_rows(image_paths: list[Path], attributes: UInt8Array, identities: list[str]) -> Split:
    """A split of N images with attribute vectors uint8 [N, A]; categories are numbered in order of appearance."""
    numbers: dict[bytes, int] = {}
    categories = [numbers.setdefault(row.tobytes(), len(numbers)) for row in attributes]
    return Split(tuple(image_paths), attributes, np.array(categories, dtype=np.int64), tuple(identities))


def seen_categories(train: Split, test: Split) -> BoolArray:
    """Whether the vector of each test category is also that of a training category, bool [K_test]."""
    known = {row.tobytes() for row in train.category_vectors}
    return np.array([row.tobytes() in known for row in test.category_vectors], dtype=np.bool_)


def people_on_both_sides(dataset: SearchDataset) -> list[str]:
    """Identities that training and test share, in order; there should be none."""
    return sorted(set(dataset.train.identities) & set(dataset.test.identities) - {""})


def expect(what: str, got: object, expected: object, remedy: str) -> None:
    """Check one fact of a published protocol.

    Raises:
        InputError: `got` is not `expected`; the message has both and the remedy.
    """
    if got != expected:
        raise InputError(f"{what}: got {got}, expected {expected}; {remedy}")


def states_from_vectors(schema: AttributeSchema, vectors: UInt8Array) -> Int64Array:
    """The state of each group in each vector.

    Args:
        schema: its groups.
        vectors: `[..., num_bits]` of 0 and 1.

    Returns:
        int64 `[..., num_groups]`; -1 where the labels are contradictory, because the bits of a group fit none of its
        states (two colours at once, or no age at all).

    Raises:
        SchemaError: the vectors are not `[..., num_bits]` of 0 and 1.
    """
    vectors = schema.check_vectors(vectors)
    states = np.full((*vectors.shape[:-1], len(schema.groups)), -1, dtype=np.int64)
    for number, group in enumerate(schema.groups):
        ones = vectors[..., list(group.bits)].sum(axis=-1)
        for state_number, state in enumerate(group.states):
            fits = ones == 0 if state.bit is None else (ones == 1) & (vectors[..., state.bit] == 1)
            states[..., number][fits] = state_number
    return states


def describe(schema: AttributeSchema, vector: UInt8Array) -> tuple[str, ...]:
    """The words of one vector uint8 `[A]` for people: the state of every group, but not what is absent."""
    words = []
    for number, group in enumerate(schema.groups):
        if group.kind == "binary":
            state = group.states[int(vector[group.bits[0]])]
            both_named = not group.states[0].name.startswith("no-")
            if state.bit is not None or both_named:
                words.append(state.name)
        else:
            set_states = [state.name for state in group.states if state.bit is not None and vector[state.bit]]
            words.extend(schema.qualified(number, name) for name in set_states)
    return tuple(words)
