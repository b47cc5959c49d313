"""Market-1501, PETA and PA-100K in one vocabulary (`street_schema.py`).

Training has the training images of each data set and at the end, as auxiliary images, the images of PETA that its
protocol drops because their combination of attributes occurs once: they show 5,679 more people. No image of a test
person is among them. The test split has all galleries; each is searched for its own categories.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sal_runtime.arrays import BoolArray, UInt8Array
from sal_runtime.query.schema import AttributeSchema
from sal_train.datasets.market1501 import load_market1501
from sal_train.datasets.pa100k import load_pa100k
from sal_train.datasets.peta import load_peta, load_peta_images, split_categories
from sal_train.datasets.splits import SearchDataset, Split, expect, seen_categories, split_from_rows
from sal_train.datasets.street_schema import (
    ONE_DRAW_GROUPS,
    ORIGINS,
    SCHEMA,
    street_from_market,
    street_from_pa100k,
    street_from_peta,
)

Translate = Callable[[UInt8Array, AttributeSchema], tuple[UInt8Array, BoolArray]]

SOURCES: dict[str, tuple[Callable[[Path], SearchDataset], Translate]] = {
    "market1501": (load_market1501, street_from_market),
    "peta": (load_peta, street_from_peta),
    "pa100k": (load_pa100k, street_from_pa100k),
}
"""How each data set is loaded, and its labels translated."""
NAMES = {
    "street": ("market1501", "peta"),
    "street+pa100k": ("market1501", "peta", "pa100k"),
    "street-pa100k": ("pa100k",),
}
"""The data sets behind each name of `--dataset`; the last is for whoever must do without research-only data."""
REMEDY = "use the published data"


def load_street(root: Path, name: str = "street") -> SearchDataset:
    """Load the data sets behind a name.

    Args:
        root: folder that holds `Market-1501/`, `PETA/` and `PA-100K/`, as far as they are needed.
        name: a key of `NAMES`.

    Raises:
        InputError: a file is missing, or counts differ from the published data.
    """
    loaded = {source: SOURCES[source][0](root) for source in NAMES[name]}
    notes = [f"{source}: {note}" for source, data in loaded.items() for note in data.notes]
    splits = [(source, data.train) for source, data in loaded.items()]
    num_auxiliary = 0
    if "peta" in loaded:
        others = _other_people(root)
        splits.append(("peta", others))
        num_auxiliary = len(others.image_paths)
        notes.append(f"{num_auxiliary:,} images of PETA that its protocol drops are trained on, too")
    train = dataclasses.replace(joined(splits), num_auxiliary=num_auxiliary)
    test = joined([(source, data.test) for source, data in loaded.items()])
    if name == "street":
        categories = int(train.categories[: train.num_own].max()) + 1
        expect("street: training categories of the protocols", categories, 2_398, REMEDY)
        expect("street: test categories", test.num_categories, 684, REMEDY)
    silent = np.flatnonzero(~train.known[: train.num_own].any(axis=0)).tolist()
    if silent:
        words = ", ".join(SCHEMA.bit_names[bit] for bit in silent)
        notes.append(f"{len(silent)} words that these data say nothing of, so that nothing can learn them: {words}")
    return SearchDataset(
        name=name,
        schema=SCHEMA,
        train=train,
        test=test,
        seen=seen_categories(train, test),
        prior=train.labels.rows(slice(train.num_own)).shares(),
        one_draw_groups=ONE_DRAW_GROUPS,
        notes=tuple(notes),
        attribution="; ".join(data.attribution for data in loaded.values()),
        licence=loaded["peta" if "peta" in loaded else "pa100k"].licence,  # PETA's terms are the strictest
    )


def _other_people(root: Path) -> Split:
    """The images of PETA that are in neither split of its protocol, of people who are in neither."""
    images = load_peta_images(root)
    train, test = split_categories(images.vectors)
    tested = {images.persons[row] for row in test}
    rows = np.setdiff1d(np.arange(len(images.vectors)), np.concatenate([train, test]))
    rows = np.array([row for row in rows if images.persons[row] not in tested], dtype=np.int64)
    paths = [path for row in rows if (path := images.paths[row]) is not None]
    expect("PETA: images that the protocol drops", len(paths), 5_679, "all 19,000 images are needed here")
    return split_from_rows(paths, images.vectors[rows], [images.persons[row] for row in rows])


def joined(splits: Sequence[tuple[str, Split]]) -> Split:
    """The images of several splits, each with the labels of its data set, in the words of the street.

    Args:
        splits: each with the name of its data set; a name may come twice.
    """
    names = tuple(dict.fromkeys(source for source, _ in splits))
    parts = [SOURCES[source][1](split.attributes, SCHEMA) for source, split in splits]
    attributes, known = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    sizes = [len(split.image_paths) for _, split in splits]
    return split_from_rows(
        [path for _, split in splits for path in split.image_paths],
        attributes,
        [f"{source}-{person}" if person else "" for source, split in splits for person in split.identities],
        known,
        np.repeat(np.array([names.index(source) for source, _ in splits], dtype=np.int64), sizes),
        names,
    )


def in_words_of(dataset: SearchDataset, schema: AttributeSchema) -> SearchDataset:
    """A data set of the street with labels in the words of a model of the street, and its own categories.

    Args:
        dataset: one of `SOURCES`, or of `NAMES`; any other is returned as it is.
        schema: of the model. It may have other words than `SCHEMA` now has, but none that never was in it.
    """
    names = dataset.schema.bit_names
    if schema.bit_names == names or not set(schema.bit_names) <= ORIGINS.keys():
        return dataset

    def translated(split: Split) -> Split:
        if dataset.name in SOURCES:
            attributes, known = SOURCES[dataset.name][1](split.attributes, schema)
        else:
            kept = [names.index(name) for name in schema.bit_names]
            attributes, known = split.attributes[:, kept], split.known[:, kept]
        return dataclasses.replace(split, attributes=attributes, unknown=~known)

    if dataset.name not in SOURCES and not (dataset.name in NAMES and set(schema.bit_names) <= set(names)):
        return dataset
    return dataclasses.replace(dataset, schema=schema, train=translated(dataset.train), test=translated(dataset.test))
