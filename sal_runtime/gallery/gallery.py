"""A gallery: the images of people that can be searched, with their embeddings, in one file.

    with Gallery.create(Path("yard.sal"), bundle) as gallery:
        gallery.add([GalleryItem(uri="cam1/0001.jpg", camera="cam1")], embeddings)

A gallery is stamped with the fingerprint of the bundle that made its embeddings, because those of another bundle mean
something else. One process writes, any number read meanwhile; what is removed is gone from the bytes of the file.
Searches see what others have added since without reading the rest again.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from sal_runtime.arrays import Float32Array
from sal_runtime.errors import InputError, SalError
from sal_runtime.gallery.items import GalleryItem, check_embeddings
from sal_runtime.gallery.reading import ReadableGallery
from sal_runtime.gallery.store import changes
from sal_runtime.gallery.store.file import (
    Mode,
    connect_file,
    copies,
    create_file,
    explained,
    generation_path,
    read_counter,
    transaction,
    write_counter,
)
from sal_runtime.gallery.store.lock import WriterLock
from sal_runtime.gallery.store.rows import condition
from sal_runtime.gallery.store.scrub import scrub

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle
    from sal_runtime.gallery.items import ItemFilter
    from sal_runtime.ranking.approximate import GalleryVersion


class Gallery(ReadableGallery):
    """An open gallery file; a context manager.

    Threads may share it. They take turns at the file, and rank beside each other.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: WriterLock | None) -> None:
        """Use `Gallery.open` or `Gallery.create`."""
        super().__init__(path, connection)
        self._lock = lock

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

    @property
    def generation_path(self) -> Path:
        """Where `reindex` keeps what it has encoded while it is not done."""
        return generation_path(self.path)

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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

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
        rows = list(latest.values())
        if rows:
            with self._writing() as connection:
                changes.add_items(connection, {items[row].uri: items[row] for row in rows}, vectors[rows])

    def update(self, items: Iterable[GalleryItem]) -> None:
        """Replace what is known of items that are there, but not their embeddings; unknown uris are passed over.

        Raises:
            SalError: writing failed; nothing was replaced.
        """
        with self._writing() as connection:
            changes.update_items(connection, items)

    def remove(self, uris: Iterable[str]) -> int:
        """Remove items for good; unknown uris are passed over.

        Returns:
            How many there were.

        Raises:
            SalError: writing failed (nothing was removed), or a reader keeps the old bytes in use (see `erase`).
        """
        return self._remove("uri = ?", [(uri,) for uri in uris])

    def remove_where(self, where: ItemFilter) -> int:
        """Remove the items that a filter lets through for good.

        Returns:
            How many there were.

        Raises:
            InputError: the filter has no condition.
            SalError: as for `remove`.
        """
        if not where:
            raise InputError(f"gallery {self.path}: got no condition for what to remove, expected at least one")
        text, values = condition(where)
        return self._remove(text, [values])

    def purge(self, before: float, where: ItemFilter | None = None) -> int:
        """Remove for good what was captured (added, where that is not known) before a moment.

        Args:
            before: seconds since 1970, UTC.
            where: only items that this filter lets through.

        Returns:
            How many there were.

        Raises:
            SalError: as for `remove`.
        """
        text, values = ("1", []) if where is None else condition(where)
        return self._remove(f"coalesce(captured_at, added_at) < ? AND {text}", [(before, *values)])

    def reserve_ids(self, other: Gallery) -> None:
        """Give coming items other ids than another gallery has ever given, or will give to its next 2^32 items."""
        with other._reading() as theirs, self._writing() as ours:
            write_counter(ours, "next_id", read_counter(theirs, "next_id") + (1 << 32))

    def take_over(self, generation: Path, before: GalleryVersion) -> None:
        """Replace all items and embeddings by those of another gallery file, of any bundle, in one transaction.

        Args:
            generation: the other file.
            before: stamp of this gallery when the other one was made from it.

        The old ones are gone from the bytes of the file after `erase`.

        Raises:
            InputError: this gallery has changed since then; nothing was replaced.
            SalError: writing failed; nothing was replaced.
        """
        with self._turn, explained(self.path):
            if self.stamp() != before:
                raise InputError(f"gallery {self.path}: was changed meanwhile; run it again to go on where it was")
            self._connection.execute("ATTACH DATABASE ? AS generation", (f"{generation.resolve().as_uri()}?mode=rw",))
            try:
                with self._writing() as connection:
                    changes.take_generation(connection)
            finally:
                self._connection.execute("DETACH DATABASE generation")
            self._read_stamp()

    def erase(self) -> None:
        """Give freed space back and empty the write-ahead log, so that nothing removed is left in any file.

        Raises:
            SalError: another process is reading an older state; the removed items are gone for every new search, but
                their bytes are not yet gone from the disk.
        """
        with self._turn, explained(self.path):
            for file in copies(self.path):
                file.unlink(missing_ok=True)
            # As a script: this statement steps once per freed page, and execute() would free one only.
            self._connection.executescript("PRAGMA incremental_vacuum")
            (busy, _, _) = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy:
                with transaction(self._connection):
                    scrub(self._connection, self.path)
                self._connection.execute("PRAGMA shrink_memory")  # or pages in memory would bring the bytes back
        if busy:
            raise SalError(
                f"gallery {self.path}: removed, but another process still reads the old state, so the bytes remain in "
                f"the log beside it; when it is done, run `sal gallery verify {self.path}`"
            )

    def _remove(self, text: str, values: Sequence[Sequence[object]]) -> int:
        with self._writing() as connection:
            uris = changes.remove_items(connection, text, values, self.embedding_dim)
            if self.generation_path.exists():
                with Gallery.open(self.generation_path, "w") as generation:
                    generation.remove(uris)
        self.erase()  # also if there were none: the process that removed them may have been killed before it came here
        return len(uris)

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The connection, for all of a change or nothing of it."""
        if self._lock is None:
            raise InputError(f"gallery {self.path}: is open for reading; open it with mode 'w' to change it")
        if not self._lock.is_held:
            raise InputError(f"gallery {self.path}: was opened by the parent process; open it again in this process")
        with self._turn, explained(self.path), transaction(self._connection):
            yield self._connection
