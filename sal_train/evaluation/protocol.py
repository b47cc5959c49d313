"""The images to search and the categories to search for: the test split, or the categories a run held out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sal_runtime.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from sal_runtime.errors import InputError
from sal_train.checkpoint import Run
from sal_train.datasets.splits import Labels, SearchDataset, Split
from sal_train.evaluation.held_out import partition
from sal_train.evaluation.metrics import rank_queries


@dataclass(frozen=True)
class Protocol:
    """Galleries and their queries: one gallery for each data set, which is searched for its own categories.

    Attributes:
        name: of the data, for reports.
        image_paths: the galleries, N images.
        labels: of the images.
        categories: of the images, int64 `[N]`, 0..Q-1.
        queries: descriptions, one for each of the Q categories.
        seen: bool `[Q]`, whether the category occurs in training.
        identities: person of each image, "" if unknown; N, or empty if nobody is known.
        source_names: of the data sets, by their number in the labels; empty if there is one.
    """

    name: str
    image_paths: tuple[Path, ...]
    labels: Labels
    categories: Int64Array
    queries: Labels
    seen: BoolArray
    identities: tuple[str, ...] = ()
    source_names: tuple[str, ...] = ()

    def rank(self, scores: Float32Array, rows: slice = slice(None)) -> tuple[Float64Array, Int64Array]:
        """`rank_queries` of some queries, each among the images of its own data set.

        Args:
            scores: of the queries `rows` for all images, `[rows, N]`.
            rows: of the queries.
        """
        relevance = self.categories[None, :] == np.arange(len(self.seen))[rows, None]
        return rank_queries(self.within_galleries(scores, rows), relevance)

    def within_galleries(self, scores: Float32Array, rows: slice = slice(None)) -> Float32Array:
        """The scores, `[rows, N]`, with all images of other data sets behind those of the query's own."""
        if self.labels.sources is None or self.queries.sources is None:
            return scores
        elsewhere = self.labels.sources[None, :] != self.queries.sources[rows, None]
        return np.where(elsewhere, scores.min() - 1.0, scores)

    def queries_by_source(self) -> dict[str, Int64Array]:
        """Row numbers of the queries of each data set; empty if there is one."""
        sources = self.queries.sources
        return {
            name: np.flatnonzero(sources == number)
            for number, name in enumerate(self.source_names)
            if sources is not None and (sources == number).any()
        }


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
    present, first, categories = np.unique(split.categories[rows], return_index=True, return_inverse=True)
    labels = split.labels.rows(rows)
    return Protocol(
        name=name,
        image_paths=tuple(split.image_paths[row] for row in rows),
        labels=labels,
        categories=categories,
        queries=labels.rows(first),
        seen=np.zeros(len(present), dtype=bool) if seen is None else seen,
        identities=tuple(split.identities[row] for row in rows),
        source_names=split.source_names,
    )
