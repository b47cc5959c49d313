"""Which images are searched, and for which categories: the test split, or what a run held out of training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sal_runtime.errors import InputError
from sal_train.checkpoint import Run
from sal_train.datasets import SearchDataset, Split
from sal_train.evaluation.held_out import partition


@dataclass(frozen=True)
class Protocol:
    """What is searched, and for whom.

    Attributes:
        image_paths: the gallery, N images.
        attributes: their labels, `[N, A]`.
        categories: of the images, int64 `[N]`, 0..Q-1.
        queries: attribute vectors `[Q, A]`, one per category.
        seen: bool `[Q]`, whether the category occurs in training.
    """

    name: str
    image_paths: tuple[Path, ...]
    attributes: NDArray[np.uint8]
    categories: NDArray[np.int64]
    queries: NDArray[np.uint8]
    seen: NDArray[np.bool_]


def protocol_of_test_split(dataset: SearchDataset) -> Protocol:
    """All test images, one full query per test category."""
    return _protocol(f"{dataset.name} test", dataset.test, np.arange(len(dataset.test.categories)), dataset.seen)


def protocol_of_held_out(run: Run, dataset: SearchDataset) -> Protocol:
    """The training categories that the run held out, as if they were the test split.

    Raises:
        InputError: it held none out.
    """
    split = dataset.train
    data = run.config.data
    rows = partition(split, data.validation_fraction, data.validation_seed).validation
    if not len(rows):
        raise InputError("--held-out: this run held nothing out; train with --set data.validation_fraction=0.1")
    return _protocol(f"{dataset.name} held-out training categories", split, rows, None)


def _protocol(name: str, split: Split, rows: NDArray[np.int64], seen: NDArray[np.bool_] | None) -> Protocol:
    present, categories = np.unique(split.categories[rows], return_inverse=True)
    return Protocol(
        name=name,
        image_paths=tuple(split.image_paths[row] for row in rows),
        attributes=split.attributes[rows],
        categories=categories,
        queries=split.category_vectors[present],
        seen=np.zeros(len(present), dtype=bool) if seen is None else seen,
    )
