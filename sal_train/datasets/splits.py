"""The common form of data sets: two splits of images, labelled by categories.

A category is the set of images with the same attribute vector (paper, sec. 4). A query is the vector of a test
category; its true matches are the gallery images of that category.

Several data sets can be joined in one schema. Then labels have gaps, because no set labels everything: an attribute
that is unknown is 0 in the vector and False in `known`. A category is then the images of one data set with the same
vector and the same gaps, and a gallery is the images of one data set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from sal_runtime.arrays import BoolArray, Float64Array, Int64Array, UInt8Array
from sal_runtime.errors import InputError
from sal_runtime.query.schema import AttributeSchema


@dataclass(frozen=True)
class Labels:
    """What is said of N images or descriptions.

    Attributes:
        attributes: uint8 [N, A], 0 where unknown.
        known: which of them are known, bool [N, A]; None if all are.
        sources: numbers of the data sets that they come from, int64 [N]; None if they come from one.
    """

    attributes: UInt8Array
    known: BoolArray | None = None
    sources: Int64Array | None = None

    def rows(self, chosen: BoolArray | Int64Array | slice) -> Labels:
        """The labels of some images."""
        known = None if self.known is None else self.known[chosen]
        return Labels(self.attributes[chosen], known, None if self.sources is None else self.sources[chosen])

    def shares(self) -> Float64Array:
        """Share of the images with each attribute, among those of which it is known, float64 [A]."""
        if self.known is None:
            return np.asarray(self.attributes.mean(axis=0))
        return np.asarray(self.attributes.sum(axis=0, where=self.known) / np.maximum(1, self.known.sum(axis=0)))

    def distinct(self) -> tuple[Labels, Int64Array]:
        """The different labels, in a fixed order, and the position among them of each image's, int64 [N]."""
        columns = [self.attributes]
        columns += [] if self.known is None else [self.known.astype(np.uint8)]
        columns += [] if self.sources is None else [self.sources[:, None].astype(np.uint8)]
        _, first, inverse = np.unique(np.concatenate(columns, axis=1), axis=0, return_index=True, return_inverse=True)
        return self.rows(first), inverse.reshape(-1)


@dataclass(frozen=True)
class Split:
    """The images of one side of a protocol.

    Attributes:
        image_paths: N files.
        attributes: of the images, uint8 [N, A].
        categories: of the images, int64 [N], 0..K-1 within this split in order of first appearance.
        identities: person of each image, "" if unknown.
        num_auxiliary: images at the end that are only trained on, never held out or counted in statistics.
        unknown: labels that the data set does not give, bool [N, A]; None if it gives all.
        sources: number of the data set that each image comes from, int64 [N]; None if all come from the same.
        source_names: of the data sets, in the order of their numbers; empty if there is only one.
    """

    image_paths: tuple[Path, ...]
    attributes: UInt8Array
    categories: Int64Array
    identities: tuple[str, ...]
    num_auxiliary: int = 0
    unknown: BoolArray | None = None
    sources: Int64Array | None = None
    source_names: tuple[str, ...] = ()

    @property
    def known(self) -> BoolArray:
        """Which labels the data set gives, bool [N, A]."""
        return np.ones(self.attributes.shape, dtype=np.bool_) if self.unknown is None else ~self.unknown

    @property
    def labels(self) -> Labels:
        """What is said of the images."""
        return Labels(self.attributes, None if self.unknown is None else self.known, self.sources)

    def rows_by_source(self) -> list[Int64Array]:
        """Row numbers of the images of each data set, in the order of `source_names`."""
        if self.sources is None:
            return [np.arange(len(self.image_paths))]
        return [np.flatnonzero(self.sources == number) for number in range(len(self.source_names))]

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
        return self.attributes[self._first_rows()]

    @property
    def category_known(self) -> BoolArray:
        """Which labels of each category are known, bool [K, A]."""
        return self.known[self._first_rows()]

    def _first_rows(self) -> Int64Array:
        return np.unique(self.categories, return_index=True)[1]


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


def split_from_rows(
    image_paths: list[Path],
    attributes: UInt8Array,
    identities: list[str],
    known: BoolArray | None = None,
    sources: Int64Array | None = None,
    source_names: tuple[str, ...] = (),
) -> Split:
    """A split of N images with attribute vectors uint8 [N, A]; categories are numbered in order of appearance.

    Args:
        image_paths: N files.
        attributes: of the images, uint8 [N, A], 0 where unknown.
        identities: person of each image.
        known: which labels are known, bool [N, A]; None: all.
        sources: as in `Split`.
        source_names: as in `Split`.
    """
    numbers: dict[tuple[bytes, bytes, int], int] = {}
    keys = _category_keys(attributes, known, sources)
    categories = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    unknown = None if known is None else ~known
    split = Split(tuple(image_paths), attributes, categories, tuple(identities), unknown=unknown)
    return replace(split, sources=sources, source_names=source_names)


def _category_keys(
    attributes: UInt8Array, known: BoolArray | None, sources: Int64Array | None
) -> list[tuple[bytes, bytes, int]]:
    gaps = [b""] * len(attributes) if known is None else [row.tobytes() for row in known]
    origins = [0] * len(attributes) if sources is None else sources.tolist()
    return [(row.tobytes(), *rest) for row, *rest in zip(attributes, gaps, origins, strict=True)]


def seen_categories(train: Split, test: Split) -> BoolArray:
    """Whether each test category is also a training category, bool [K_test]."""

    def keys(split: Split) -> list[tuple[bytes, bytes, int]]:
        first = np.unique(split.categories, return_index=True)[1]
        known = None if split.unknown is None else split.known[first]
        return _category_keys(split.attributes[first], known, None if split.sources is None else split.sources[first])

    trained_on = set(keys(train))
    return np.array([key in trained_on for key in keys(test)], dtype=np.bool_)


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


def possible_states(schema: AttributeSchema, vectors: UInt8Array, known: BoolArray | None = None) -> list[BoolArray]:
    """Which states of each group the labels allow.

    Args:
        schema: its groups.
        vectors: `[..., num_bits]` of 0 and 1.
        known: which labels are known, bool of the same shape; None: all.

    Returns:
        For each group bool `[..., S]`: one state where the labels settle it, several where they leave it open, none
        where they are contradictory (two colours at once, or no age at all).

    Raises:
        SchemaError: the vectors are not `[..., num_bits]` of 0 and 1.
    """
    vectors = schema.check_vectors(vectors)
    known = np.ones(vectors.shape, dtype=np.bool_) if known is None else known
    possible = []
    for group in schema.groups:
        bits = list(group.bits)
        present = (vectors[..., bits] == 1) & known[..., bits]
        absent = (vectors[..., bits] == 0) & known[..., bits]
        allowed = np.empty((*vectors.shape[:-1], len(group.states)), dtype=np.bool_)
        for number, state in enumerate(group.states):
            own = np.array([bit == state.bit for bit in bits])
            allowed[..., number] = ~present[..., ~own].any(axis=-1) & ~absent[..., own].any(axis=-1)
        possible.append(allowed)
    return possible


def states_from_vectors(schema: AttributeSchema, vectors: UInt8Array, known: BoolArray | None = None) -> Int64Array:
    """The state of each group in each vector; arguments and errors as for `possible_states`.

    Returns:
        int64 `[..., num_groups]`; -1 where the labels leave several states open, or are contradictory.
    """
    columns = [
        np.where(allowed.sum(axis=-1) == 1, allowed.argmax(axis=-1), -1)
        for allowed in possible_states(schema, vectors, known)
    ]
    return np.stack(columns, axis=-1).astype(np.int64)


def describe(schema: AttributeSchema, vector: UInt8Array, known: BoolArray | None = None) -> tuple[str, ...]:
    """The words of one vector uint8 `[A]` for people: the known state of every group, but not what is absent.

    `known`, bool `[A]`, says what is known; None: everything.
    """
    words = []
    for number, group in enumerate(schema.groups):
        if group.kind == "binary":
            state = group.states[int(vector[group.bits[0]])]
            both_named = not group.states[0].name.startswith("no-")
            if (state.bit is not None or both_named) and (known is None or known[group.bits[0]]):
                words.append(state.name)
        else:
            set_states = [state.name for state in group.states if state.bit is not None and vector[state.bit]]
            words.extend(schema.qualified(number, name) for name in set_states)
    return tuple(words)
