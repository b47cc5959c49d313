"""Zeroing what SQLite leaves in the unused middle of its pages.

`secure_delete` overwrites a deleted row. But when SQLite moves rows to a neighbouring page, their old copies stay in
the page they came from, between the list of cells and the cells, and are not overwritten when the rows are deleted.
Nothing ever reads these bytes, so they can be zeroed while others read the file.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from pathlib import Path

from sal_runtime.gallery.store.file import transaction
from sal_runtime.gallery.store.whole import copies

INTERIOR = {2: 12, 5: 12}
"""Kinds of pages (of an index, of a table) that point to other pages, and the length of their header."""
LEAF = {10: 8, 13: 8}
"""Kinds of pages (of an index, of a table) that point to none, and the length of their header."""

_descriptors: dict[tuple[int, int], int] = {}
"""Open files by device and inode; never closed, because that would drop SQLite's locks on the file in this process."""


def erase_removed(connection: sqlite3.Connection, path: Path) -> bool:
    """Take what was removed out of the bytes of a gallery file and of all files beside it.

    Returns:
        Whether it is gone; False while another process reads an older state, which keeps the log.

    Raises:
        sqlite3.DatabaseError: a page is damaged, or writing failed.
        OSError: writing failed.
    """
    for file in copies(path):
        file.unlink(missing_ok=True)
    # As a script: this statement steps once per freed page, and execute() would free one only.
    connection.executescript("PRAGMA incremental_vacuum")
    return overwrite_deleted(connection, path)


def overwrite_deleted(connection: sqlite3.Connection, path: Path) -> bool:
    """Take what was deleted out of the bytes of an SQLite file with a write-ahead log, and out of the log.

    The connection is that of its writer, outside of a transaction, with `secure_delete`.

    Returns:
        Whether it is gone; False while another connection reads an older state, which keeps the log.

    Raises:
        sqlite3.DatabaseError: a page is damaged, or writing failed.
        OSError: writing failed.
    """
    (busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if not busy:
        with transaction(connection):
            scrub(connection, path)
        connection.execute("PRAGMA shrink_memory")  # or pages in memory would bring the bytes back
    return not busy


def scrub(connection: sqlite3.Connection, path: Path) -> None:
    """Zero the unused bytes of all tables and indices of an SQLite file.

    The connection belongs to its writer, in a transaction that keeps others from writing, with an empty log.

    Raises:
        sqlite3.DatabaseError: a page is damaged.
        OSError: writing failed.
    """
    (page_size,) = connection.execute("PRAGMA page_size").fetchone()
    waiting = [root for (root,) in connection.execute("SELECT rootpage FROM sqlite_schema WHERE rootpage > 0")]
    file = _descriptor(path)
    changed = False
    while waiting:
        number = waiting.pop()
        page = os.pread(file, page_size, (number - 1) * page_size)
        start, stop, children = _unused(page, number)
        zeros = bytes(stop - start)
        if page[start:stop] != zeros:
            os.pwrite(file, zeros, (number - 1) * page_size + start)
            changed = True
        waiting += children
    if changed:
        os.fdatasync(file)


def _unused(page: bytes, number: int) -> tuple[int, int, list[int]]:
    """Where the unused bytes of a page start and stop, and the pages it points to."""
    header = 100 if number == 1 else 0
    kind = page[header] if len(page) > header else 0
    if kind not in INTERIOR | LEAF:
        raise sqlite3.DatabaseError(f"page {number} is damaged")
    cells = int.from_bytes(page[header + 3 : header + 5], "big")
    start = header + (INTERIOR | LEAF)[kind]
    stop = int.from_bytes(page[header + 5 : header + 7], "big") or 65536
    end = start + 2 * cells
    if not end <= stop <= len(page):
        raise sqlite3.DatabaseError(f"page {number} is damaged")
    places = struct.unpack_from(f">{cells}H", page, start)
    if places and not stop <= min(places) <= max(places) <= len(page) - 4:
        raise sqlite3.DatabaseError(f"page {number} is damaged")
    if kind in LEAF:
        return end, stop, []
    children = [int.from_bytes(page[place : place + 4], "big") for place in places]
    return end, stop, [*children, int.from_bytes(page[header + 8 : header + 12], "big")]


def _descriptor(path: Path) -> int:
    state = path.stat()
    key = (state.st_dev, state.st_ino)
    if key not in _descriptors:
        _descriptors[key] = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    return _descriptors[key]
