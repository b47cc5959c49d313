"""A gallery: the images of people that can be searched, with their embeddings, in one file.

    with Gallery.create(Path("yard.sal"), bundle) as gallery:
        gallery.add([GalleryItem(uri="cam1/0001.jpg", camera="cam1")], embeddings)

A gallery is stamped with the fingerprint of the bundle that made its embeddings, because embeddings of another bundle
mean something else. One process writes and any number read meanwhile; a removed item is gone from the bytes of the
file. A search sees what others have added without reading the rest again.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np

from sal_runtime.arrays import Float32Array, Int64Array, Precision
from sal_runtime.errors import InputError, ReindexedError, SalError
from sal_runtime.gallery.items import GalleryItem, Neighbours, check_embeddings
from sal_runtime.gallery.nearest import Ranked, Ranker
from sal_runtime.gallery.store import rows
from sal_runtime.gallery.store.columns import values_at, vector_column
from sal_runtime.gallery.store.connect import connect_current, connect_writer, up_to_date
from sal_runtime.gallery.store.file import (
    Mode,
    crop_path,
    crops_folder,
    explained,
    generation_path,
    index_path,
    read_counter,
    read_meta,
    resolved,
    snapshot,
    transaction,
)
from sal_runtime.gallery.store.memory import VECTOR_MEMORY, LoadedGallery, read_chunks
from sal_runtime.gallery.store.rows import condition

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle
    from sal_runtime.gallery.items import ItemFilter
    from sal_runtime.gallery.store.lock import WriterLock
    from sal_runtime.gallery.store.recorded import Recorded
    from sal_runtime.ranking.approximate import GalleryVersion
    from sal_runtime.ranking.scoring import Queries

Found = TypeVar("Found")


class Gallery:
    """An open gallery file; a context manager.

    Threads may share it. They take turns at the file, and rank beside each other.

    Attributes:
        path: the file, behind any link.
        title: the file, for messages.
        meta: what the file says about itself, text by key.
        fingerprint: identifies the bundle that made the embeddings.
        bundle_name: name of that bundle.
        precision: precision of the image encoder that made them: fp32, fp16 or int8.
        embedding_dim: d, the length of an embedding.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: WriterLock | None, vector_memory: int) -> None:
        """Use `Gallery.open` or `Gallery.create`."""
        self.path = path
        self._vector_memory = vector_memory
        self.title = str(path)
        self._connection = connection
        self._lock = lock
        self._turn = threading.RLock()
        self._ranker = Ranker(index_path(path))
        self._crops = crops_folder(path)
        try:
            self._read_meta()
        except BaseException:
            self.close()
            raise

    def _read_meta(self) -> None:
        self.meta = read_meta(self._connection, self.path)
        self.fingerprint = self.meta["fingerprint"]
        self.embedding_dim = int(self.meta["embedding_dim"])
        self.bundle_name = self.meta["bundle_name"]
        self.precision = cast(Precision, self.meta.get("precision", "fp32"))
        self._loaded = LoadedGallery(self.embedding_dim, self._vector_memory)

    @staticmethod
    def create(path: Path | str, bundle: Bundle, root: Path | None = None, precision: str = "fp32") -> Gallery:
        """Make an empty gallery for embeddings of `bundle`, open for writing.

        Args:
            path: of the new file; by custom it ends in `.sal`.
            bundle: its fingerprint stamps the gallery.
            root: the folder that the gallery follows and that uris are relative to, if any.
            precision: of the image encoder that will make the embeddings.

        Raises:
            InputError: the file exists, or another process writes it.
            SalError: it cannot be written there.
        """
        from sal_runtime.gallery.store.whole import new_meta

        path = resolved(Path(path))
        return Gallery(path, *connect_writer(path, new_meta(path, bundle, root, precision)), VECTOR_MEMORY)

    @staticmethod
    def open(path: Path | str, mode: Mode = "r", *, vector_memory: int = VECTOR_MEMORY) -> Gallery:
        """Open a gallery file.

        Args:
            path: the file.
            mode: `r`, or `w` to change it.
            vector_memory: bytes that the vectors may take in memory. If they would take more, searches hold codes of a
                quarter of that, and read the few vectors that decide from the file; the answers are the same.

        Raises:
            InputError: there is no such gallery, or (mode `w`) another process writes it.
        """
        path = resolved(Path(path))
        if not path.is_file():
            raise InputError(f"{path}: there is no such gallery file; Gallery.create makes one")
        connection, lock = connect_writer(path) if mode == "w" else (connect_current(path, "r"), None)
        return Gallery(path, connection, lock, vector_memory)

    def close(self) -> None:
        """Close the file; the gallery cannot be used after it."""
        with self._turn:
            self._connection.close()
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    @property
    def is_writable(self) -> bool:
        """Whether it is open for writing, by this process."""
        return self._lock is not None and self._lock.is_held

    def __enter__(self) -> Gallery:
        """The gallery itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    @property
    def root(self) -> Path | None:
        """The folder that the gallery follows and that uris are relative to, if any."""
        root = self.meta.get("root")
        return None if root is None else self.path.resolve().parent / root

    def image_path(self, item: GalleryItem) -> Path:
        """Where the image of an item should be."""
        own = crop_path(self.path, item.uri, self._crops)
        if own is not None:
            return own
        return Path(item.uri) if self.root is None else self.root / item.uri

    def __len__(self) -> int:
        """Number of items."""
        with self._reading() as connection:
            return read_counter(connection, "count")

    def count(self, where: ItemFilter) -> int:
        """Number of items that a filter lets through; reads 8 bytes of each for every field, and keeps them."""
        with self._reading() as connection:
            return self._loaded.count(connection, where)

    def nearest(
        self, queries: Queries, k: int, where: ItemFilter | None = None, *, approximate: bool = False
    ) -> list[Neighbours]:
        """The items whose embeddings answer each query best, exactly, at one moment.

        Vectors stay in memory, and only what has changed in the file is read again. From 8 queries at a time on, 8-bit
        codes of the vectors stay there, too. Where the vectors have no room (`vector_memory` of `open`), only the codes
        do, and the few vectors that decide are read. Searches in several threads rank beside each other.

        Args:
            queries: unit vectors float32 `[Q, d]`, ranked by the cosine; or the scoring of each, at most 256.
            k: at least 1; fewer come where there are fewer items.
            where: applied before ranking, so that k of the fitting items come; None for all.
            approximate: rank what the index beside the file proposes; no vectors in memory, but some may be missed.

        Returns:
            For each query up to k items, best first.

        Raises:
            BackendError: `approximate`, and usearch is not installed.
            InputError: shapes do not fit, or k is below 1; or `approximate`, and there is no index, it is of another
                state of the gallery, or there is a filter.
        """
        if approximate and where:
            raise InputError(f"gallery {self.path}: its approximate index knows no conditions; search without it")
        while True:
            if approximate:
                ranked = self._propose(queries, k)
            else:
                ranked = self._ranker.nearest(self._searching, self._loaded, queries, k, where)
            with self._reading() as connection:
                found = rows.read_items(connection, ranked.ids.ravel())
                items = [item for item in found if item is not None]
                if len(items) == len(found):
                    break
                if read_counter(connection, "change") == ranked.change:  # else one was removed since: rank what is left
                    raise InputError(f"gallery {self.path}: is damaged, a vector has no item; restore it")
        count = ranked.ids.shape[1]
        return [
            Neighbours(tuple(items[row * count : (row + 1) * count]), scores, embeddings)
            for row, (scores, embeddings) in enumerate(zip(ranked.scores, ranked.embeddings, strict=True))
        ]

    def _propose(self, queries: Queries, k: int) -> Ranked:
        with self._searching() as connection:
            change = read_counter(connection, "change")
        ids, scores = self._ranker.propose(queries, k, self.stamp(), self._embeddings)
        return Ranked(change, ids, scores, self._embeddings(ids))

    def rank_on(self, device: str | None) -> None:
        """Keep a copy of the vectors in the memory of a device from now on, and rank there. Experimental.

        Args:
            device: `cuda`; `cpu`, for ONNX Runtime there, which is slower than ranking without it; None to undo it.

        Raises:
            BackendError: the device cannot be had, or has no room for the vectors.
        """
        with self._reading() as connection:
            state = self._loaded.state(connection, None)
        self._ranker.rank_on(device, state, self.embedding_dim)

    def chunks(self, where: ItemFilter | None = None) -> Iterator[tuple[Int64Array, Float32Array]]:
        """All ids int64 `[n]` and embeddings float32 `[n, d]` that a filter lets through, a part at a time.

        They are read from the file as they are asked for, all of one moment, and never in memory together.
        """
        with explained(self.path), closing(connect_current(self.path, "r")) as connection, snapshot(connection):
            self._check_not_reindexed(connection)
            yield from read_chunks(connection, self.embedding_dim, where)

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

    def all_items(self, where: ItemFilter | None = None, before: float | None = None) -> list[GalleryItem]:
        """The items that a filter lets through and that `purge` before a moment would remove, in the order of uris."""
        with self._reading() as connection:
            return list(rows.read_all_items(connection, *condition(where, before)))

    def recorded(self) -> Recorded:
        """Cameras, number of tracks, time span and metadata of the items; reads 8 bytes of each for every field."""
        from sal_runtime.gallery.store.recorded import read_recorded

        with self._reading() as connection:
            return read_recorded(connection)

    def unknown_values(self, where: ItemFilter) -> list[str]:
        """The cameras, tracks and metadata of a filter that no item has, each in a line that names those there are."""
        from sal_runtime.gallery.store.recorded import unknown_values

        with self._reading() as connection:
            return unknown_values(connection, where)

    def held_back(self, content_hashes: Iterable[str | None]) -> set[str]:
        """Those of some content hashes whose images were removed; an update with image files does not add them."""
        from sal_runtime.gallery.store import tombstones

        with self._reading() as connection:
            return tombstones.held_back(connection, content_hashes)

    def num_held_back(self) -> int:
        """Number of contents that are held back."""
        from sal_runtime.gallery.store import tombstones

        with self._reading() as connection:
            return tombstones.count_tombstones(connection)

    def verify(self) -> list[str]:
        """What is wrong with the file, a line each; an empty list if nothing is. Reads everything."""
        from sal_runtime.gallery.store.checks import find_problems

        with self._searching() as connection:
            return find_problems(connection, self.embedding_dim)

    def stamp(self) -> GalleryVersion:
        """A stamp that changes with every write; store it with anything derived from the gallery."""
        from sal_runtime.ranking.approximate import GalleryVersion

        with self._reading() as connection:
            return GalleryVersion(self.fingerprint, str(read_counter(connection, "change")))

    def add(self, items: Sequence[GalleryItem], embeddings: Float32Array) -> None:
        """Add items in one transaction; an item whose uri is known replaces it (last one wins).

        Args:
            items: n of them; their contents are held back no more, if they were removed before.
            embeddings: unit vectors float32 `[n, d]`.

        Raises:
            InputError: the embeddings do not fit the items or the gallery, or are not finite unit vectors.
            SalError: writing failed; nothing of it was added.
        """
        vectors = np.ascontiguousarray(embeddings, dtype=np.float32)
        check_embeddings(vectors, [item.uri for item in items], self.embedding_dim)
        latest = {item.uri: row for row, item in enumerate(items)}
        rows = list(latest.values())
        if rows:
            with self._writing() as connection:
                self._changes.add_items(connection, {items[row].uri: items[row] for row in rows}, vectors[rows])

    def update(self, items: Iterable[GalleryItem]) -> None:
        """Replace what is known of items that are there, but not their embeddings; unknown uris are passed over.

        Raises:
            SalError: writing failed; nothing was replaced.
        """
        with self._writing() as connection:
            self._changes.update_items(connection, items)

    def remove(self, uris: Iterable[str], *, may_return: bool = False) -> int:
        """Remove items for good, and say how many there were; unknown uris are passed over.

        Args:
            uris: of the items.
            may_return: leave no tombstone, so that an update with the same image files adds them again.

        Raises:
            SalError: writing failed (nothing was removed), or a reader keeps the old bytes in use (see `erase`).
        """
        return self._remove("uri = ?", [(uri,) for uri in uris], may_return)

    def remove_where(self, where: ItemFilter) -> int:
        """Remove the items that a filter lets through for good, and say how many there were.

        Raises:
            InputError: the filter has no condition.
            SalError: as for `remove`.
        """
        if not where:
            raise InputError(f"gallery {self.path}: got no condition for what to remove, expected at least one")
        text, values = condition(where)
        return self._remove(text, [values])

    def purge(self, before: float, where: ItemFilter | None = None) -> int:
        """Remove for good what was captured (added, where that is not known) before a moment; say how many there were.

        Args:
            before: seconds since 1970, UTC.
            where: only items that this filter lets through.

        Raises:
            SalError: as for `remove`.
        """
        text, values = condition(where, before)
        return self._remove(text, [values])

    def erase(self) -> None:
        """Give freed space back and empty the write-ahead log, so that nothing removed is left in any file.

        Raises:
            SalError: another process is reading an older state; the removed items are gone for every new search, but
                their bytes are not yet gone from the disk.
        """
        from sal_runtime.gallery.store.scrub import erase_removed

        with self._turn, explained(self.path):
            busy = not erase_removed(self._connection, self.path)
        if busy:
            raise SalError(
                f"gallery {self.path}: removed, but another process still reads the old state, so the bytes remain in "
                "the log beside it until the next removal, or `erase`, after it is done"
            )

    @property
    def _changes(self) -> ModuleType:
        from sal_runtime.gallery.store import changes  # a process that only searches does not load it

        return changes

    def _remove(self, text: str, values: Sequence[Sequence[object]], may_return: bool = False) -> int:
        from sal_runtime.gallery.store.crops import delete_crops

        with self._writing() as connection:
            uris = self._changes.remove_items(connection, text, values, self.embedding_dim, may_return=may_return)
            if generation_path(self.path).exists():
                with Gallery.open(generation_path(self.path), "w") as generation:
                    generation.remove(uris, may_return=True)
            delete_crops(self.path, uris)  # before the items are gone: whoever is killed here has nothing left over
        self.erase()  # also if there were none: the process that removed them may have been killed before it came here
        return len(uris)

    def _embeddings(self, ids: Int64Array) -> Float32Array:
        """The unit vectors float32 `[..., d]` of the items with ids int64 `[...]`."""
        with self._reading() as connection:
            slots = self._present(rows.read_slots(connection, ids.ravel()))
            return values_at(connection, vector_column(self.embedding_dim), np.reshape(slots, ids.shape))

    def _check_not_reindexed(self, connection: sqlite3.Connection) -> None:
        (fingerprint,) = connection.execute("SELECT value FROM meta WHERE key = 'fingerprint'").fetchone()
        if fingerprint != self.fingerprint:
            raise ReindexedError(f"gallery {self.path}: was encoded anew with another bundle meanwhile; open it again")

    def _present(self, found: list[Found | None]) -> list[Found]:
        present = [value for value in found if value is not None]
        if len(present) != len(found):
            raise InputError(f"gallery {self.path}: an item was removed meanwhile; search again")
        return present

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, on one consistent state of the gallery."""
        with self._turn, explained(self.path):
            self._connection = up_to_date(self._connection, self.path)
            with snapshot(self._connection):
                yield self._connection

    @contextmanager
    def _searching(self) -> Iterator[sqlite3.Connection]:
        """As `_reading`, of embeddings that this handle knows the bundle of."""
        with self._reading() as connection:
            self._check_not_reindexed(connection)
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The connection, for all of a change or nothing of it."""
        if self._lock is None:
            raise InputError(f"gallery {self.path}: is open for reading; open it with mode 'w' to change it")
        if not self._lock.is_held:
            raise InputError(f"gallery {self.path}: was opened by the parent process; open it again in this process")
        with self._turn, explained(self.path), transaction(self._connection):
            yield self._connection
