"""How the vectors of a gallery file are ranked, and what is kept for the next ranking while they stay the same."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sal_runtime.arrays import Float32Array, Int64Array
from sal_runtime.gallery.store.columns import IDS, read_values, values_at, vector_column
from sal_runtime.gallery.store.file import read_counter
from sal_runtime.ranking.core import check_allowed
from sal_runtime.ranking.scoring import Queries, best_proposed, num_proposed, top_k_by_score

if TYPE_CHECKING:
    from sal_runtime.gallery.items import ItemFilter
    from sal_runtime.gallery.store.memory import CodedState, LoadedGallery, LoadedState
    from sal_runtime.ranking.approximate import ApproximateIndex, GalleryVersion
    from sal_runtime.ranking.bounded import Asked, Promising
    from sal_runtime.ranking.on_device import DeviceRanking
    from sal_runtime.ranking.screened import ScreenedRanking

SCREENED_QUERIES = 8
"""With this many queries in one search it pays to keep codes of the vectors, which take a quarter of their memory."""
UNDISTURBED = 2
"""How often a search by codes is tried without keeping the state of the file, before it keeps it."""

Reading = Callable[[], AbstractContextManager[sqlite3.Connection]]
"""Gives a connection on one consistent state of the gallery."""


@dataclass(frozen=True)
class Ranked:
    """The answers to Q queries, at one moment.

    Attributes:
        change: change number of the gallery then.
        ids: int64 `[Q, k]`, best first.
        scores: float32 `[Q, k]`.
        embeddings: float32 `[Q, k, d]`.
    """

    change: int
    ids: Int64Array
    scores: Float32Array
    embeddings: Float32Array


class Ranker:
    """Ranks the vectors of one gallery. Threads may share it: they take turns to prepare, and rank beside each other.

    Args:
        index: the approximate index beside the gallery, if there is one.
    """

    def __init__(self, index: Path) -> None:
        self._index_path = index
        self._turn = threading.Lock()
        self._device: str | None = None
        self._on_device: tuple[tuple[Float32Array, ...], DeviceRanking] | None = None
        self._screened: tuple[tuple[Float32Array, ...], ScreenedRanking] | None = None
        self._index: tuple[GalleryVersion, ApproximateIndex] | None = None

    def nearest(
        self, reading: Reading, loaded: LoadedGallery, queries: Queries, k: int, where: ItemFilter | None
    ) -> Ranked:
        """Rank by the vectors in memory; where they have no room there, by their codes, and read the few that decide.

        Args:
            reading: of the gallery.
            loaded: what is in memory of it.
            queries: unit vectors float32 `[Q, d]`, or the scoring of each.
            k: at least 1.
            where: which items compete; None for all.

        Raises:
            InputError: shapes do not fit, or k is below 1.
        """
        with reading() as connection:
            change, by_codes = read_counter(connection, "change"), False
            if self._device is None and not loaded.has_room(connection):
                by_codes, self._screened = True, None
            else:
                state = loaded.state(connection, where)
        if by_codes:
            return _nearest_by_codes(reading, loaded, queries, k, where)
        slots, scores = self.top_k(queries, k, state)
        embeddings = state.vectors_at(slots).reshape(*slots.shape, loaded.embedding_dim)
        return Ranked(change, state.ids_at(slots), scores, embeddings)

    def top_k(self, queries: Queries, k: int, state: LoadedState) -> tuple[Int64Array, Float32Array]:
        """The best slots int64 and their scores float32, both `[Q, min(k, allowed slots)]`, best first.

        Args:
            queries: unit vectors float32 `[Q, d]`, or the scoring of each.
            k: at least 1.
            state: the vectors, and which of them are allowed.

        Raises:
            InputError: shapes do not fit, or k is below 1.
        """
        if state.vectors and self._device is not None:
            ranking = self._ranking_on_device(state, self._device)
            return _best(queries, k, lambda vectors, k: ranking.top_k(vectors, k, state.allowed), state.vectors_at)
        if not isinstance(queries, np.ndarray):
            return top_k_by_score(queries, state.vectors, k, state.allowed)
        if state.vectors and len(queries) >= SCREENED_QUERIES:
            return self._screened_ranking(state).top_k(queries, k, state.allowed)
        from sal_runtime.ranking.exact import top_k

        return top_k(queries, state.vectors, k, state.allowed)

    def propose(
        self,
        queries: Queries,
        k: int,
        stamp: GalleryVersion,
        stored: Callable[[Int64Array], Float32Array],
    ) -> tuple[Int64Array, Float32Array]:
        """Ids int64 and scores float32 `[Q, k]` of items that the index proposes, ranked by their stored vectors.

        Args:
            queries: unit vectors float32 `[Q, d]`, or the scoring of each.
            k: at least 1.
            stamp: state of the gallery; the index must be of the same.
            stored: the vectors float32 `[n, d]` of ids int64 `[n]`.

        Raises:
            BackendError: usearch is not installed.
            InputError: there is no index, or it is of another state.
        """
        from sal_runtime.ranking.approximate import open_index

        with self._turn:
            if self._index is None or self._index[0] != stamp:
                self._index = (stamp, open_index(self._index_path, stamp))
            index = self._index[1]
        return _best(queries, k, lambda vectors, k: index.search(vectors, k, stored), stored)

    def rank_on(self, device: str | None, state: LoadedState, embedding_dim: int) -> None:
        """Copy the vectors of a state to a device and rank there from now on; None ranks without a device again.

        Raises:
            BackendError: the device cannot be had, or has no room for the vectors.
        """
        from sal_runtime.ranking.on_device import DeviceRanking

        kept = None
        if device is not None:
            vectors = state.vectors or (np.empty((0, embedding_dim), np.float32),)
            kept = (state.vectors, DeviceRanking(vectors, device))
        with self._turn:
            self._device, self._on_device = device, kept

    def _ranking_on_device(self, state: LoadedState, device: str) -> DeviceRanking:
        from sal_runtime.ranking.on_device import DeviceRanking

        with self._turn:
            if self._on_device is None or self._on_device[0] is not state.vectors:
                earlier = None if self._on_device is None else self._on_device[1]
                self._on_device = (state.vectors, DeviceRanking(state.vectors, device, earlier))
            return self._on_device[1]

    def _screened_ranking(self, state: LoadedState) -> ScreenedRanking:
        from sal_runtime.ranking.screened import ScreenedRanking

        with self._turn:
            if self._screened is None or self._screened[0] is not state.vectors:
                earlier = None if self._screened is None else self._screened[1]
                self._screened = (state.vectors, ScreenedRanking(state.vectors, earlier))
            return self._screened[1]


def _nearest_by_codes(
    reading: Reading, loaded: LoadedGallery, queries: Queries, k: int, where: ItemFilter | None
) -> Ranked:
    """No transaction is open while codes are multiplied, so that whoever removes items can empty the log.

    If the gallery has changed meanwhile, all is done again; the last time in one transaction.
    """
    for attempt in count():
        with reading() as connection:
            state = loaded.coded_state(connection, where)
            if attempt >= UNDISTURBED:
                return _settle(connection, loaded, state, _promising(queries, k, state, loaded.embedding_dim))
        found = _promising(queries, k, state, loaded.embedding_dim)
        with reading() as connection:
            if read_counter(connection, "change") == state.change:
                return _settle(connection, loaded, state, found)
    raise AssertionError


def _promising(
    queries: Queries, k: int, state: CodedState, embedding_dim: int
) -> tuple[int, list[tuple[Asked, Promising]]]:
    """How many can be found of the k wanted, and what can be among them."""
    from sal_runtime.ranking.bounded import ask, find_promising

    k = min(k, check_allowed(len(state), k, state.allowed))
    found = [(asked, find_promising(asked, state.parts, k, state.allowed)) for asked in ask(queries, embedding_dim)]
    return k, found


def _settle(
    connection: sqlite3.Connection,
    loaded: LoadedGallery,
    state: CodedState,
    found: tuple[int, list[tuple[Asked, Promising]]],
) -> Ranked:
    """Read what decides, and the ids and vectors of the best."""
    from sal_runtime.ranking.bounded import settle

    k, blocks = found
    column = vector_column(loaded.embedding_dim)
    settled = [
        settle(asked, promising, k, lambda rows: read_values(connection, column, rows)) for asked, promising in blocks
    ]
    nothing = np.empty((0, k), np.int64), np.empty((0, k), np.float32)
    slots, scores = (np.concatenate(arrays) for arrays in zip(nothing, *settled, strict=True))
    return Ranked(state.change, values_at(connection, IDS, slots), scores, values_at(connection, column, slots))


def _best(
    queries: Queries,
    k: int,
    nearest: Callable[[Float32Array, int], tuple[Int64Array, Float32Array]],
    stored: Callable[[Int64Array], Float32Array],
) -> tuple[Int64Array, Float32Array]:
    """The nearest k to query vectors; for scorings, the best k of the nearest `num_proposed(k)`."""
    if isinstance(queries, np.ndarray):
        return nearest(queries, k)
    proposed, _ = nearest(np.array([scoring.nearest for scoring in queries]), num_proposed(k))
    best = [best_proposed(scoring, stored(ids), k) for scoring, ids in zip(queries, proposed, strict=True)]
    places, scores = (np.stack(arrays) for arrays in zip(*best, strict=True))
    return np.take_along_axis(proposed, places, axis=1), scores
