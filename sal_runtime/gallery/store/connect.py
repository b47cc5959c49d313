"""Connections that show the present state: of files of format 2, and of files that others write.

A file of format 2 is brought to format 3, in place, when it is first opened. The formats differ in the ids of blocks
only, which had 64 bits (`column << 32 | number`) and have 31 now.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sal_runtime.gallery.store.columns import NUMBER_BITS
from sal_runtime.gallery.store.file import (
    FORMAT_VERSION,
    OLD_FORMAT_VERSION,
    Mode,
    OldFormatError,
    WatchingConnection,
    can_be_written,
    connect_file,
    explained,
    resolved,
    transaction,
)

OLD_NUMBER_BITS = 32


def connect_current(path: Path, mode: Mode) -> sqlite3.Connection:
    """As `connect_file`, after bringing a file of the old format to the present one.

    In mode `w` the caller holds the `WriterLock`; in mode `r` it is taken for as long as the file is rewritten.

    Raises:
        InputError: the file cannot be opened; or it has the old format, and cannot be written, or another process
            writes it.
    """
    try:
        return connect_file(path, mode)
    except OldFormatError:
        if not can_be_written(resolved(path)):
            raise
    from sal_runtime.gallery.store.lock import WriterLock

    lock = WriterLock(path) if mode == "r" else None
    try:
        _upgrade(path)
    finally:
        if lock is not None:
            lock.release()
    return connect_file(path, mode)


def up_to_date(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """The connection of a reader, or a new one in place of one that would show an old state of the file."""
    if not isinstance(connection, WatchingConnection) or not connection.is_outdated():
        return connection
    connection.close()
    return connect_current(path, "r")


def _upgrade(path: Path) -> None:
    """Give every block its new id, in one transaction; has no effect on a file of the present format."""
    number_mask = (1 << OLD_NUMBER_BITS) - 1
    with explained(path), closing(connect_file(path, "w", allow_old=True)) as connection:
        with transaction(connection):
            if connection.execute("PRAGMA user_version").fetchone() != (OLD_FORMAT_VERSION,):
                return
            for table in ("block", "block_change"):  # no new id is an old one: column 0 keeps its ids, others shrink
                connection.execute(
                    f"UPDATE {table} SET id = (id >> {OLD_NUMBER_BITS} << {NUMBER_BITS}) + (id & {number_mask}) "
                    f"WHERE id > {number_mask}"
                )
            connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # empties the log, unless somebody is reading
