"""Connections that show the present state: of files of old formats, and of files that others write.

A file of format 2 or 3 is brought to format 4, in place, when it is first opened. In format 2 the ids of blocks had 64
bits (`column << 32 | number`) and not 31. Neither has a column of codes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sal_runtime.gallery.store.columns import (
    BLOCK_SLOTS,
    NUMBER_BITS,
    code_column,
    num_blocks,
    read_block,
    vector_column,
    write_values,
)
from sal_runtime.gallery.store.file import (
    FORMAT_VERSION,
    OLD_FORMAT_VERSIONS,
    Mode,
    OldFormatError,
    WatchingConnection,
    can_be_written,
    connect_file,
    explained,
    read_counter,
    read_meta,
    resolved,
    transaction,
)

if TYPE_CHECKING:
    from sal_runtime.gallery.store.lock import WriterLock

OLD_NUMBER_BITS = 32


def connect_current(path: Path, mode: Mode) -> sqlite3.Connection:
    """As `connect_file`, after bringing a file of an old format to the present one.

    In mode `w` the caller holds the `WriterLock`; in mode `r` it is taken for as long as the file is rewritten.

    Raises:
        InputError: the file cannot be opened; or it has an old format, and cannot be written, or another process
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


def connect_writer(path: Path, meta: Mapping[str, str] | None = None) -> tuple[sqlite3.Connection, WriterLock]:
    """A connection to write a gallery file with, and the lock for it; the file is made first where `meta` is given.

    Raises:
        InputError: the file cannot be opened, or another process writes it.
        SalError: it cannot be written there.
    """
    from sal_runtime.gallery.store.lock import WriterLock
    from sal_runtime.gallery.store.whole import create_file

    lock = WriterLock(path)
    try:
        if meta is not None:
            create_file(path, meta)
        return connect_current(path, "w"), lock
    except BaseException:
        lock.release()
        raise


def up_to_date(connection: sqlite3.Connection, path: Path) -> sqlite3.Connection:
    """The connection of a reader, or a new one in place of one that would show an old state of the file."""
    if not isinstance(connection, WatchingConnection) or not connection.is_outdated():
        return connection
    connection.close()
    return connect_current(path, "r")


def _upgrade(path: Path) -> None:
    """Bring a file to the present format in one transaction; has no effect on one that has it already."""
    with explained(path), closing(connect_file(path, "w", allow_old=True)) as connection:
        with transaction(connection):
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version not in OLD_FORMAT_VERSIONS:
                return
            if version == OLD_FORMAT_VERSIONS[0]:
                _shorten_block_ids(connection)
            _add_codes(connection, int(read_meta(connection, path)["embedding_dim"]))
            connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # empties the log, unless somebody is reading


def _shorten_block_ids(connection: sqlite3.Connection) -> None:
    number_mask = (1 << OLD_NUMBER_BITS) - 1
    for table in ("block", "block_change"):  # no new id is an old one: column 0 keeps its ids, others shrink
        connection.execute(
            f"UPDATE {table} SET id = (id >> {OLD_NUMBER_BITS} << {NUMBER_BITS}) + (id & {number_mask}) "
            f"WHERE id > {number_mask}"
        )


def _add_codes(connection: sqlite3.Connection, embedding_dim: int) -> None:
    from sal_runtime.ranking.codes import encode

    count, change = read_counter(connection, "count"), read_counter(connection, "change")
    for number in range(num_blocks(count)):
        slots = np.arange(number * BLOCK_SLOTS, min(count, (number + 1) * BLOCK_SLOTS))
        vectors = read_block(connection, vector_column(embedding_dim), number, 0, len(slots))
        write_values(connection, code_column(embedding_dim), slots, encode(vectors), change)
