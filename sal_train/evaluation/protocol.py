"""The images to search and the categories to search for: the test split, or the categories a run held out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sal_runtime.arrays import BoolArray, Int64Array, UInt8Array
from sal_runtime.errors import InputError
from sal_train.checkpoint import Run
from sal_train.datasets.splits import SearchDataset, Split
from sal_train.evaluation.held_out import partition


@dataclass(frozen=True)
class Protocol:
    """A gallery and its queries.

    Attributes:
        name: of the data, for reports.
        image_paths: the gallery, N images.
        attributes: labels of the images, uint8 `[N, A]`.
        categories: of the images, int64 `[N]`, 0..Q-1.
        queries: attribute vectors uint8 `[Q, A]`, one per category.
        seen: bool `[Q]`, whether the category occurs in training.
        identities: person of each image, "" if unknown; N, or empty if nobody is known.
    """

    name: str
    image_paths: tuple[Path, ...]
    attributes: UInt8Array
    categories: Int64Array
    queries: UInt8Array
    seen: BoolArray
    identities: tuple[str, ...] = ()


def protocol_of_test_split(dataset: SearchDataset) -> Protocol:
    """All test images, with one full query per test category."""
    return _protocol(f"{dataset.name} test", dataset.test, np.arange(len(dataset.test.categories)), dataset.seen)


def protocol_of_held_out(run: Run, dataset: SearchDataset) -> Protocol:
    """The training categories that the run held out, in the role of the test split.

    Raises:
        InputError: the run held none out.
    """
    split = dataset.train
    data = run.config.data
    rows = partition(split, data.validation_fraction, data.validation_seed).validation
    if not len(rows):
        raise InputError(
            "this run held no categories out; train with a data.validation_fraction above 0, such as 0.1",
            parameter="held_out",
        )
    return _protocol(f"{dataset.name} held-out training categories", split, rows, None)


def _protocol(name: str, split: Split, rows: Int64Array, seen: BoolArray | None) -> Protocol:
    present, categories = np.unique(split.categories[rows], return_inverse=True)
    return Protocol(
        name=name,
        image_paths=tuple(split.image_paths[row] for row in rows),
        attributes=split.attributes[rows],
        categories=categories,
        queries=split.category_vectors[present],
        seen=np.zeros(len(present), dtype=bool) if seen is None else seen,
        identities=tuple(split.identities[row] for row in rows),
    )
