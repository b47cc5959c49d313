"""A gallery and the pictures beside it, copied to another place as they were at one moment."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from sal_runtime.arrays import Progress
from sal_runtime.errors import SalError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.store.crops import PARTIAL, delete_crops
from sal_runtime.gallery.store.file import connect_file, crop_path, explained, transaction
from sal_runtime.images.folder import content_hash

Known = Mapping[str, str | None]
"""The content hash of each item, by its uri."""


def known_items(connection: sqlite3.Connection) -> dict[str, str | None]:
    """The content hash of each item of a gallery, by its uri."""
    return dict(connection.execute("SELECT uri, content_hash FROM item"))


class CopiedPictures:
    """The pictures beside a gallery file, on their way to the place beside its copy.

    Args:
        gallery: its file.
        copy: the file of the copy, which need not exist yet.
        before: an earlier copy; a picture that has not changed since is a hard link to the picture there.
        known_before: the items of the earlier copy.

    Attributes:
        hashes: sha256 of each picture that was copied, by its uri, as it was read from the copy.
        linked: those of them that are hard links.
    """

    def __init__(
        self, gallery: Path, copy: Path, before: Path | None = None, known_before: Known | None = None
    ) -> None:
        self._gallery, self._copy, self._before = gallery, copy, before
        self._known_before = known_before or {}
        self.hashes: dict[str, str] = {}
        self.linked: set[str] = set()

    def bring(self, known: Known, progress: Progress | None = None) -> None:
        """Copy the pictures of these items that are not there yet; an item without a picture is passed over.

        Raises:
            OSError: a picture cannot be copied.
        """
        missing = [uri for uri, found in known.items() if found is None or self.hashes.get(uri) != found]
        for number, uri in enumerate(missing, 1):
            source, target = crop_path(self._gallery, uri), crop_path(self._copy, uri)
            if source is not None and target is not None and not self._link(uri, known[uri], target):
                self._copy_file(uri, source, target)
            if progress is not None:
                progress(number, len(missing))

    def keep_only(self, known: Known) -> None:
        """Delete the pictures that none of these items has."""
        gone = self.hashes.keys() - known.keys()
        delete_crops(self._copy, gone)
        for uri in gone:
            del self.hashes[uri]
        self.linked -= gone

    def differing(self, known: Known) -> list[str]:
        """The items whose pictures are not those that the gallery knows."""
        return [uri for uri, found in known.items() if found is not None and self.hashes.get(uri, found) != found]

    def _link(self, uri: str, found: str | None, target: Path) -> bool:
        """Whether the picture is in the earlier copy, from where it is linked now."""
        earlier = None if self._before is None else crop_path(self._before, uri)
        if earlier is None or found is None or self._known_before.get(uri) != found:
            return False
        _make_place(target)
        try:
            os.link(earlier, target)
            self.hashes[uri] = content_hash(str(target))
        except OSError:  # it is not there, or this file system has no (more) links to it
            return False
        if self.hashes[uri] == found:
            self.linked.add(uri)
        return self.hashes[uri] == found

    def _copy_file(self, uri: str, source: Path, target: Path) -> None:
        _make_place(target)
        self.linked.discard(uri)
        partial = target.with_name(target.name + PARTIAL)
        try:
            shutil.copyfile(source, partial)
        except FileNotFoundError:
            partial.unlink(missing_ok=True)
            target.unlink(missing_ok=True)
            self.hashes.pop(uri, None)
        else:
            partial.chmod(0o600)
            partial.replace(target)
            self.hashes[uri] = content_hash(str(target))


def _make_place(target: Path) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)


def copy_file(connection: sqlite3.Connection, copy: Path) -> None:
    """Copy a gallery file as a connection to it sees it in its transaction; `finish_copy` is due when that has ended.

    Raises:
        SalError: the copy cannot be written.
    """
    with explained(copy), closing(sqlite3.connect(copy, isolation_level=None)) as target:
        target.execute("PRAGMA synchronous = OFF")  # whoever calls synchronises everything once
        connection.backup(target)
        target.execute("PRAGMA journal_mode = WAL")


def finish_copy(gallery: Path, copy: Path) -> None:
    """Erase from a copy what the log of its gallery still held of removed items, and verify it.

    Raises:
        SalError: the gallery is damaged, or the copy cannot be written.
    """
    with Gallery.open(copy, "w") as copied:
        copied.erase()
        problems = copied.verify()
    if problems:
        raise SalError(f"gallery {gallery}: is damaged, and was not copied: {'; '.join(problems)}")


def take_tombstones(gallery: Path, source: Path) -> list[str]:
    """Hold back in one gallery what is held back in another; returns the uris of items that it should not have then.

    Raises:
        SalError: one of them cannot be read, or the first cannot be written.
    """
    with explained(gallery), closing(connect_file(gallery, "w", allow_old=True)) as connection:
        connection.execute("ATTACH DATABASE ? AS other", (f"{source.resolve().as_uri()}?mode=ro",))
        with transaction(connection):
            query = "SELECT sql FROM {}.sqlite_schema WHERE name = 'tombstone'"
            made = connection.execute(query.format("other")).fetchone()
            if made is not None:
                if connection.execute(query.format("main")).fetchone() is None:
                    connection.execute(made[0])
                connection.execute("INSERT OR IGNORE INTO main.tombstone SELECT hash FROM other.tombstone")
    with Gallery.open(gallery) as opened:
        items = opened.all_items()
        held_back = opened.held_back(item.content_hash for item in items)
    return [item.uri for item in items if item.content_hash in held_back]
