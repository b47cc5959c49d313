"""A gallery: the images of people that can be searched, with their embeddings, in one file.

    with Gallery.create(Path("yard.sal"), bundle) as gallery:
        gallery.add([GalleryItem(uri="cam1/0001.jpg", camera="cam1")], embeddings)

A gallery is stamped with the fingerprint of the bundle that made its embeddings, because those of another bundle mean
something else. One process writes, any number read meanwhile; what is removed is gone from the bytes of the file.
"""

from __future__ import annotations

import sqlite3
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sal_runtime import gallery_items, vector_blocks
from sal_runtime.errors import InputError, SalError
from sal_runtime.gallery_check import check_embeddings, find_problems
from sal_runtime.gallery_file import Mode, connect_file, create_file, explained, read_meta, snapshot, transaction
from sal_runtime.gallery_items import GalleryItem
from sal_runtime.writer_lock import WriterLock

if TYPE_CHECKING:
    from sal_runtime.bundle import Bundle

IdArray = NDArray[np.int64]
Float32Array = NDArray[np.float32]


class Gallery:
    """An open gallery file; a context manager. Threads may share it: they take turns."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: WriterLock | None) -> None:
        """Use `Gallery.open` or `Gallery.create`."""
        self.path = path
        self._connection = connection
        self._lock = lock
        self._turn = threading.RLock()
        self._loaded: tuple[tuple[int, int], IdArray, Float32Array] | None = None
        self.meta = read_meta(connection, path)
        self.fingerprint = self.meta["fingerprint"]
        self.embedding_dim = int(self.meta["embedding_dim"])

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

    @staticmethod
    def create(path: Path | str, bundle: Bundle, root: Path | None = None, precision: str = "fp32") -> Gallery:
        """Make an empty gallery for embeddings of `bundle`, open for writing.

        Args:
            path: by custom ends in `.sal`.
            bundle: its fingerprint stamps the gallery.
            root: folder that the gallery follows and that uris are relative to, if any.
            precision: of the image encoder that will make the embeddings.

        Raises:
            InputError: the file exists, or another process writes it.
            SalError: it cannot be written there.
        """
        path = Path(path)
        meta = {
            "fingerprint": bundle.fingerprint,
            "embedding_dim": str(bundle.embedding_dim),
            "bundle_name": bundle.name,
            "bundle_path": str(Path(bundle.path).resolve()),
            "precision": precision,
            "created_at": str(time.time()),
            "count": "0",
        }
        if root is not None:
            # A sibling by its name only, so that folder and gallery can move together.
            is_sibling = root.resolve().parent == path.resolve().parent
            meta["root"] = root.resolve().name if is_sibling else str(root.resolve())
        lock = WriterLock(path)
        try:
            create_file(path, meta)
            return Gallery(path, connect_file(path, "w"), lock)
        except BaseException:
            lock.release()
            raise

    @staticmethod
    def open(path: Path | str, mode: Mode = "r") -> Gallery:
        """Open a gallery file.

        Raises:
            InputError: there is no such gallery, or (mode `w`) another process writes it.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: there is no such gallery file; `sal gallery add` makes one")
        lock = WriterLock(path) if mode == "w" else None
        try:
            return Gallery(path, connect_file(path, mode), lock)
        except BaseException:
            if lock is not None:
                lock.release()
            raise

    def close(self) -> None:
        """Close the file; the gallery cannot be used after it."""
        with self._turn:
            self._connection.close()
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    def __enter__(self) -> Gallery:
        """The gallery itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def __len__(self) -> int:
        """Number of items."""
        with self._reading() as connection:
            return gallery_items.count_items(connection)

    def check_bundle(self, bundle: Bundle) -> None:
        """Refuse a bundle other than the one that made the embeddings.

        Raises:
            InputError: it is another one.
        """
        if bundle.fingerprint != self.fingerprint:
            raise InputError(
                f"gallery {self.path}: was made by bundle {self.meta['bundle_name']} ({self.fingerprint[:12]}), got "
                f"bundle {bundle.name} ({bundle.fingerprint[:12]}); use --bundle {self.meta['bundle_path']}, or move "
                "the gallery file away to encode the images again"
            )

    def add(self, items: Sequence[GalleryItem], embeddings: Float32Array) -> None:
        """Add items in one transaction; an item whose uri is known replaces it (last one wins).

        Args:
            items: n of them.
            embeddings: unit vectors float32 `[n, d]`.

        Raises:
            InputError: the embeddings do not fit the items or the gallery, or are not finite unit vectors.
            SalError: writing failed; nothing of it was added.
        """
        vectors = np.ascontiguousarray(embeddings, dtype=np.float32)
        check_embeddings(vectors, [item.uri for item in items], self.embedding_dim)
        latest = {item.uri: row for row, item in enumerate(items)}
        new_ids: list[int] = []
        new_rows: list[int] = []
        with self._writing() as connection:
            count = gallery_items.count_items(connection)
            for row in latest.values():
                checksum = zlib.crc32(vectors[row].tobytes())
                item_id, slot = gallery_items.write_item(connection, items[row], checksum, count + len(new_ids))
                if slot < count:
                    vector_blocks.write_vectors(connection, slot, np.array([item_id]), vectors[row : row + 1])
                else:
                    new_ids.append(item_id)
                    new_rows.append(row)
            vector_blocks.write_vectors(connection, count, np.array(new_ids, np.int64), vectors[new_rows])
            gallery_items.set_count(connection, count + len(new_ids))

    def update(self, items: Iterable[GalleryItem]) -> None:
        """Replace what is known of items that are there, but not their embeddings; unknown uris are passed over.

        Raises:
            SalError: writing failed; nothing was replaced.
        """
        with self._writing() as connection:
            gallery_items.update_items(connection, items)

    def remove(self, uris: Iterable[str]) -> int:
        """Remove items for good; unknown uris are passed over.

        Returns:
            How many there were.

        Raises:
            SalError: writing failed (nothing was removed), or a reader keeps the old bytes in use (see `erase`).
        """
        return self._remove("SELECT id FROM item WHERE uri = ?", [(uri,) for uri in dict.fromkeys(uris)])

    def purge(self, before: float, camera: str | None = None) -> int:
        """Remove for good what was captured (added, where that is not known) before a moment.

        Args:
            before: seconds since 1970, UTC.
            camera: only items of this one.

        Returns:
            How many there were.

        Raises:
            SalError: as for `remove`.
        """
        query = "SELECT id FROM item WHERE coalesce(captured_at, added_at) < ? AND (? IS NULL OR camera = ?)"
        return self._remove(query, [(before, camera, camera)])

    def erase(self) -> None:
        """Give freed space back and empty the write-ahead log, so that nothing removed is left in any file.

        Raises:
            SalError: another process is reading an older state; the removed items are gone for every new search, but
                their bytes are not yet gone from the disk.
        """
        with self._turn, explained(self.path):
            # As a script: this statement steps once per freed page, and execute() would free one only.
            self._connection.executescript("PRAGMA incremental_vacuum")
            (busy, _, _) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise SalError(
                f"gallery {self.path}: removed, but another process still reads the old state, so the bytes remain in "
                f"the log beside it; when it is done, run `sal gallery verify {self.path}`"
            )

    def vectors(self) -> tuple[IdArray, Float32Array]:
        """All embeddings; kept in memory and read again only when the gallery has changed.

        Returns:
            Ids int64 `[N]` and unit vectors float32 `[N, d]`, contiguous and read-only.
        """
        with self._reading() as connection:
            count = gallery_items.count_items(connection)
            (version,) = connection.execute("PRAGMA data_version").fetchone()
            state = (version, connection.total_changes)
            if self._loaded is None or self._loaded[0] != state:
                self._loaded = None  # the old array goes before the new one comes
                ids, vectors = vector_blocks.read_vectors(connection, count, self.embedding_dim)
                ids.flags.writeable = vectors.flags.writeable = False
                self._loaded = (state, ids, vectors)
            return self._loaded[1:]

    def items(self, ids: Iterable[int]) -> tuple[GalleryItem, ...]:
        """The items with these ids, in their order.

        Raises:
            InputError: there is no such item (any more).
        """
        with self._reading() as connection:
            found = gallery_items.read_items(connection, ids)
        present = tuple(item for item in found if item is not None)
        if len(present) != len(found):
            raise InputError(f"gallery {self.path}: an item was removed meanwhile; search again")
        return present

    def all_items(self) -> list[GalleryItem]:
        """Every item, in the order of the uris."""
        with self._reading() as connection:
            return gallery_items.read_all_items(connection)

    def verify(self) -> list[str]:
        """What is wrong with the file, a line each; an empty list if nothing is. Reads everything."""
        with self._reading() as connection:
            return find_problems(connection, self.embedding_dim)

    def _remove(self, query: str, parameters: Sequence[tuple[object, ...]]) -> int:
        with self._writing() as connection:
            ids = [item_id for values in parameters for (item_id,) in connection.execute(query, values)]
            count = gallery_items.count_items(connection)
            for removed, item_id in enumerate(ids):
                (slot,) = connection.execute("DELETE FROM item WHERE id = ? RETURNING slot", (item_id,)).fetchone()
                moved = vector_blocks.remove_slot(connection, slot, count - removed, self.embedding_dim)
                if moved is not None:
                    connection.execute("UPDATE item SET slot = ? WHERE id = ?", (slot, moved))
            gallery_items.set_count(connection, count - len(ids))
        if ids:
            self.erase()
        return len(ids)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, on one consistent state of the gallery."""
        with self._turn, explained(self.path), snapshot(self._connection):
            yield self._connection

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The connection, for all of a change or nothing of it."""
        if self._lock is None:
            raise InputError(f"gallery {self.path}: is open for reading; open it with mode 'w' to change it")
        with self._turn, explained(self.path), transaction(self._connection):
            yield self._connection
