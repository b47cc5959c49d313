"""Vectors in a gallery file: dense slots in fixed blocks, written in place.

Slots number 0..N-1 without a hole. A block holds `BLOCK_SLOTS` of them: the ids of the items and their vectors, as two
arrays that are read in one go, which is how a million vectors come up in well under a second. A removed slot is filled
with the last one, so removing leaves no hole and reading needs no list of the dead. SQLite writes inside a blob in
place, so a vector costs its own page and not its block, and an overwritten vector is overwritten in the file.

All functions expect an open transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

BLOCK_SLOTS = 1024
ID_BYTES = 8

IdArray = NDArray[np.int64]
Float32Array = NDArray[np.float32]


def write_vectors(connection: sqlite3.Connection, first_slot: int, ids: IdArray, vectors: Float32Array) -> None:
    """Put ids int64 `[n]` and vectors float32 `[n, d]` into the slots from `first_slot` on; new blocks as needed."""
    row_bytes = vectors.shape[1] * 4
    for number, start, stop in _spans(first_slot, first_slot + len(ids)):
        _ensure_block(connection, number, row_bytes)
        rows = slice(number * BLOCK_SLOTS + start - first_slot, number * BLOCK_SLOTS + stop - first_slot)
        _write(connection, "ids", number, start * ID_BYTES, ids[rows].astype("<i8").tobytes())
        _write(connection, "vectors", number, start * row_bytes, vectors[rows].astype("<f4").tobytes())


def remove_slot(connection: sqlite3.Connection, slot: int, count: int, embedding_dim: int) -> int | None:
    """Remove one of `count` slots: the last one moves into its place and leaves zeros behind.

    Returns:
        The id of the item that now has `slot`; None if `slot` was the last one.
    """
    last = count - 1
    moved = None
    if slot != last:
        ids, vectors = read_slot(connection, last, embedding_dim)
        write_vectors(connection, slot, ids, vectors)
        moved = int(ids[0])
    number, offset = divmod(last, BLOCK_SLOTS)
    if offset == 0:
        connection.execute("DELETE FROM block WHERE number = ?", (number,))
    else:
        write_vectors(connection, last, np.zeros(1, np.int64), np.zeros((1, embedding_dim), np.float32))
    return moved


def read_slot(connection: sqlite3.Connection, slot: int, embedding_dim: int) -> tuple[IdArray, Float32Array]:
    """Id int64 `[1]` and vector float32 `[1, d]` of one slot."""
    number, offset = divmod(slot, BLOCK_SLOTS)
    row_bytes = embedding_dim * 4
    identity = _read(connection, "ids", number, offset * ID_BYTES, ID_BYTES)
    vector = _read(connection, "vectors", number, offset * row_bytes, row_bytes)
    return np.frombuffer(identity, "<i8").astype(np.int64), np.frombuffer(vector, "<f4").astype(np.float32)[None]


def read_vectors(connection: sqlite3.Connection, count: int, embedding_dim: int) -> tuple[IdArray, Float32Array]:
    """All ids int64 `[count]` and vectors float32 `[count, d]`, contiguous, in the order of their slots.

    Raises:
        sqlite3.DatabaseError: a block is missing or too short.
    """
    ids, vectors = np.empty(count, np.int64), np.empty((count, embedding_dim), np.float32)
    for number, _, stop in _spans(0, count):
        rows = slice(number * BLOCK_SLOTS, number * BLOCK_SLOTS + stop)
        # Opened as blobs: SQLite then reads their pages directly, many times faster than through a SELECT.
        ids[rows] = np.frombuffer(_read(connection, "ids", number, 0, stop * ID_BYTES), "<i8")
        block = _read(connection, "vectors", number, 0, stop * embedding_dim * 4)
        vectors[rows] = np.frombuffer(block, "<f4").reshape(stop, embedding_dim)
    return ids, vectors


def _spans(first_slot: int, stop_slot: int) -> Iterator[tuple[int, int, int]]:
    """The blocks that slots `first_slot..stop_slot-1` touch: (number, first offset, offset after the last)."""
    for number in range(first_slot // BLOCK_SLOTS, -(-stop_slot // BLOCK_SLOTS)):
        base = number * BLOCK_SLOTS
        yield number, max(first_slot - base, 0), min(stop_slot - base, BLOCK_SLOTS)


def _ensure_block(connection: sqlite3.Connection, number: int, row_bytes: int) -> None:
    connection.execute(
        "INSERT OR IGNORE INTO block VALUES (?, zeroblob(?), zeroblob(?))",
        (number, BLOCK_SLOTS * ID_BYTES, BLOCK_SLOTS * row_bytes),
    )


def _write(connection: sqlite3.Connection, column: str, number: int, offset: int, data: bytes) -> None:
    with connection.blobopen("block", column, number) as blob:
        blob.seek(offset)
        blob.write(data)


def _read(connection: sqlite3.Connection, column: str, number: int, offset: int, length: int) -> bytes:
    try:
        with connection.blobopen("block", column, number, readonly=True) as blob:
            blob.seek(offset)
            data = blob.read(length)
    except (sqlite3.OperationalError, ValueError) as error:  # no such row; an offset beyond the end
        raise sqlite3.DatabaseError(f"vector block {number} cannot be read ({error})") from error
    if len(data) != length:
        raise sqlite3.DatabaseError(f"vector block {number} is too short")
    return data
