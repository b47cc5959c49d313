"""Reading a gallery file: what is in it, and what is nearest to a query."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from sal_runtime.arrays import Float32Array, Int64Array
from sal_runtime.errors import InputError
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.store import rows
from sal_runtime.gallery.store.checks import find_problems
from sal_runtime.gallery.store.columns import read_values, vector_column
from sal_runtime.gallery.store.file import connect_file, explained, index_path, read_counter, read_meta, snapshot
from sal_runtime.gallery.store.memory import LoadedGallery, LoadedState, read_chunks
from sal_runtime.ranking.exact import top_k

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle
    from sal_runtime.gallery.items import ItemFilter
    from sal_runtime.ranking.approximate import ApproximateIndex, GalleryVersion
    from sal_runtime.ranking.on_device import DeviceRanking
    from sal_runtime.ranking.screened import ScreenedRanking

Found = TypeVar("Found")

SCREENED_QUERIES = 8
"""In one search: from here on it pays to keep codes of the vectors, which take a quarter of their memory."""


class ReadableGallery:
    """All of a gallery that does not change it; people open a `Gallery`.

    Args:
        path: of the file.
        connection: to it; threads take turns at it.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection) -> None:
        self.path = path
        self._connection = connection
        self._turn = threading.RLock()
        self._device: str | None = None
        self._device_turn = threading.Lock()
        self._approximately = False
        self._index: tuple[GalleryVersion, ApproximateIndex] | None = None
        self._read_stamp()

    def _read_stamp(self) -> None:
        self.meta = read_meta(self._connection, self.path)
        self.fingerprint = self.meta["fingerprint"]
        self.embedding_dim = int(self.meta["embedding_dim"])
        self._loaded = LoadedGallery(self.embedding_dim)
        self._ranking: tuple[tuple[Float32Array, ...], DeviceRanking] | None = None
        self._screened: tuple[tuple[Float32Array, ...], ScreenedRanking] | None = None

    @property
    def title(self) -> str:
        """The file, for messages."""
        return str(self.path)

    @property
    def bundle_name(self) -> str:
        """Of the bundle that made the embeddings, for people."""
        return self.meta["bundle_name"]

    @property
    def root(self) -> Path | None:
        """The folder that the gallery follows and that uris are relative to, if any."""
        root = self.meta.get("root")
        return None if root is None else self.path.resolve().parent / root

    def image_path(self, item: GalleryItem) -> Path:
        """Where the image of an item should be."""
        return Path(item.uri) if self.root is None else self.root / item.uri

    @property
    def precision(self) -> str:
        """Of the image encoder that makes its embeddings: fp32, fp16 or int8."""
        return self.meta.get("precision", "fp32")

    def __len__(self) -> int:
        """Number of items."""
        with self._reading() as connection:
            return read_counter(connection, "count")

    def check_bundle(self, bundle: Bundle) -> None:
        """Refuse a bundle other than the one that made the embeddings.

        Raises:
            InputError: it is another one.
        """
        if bundle.fingerprint != self.fingerprint:
            raise InputError(
                f"gallery {self.path}: was made by bundle {self.bundle_name} ({self.fingerprint[:12]}), got "
                f"bundle {bundle.name} ({bundle.fingerprint[:12]}); use --bundle {self.meta['bundle_path']}, or move "
                "the gallery file away to encode the images again"
            )

    def nearest(
        self, queries: Float32Array, k: int, where: ItemFilter | None = None
    ) -> tuple[Int64Array, Float32Array]:
        """The items whose embeddings are nearest to each query, exactly.

        Vectors stay in memory, and only what has changed in the file is read again. From `SCREENED_QUERIES` queries on
        their codes do, too. Searches in several threads rank beside each other.

        Args:
            queries: unit vectors float32 `[Q, d]`.
            k: at least 1; fewer come where there are fewer items.
            where: applied before ranking, so that k of the fitting items come; None for all.

        Returns:
            Ids int64 and cosines float32, both `[Q, min(k, fitting items)]`, best first.

        Raises:
            InputError: shapes do not fit, or k is below 1.
        """
        if self._approximately:
            return self._propose(queries, k, where)
        state = self._state(where)
        ranking: DeviceRanking | ScreenedRanking | None = None
        if self._device is not None and state.vectors:
            ranking = self._ranking_on_device(state, self._device)
        elif len(queries) >= SCREENED_QUERIES and state.vectors:
            ranking = self._screened_ranking(state)
        if ranking is None:
            rows, scores = top_k(queries, state.vectors, k, state.allowed)
        else:
            rows, scores = ranking.top_k(queries, k, state.allowed)
        return state.ids_at(rows), scores

    def rank_on(self, device: str) -> None:
        """Keep a copy of the vectors in the memory of a device from now on, and rank there.

        What is added later is copied when it is first searched; what has not changed stays where it is.

        Args:
            device: `cuda`; or `cpu`, for ONNX Runtime there, which is slower than ranking without it.

        Raises:
            BackendError: the device cannot be had, or has no room for the vectors.
        """
        from sal_runtime.ranking.on_device import DeviceRanking

        vectors = self._state(None).vectors
        ranking = DeviceRanking(vectors or (np.empty((0, self.embedding_dim), np.float32),), device)
        with self._device_turn:
            self._device, self._ranking = device, (vectors, ranking)

    def vectors(self) -> tuple[Int64Array, Float32Array]:
        """A copy of all embeddings: ids int64 `[N]` and unit vectors float32 `[N, d]`."""
        state = self._state(None)
        no_vectors = np.empty((0, self.embedding_dim), np.float32)
        return np.concatenate([np.empty(0, np.int64), *state.ids]), np.concatenate([no_vectors, *state.vectors])

    def chunks(self, where: ItemFilter | None = None) -> Iterator[tuple[Int64Array, Float32Array]]:
        """All ids int64 `[n]` and embeddings float32 `[n, d]` that a filter lets through, a part at a time.

        They are read from the file as they are asked for, all of one moment, and never in memory together.
        """
        with explained(self.path), closing(connect_file(self.path, "r")) as connection, snapshot(connection):
            self._check_not_reindexed(connection)
            yield from read_chunks(connection, self.embedding_dim, where)

    def embeddings(self, ids: Iterable[int]) -> Float32Array:
        """The unit vectors float32 `[n, d]` of the items with these ids, in their order.

        Raises:
            InputError: there is no such item (any more).
        """
        with self._reading() as connection:
            slots = self._present(rows.read_slots(connection, ids))
            distinct, places = np.unique(np.array(slots, np.int64), return_inverse=True)
            vectors: Float32Array = read_values(connection, vector_column(self.embedding_dim), distinct)[places]
        return vectors

    def items(self, ids: Iterable[int]) -> tuple[GalleryItem, ...]:
        """The items with these ids, in their order.

        Raises:
            InputError: there is no such item (any more).
        """
        with self._reading() as connection:
            return tuple(self._present(rows.read_items(connection, ids)))

    def find(self, uris: Iterable[str]) -> dict[str, GalleryItem]:
        """The items with these uris, by uri; unknown ones are left out."""
        with self._reading() as connection:
            return {item.uri: item for item in rows.find_items(connection, list(uris))}

    def all_items(self) -> list[GalleryItem]:
        """Every item, in the order of the uris."""
        with self._reading() as connection:
            return list(rows.read_all_items(connection))

    def verify(self) -> list[str]:
        """What is wrong with the file, a line each; an empty list if nothing is. Reads everything."""
        with self._reading() as connection:
            self._check_not_reindexed(connection)
            return find_problems(connection, self.embedding_dim)

    def _state(self, where: ItemFilter | None) -> LoadedState:
        """What a search ranks, brought up to what the file holds now."""
        with self._reading() as connection:
            self._check_not_reindexed(connection)
            return self._loaded.state(connection, where)

    def search_approximately(self) -> None:
        """From now on let the index beside the file propose items, and rank these by their stored vectors.

        The vectors are not read into memory. Some of the nearest can be missed, and filters are refused.

        Raises:
            BackendError: usearch is not installed.
            InputError: there is no index, or it is of another state of the gallery.
        """
        self._approximately = True
        self._opened_index()

    def stamp(self) -> GalleryVersion:
        """Another one after each change of the gallery; what is made from it as it is now is stamped with it."""
        from sal_runtime.ranking.approximate import GalleryVersion

        with self._reading() as connection:
            return GalleryVersion(self.fingerprint, str(read_counter(connection, "change")))

    def _propose(self, queries: Float32Array, k: int, where: ItemFilter | None) -> tuple[Int64Array, Float32Array]:
        if where:
            raise InputError(f"gallery {self.path}: its approximate index knows no conditions; search without it")
        return self._opened_index().search(queries, k, self.embeddings)

    def _opened_index(self) -> ApproximateIndex:
        from sal_runtime.ranking.approximate import open_index

        stamp = self.stamp()
        with self._turn:
            if self._index is None or self._index[0] != stamp:
                self._index = (stamp, open_index(index_path(self.path), stamp))
            return self._index[1]

    def _ranking_on_device(self, state: LoadedState, device: str) -> DeviceRanking:
        from sal_runtime.ranking.on_device import DeviceRanking

        with self._device_turn:
            if self._ranking is None or self._ranking[0] is not state.vectors:
                earlier = None if self._ranking is None else self._ranking[1]
                self._ranking = (state.vectors, DeviceRanking(state.vectors, device, earlier))
            return self._ranking[1]

    def _screened_ranking(self, state: LoadedState) -> ScreenedRanking:
        from sal_runtime.ranking.screened import ScreenedRanking

        with self._device_turn:
            if self._screened is None or self._screened[0] is not state.vectors:
                earlier = None if self._screened is None else self._screened[1]
                self._screened = (state.vectors, ScreenedRanking(state.vectors, earlier))
            return self._screened[1]

    def _check_not_reindexed(self, connection: sqlite3.Connection) -> None:
        (fingerprint,) = connection.execute("SELECT value FROM meta WHERE key = 'fingerprint'").fetchone()
        if fingerprint != self.fingerprint:
            raise InputError(f"gallery {self.path}: was encoded anew with another bundle meanwhile; open it again")

    def _present(self, found: list[Found | None]) -> list[Found]:
        present = [one for one in found if one is not None]
        if len(present) != len(found):
            raise InputError(f"gallery {self.path}: an item was removed meanwhile; search again")
        return present

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, on one consistent state of the gallery."""
        with self._turn, explained(self.path), snapshot(self._connection):
            yield self._connection
