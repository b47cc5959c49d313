"""Columns of fixed-width values in a gallery file: dense slots in fixed blocks, written in place.

Item number s of N has slot s in every column: its id, its vector, and what filters ask for. Slots number 0..N-1 without
a hole: a removed slot is filled with one from the end, so reading needs no list of the dead, and a million vectors come
up in well under a second. SQLite writes inside a blob in place, so a vector costs its own page and not its block, and
an overwritten value is overwritten in the file.

Text that filters ask for is kept as a 64-bit hash: two different texts agree with a chance of 5e-20.

All functions expect an open transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from sal_runtime.arrays import AnyArray, Int64Array

BLOCK_SLOTS = 1024
FIRST_METADATA = 16
"""Numbers of columns below are for what every item has."""
METADATA_PREFIX = "metadata:"


@dataclass(frozen=True)
class Column:
    """One value for each slot.

    Attributes:
        number: of the column in the file.
        dtype: of a value, little-endian.
        width: numbers in a value.
        null: what a value is that was never given.
        required: whether every item has a value; then a missing block is damage, and else it is all null.
    """

    number: int
    dtype: str = "<i8"
    width: int = 1
    null: float = 0
    required: bool = False

    @property
    def value_bytes(self) -> int:
        """Size of a value in the file."""
        return self.width * np.dtype(self.dtype).itemsize

    def empty(self, slots: int) -> AnyArray:
        """Values `[slots]`, or `[slots, width]` where a value is more than one number, all null."""
        return np.full(slots if self.width == 1 else (slots, self.width), self.null, self.dtype)


IDS = Column(0, required=True)
CAMERA = Column(2)
TRACK = Column(3)
CAPTURED_AT = Column(4, "<f8", null=np.nan)


def vector_column(embedding_dim: int) -> Column:
    """The embeddings, float32 `[slots, embedding_dim]`."""
    return Column(1, "<f4", embedding_dim, required=True)


def text_code(text: str | None) -> int:
    """What stands for a text in a column; 0 for none."""
    if text is None:
        return 0
    return (
        int.from_bytes(blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest(), "little", signed=True) or 1
    )


def metadata_columns(connection: sqlite3.Connection) -> dict[str, Column]:
    """The columns of the metadata keys that items of the gallery have."""
    return {key: Column(number) for number, key in connection.execute("SELECT number, key FROM metadata_key")}


def ensure_metadata_columns(connection: sqlite3.Connection, keys: Iterable[str]) -> dict[str, Column]:
    """As `metadata_columns`, with these keys among them."""
    known = metadata_columns(connection)
    for key in sorted(set(keys) - known.keys()):
        number = max((column.number for column in known.values()), default=FIRST_METADATA - 1) + 1
        connection.execute("INSERT INTO metadata_key VALUES (?, ?)", (number, key))
        known[key] = Column(number)
    return known


def forget_empty_metadata(connection: sqlite3.Connection) -> None:
    """Remove the keys that no item has any more, and their columns."""
    for key, column in metadata_columns(connection).items():
        ids = (column.number << 32, column.number + 1 << 32)
        blocks = connection.execute("SELECT data FROM block WHERE id >= ? AND id < ?", ids)
        if all(data.count(0) == len(data) for (data,) in blocks):
            connection.execute("DELETE FROM block WHERE id >= ? AND id < ?", ids)
            connection.execute("DELETE FROM block_change WHERE id >= ? AND id < ?", ids)
            connection.execute("DELETE FROM metadata_key WHERE key = ?", (key,))


def all_columns(connection: sqlite3.Connection, embedding_dim: int) -> list[Column]:
    """Every column of a gallery."""
    fixed = [IDS, vector_column(embedding_dim), CAMERA, TRACK, CAPTURED_AT]
    return [*fixed, *metadata_columns(connection).values()]


def write_values(
    connection: sqlite3.Connection, column: Column, slots: Int64Array, values: AnyArray, change: int
) -> None:
    """Put `values[i]` into slot `slots[i]`; new blocks as needed, none for nothing but nulls.

    Args:
        connection: of the gallery.
        column: to write.
        slots: int64 `[n]`, ascending and distinct.
        values: `[n]` or `[n, width]`.
        change: number of the change that this is a part of.
    """
    data = np.ascontiguousarray(values, column.dtype)
    for number, rows in _by_block(slots):
        block_id = _block_id(column, number)
        if not _has_block(connection, block_id):
            if not column.required and np.array_equal(data[rows], column.empty(len(data[rows])), equal_nan=True):
                continue
            connection.execute("INSERT INTO block VALUES (?, ?)", (block_id, column.empty(BLOCK_SLOTS).tobytes()))
        with connection.blobopen("block", "data", block_id) as blob:
            for run in _runs(slots, rows):
                blob.seek(int(slots[run.start] % BLOCK_SLOTS) * column.value_bytes)
                blob.write(data[run].tobytes())
        connection.execute("INSERT OR REPLACE INTO block_change VALUES (?, ?)", (block_id, change))


def remove_slots(
    connection: sqlite3.Connection, columns: Sequence[Column], slots: Int64Array, count: int, change: int
) -> Int64Array:
    """Remove slots of `count`: values from the end move into the holes and leave nulls behind, in every column.

    Args:
        connection: of the gallery.
        columns: all of them.
        slots: int64 `[n]`, ascending and distinct.
        count: slots there are.
        change: number of the change that this is a part of.

    Returns:
        The removed slots that have values again, int64 `[m]`, m <= n.
    """
    left = count - len(slots)
    holes = slots[slots < left]
    movers = np.setdiff1d(np.arange(left, count, dtype=np.int64), slots, assume_unique=True)
    last = num_blocks(left)  # the first block of which nothing is left
    vacated = np.arange(left, min(count, last * BLOCK_SLOTS), dtype=np.int64)
    for column in columns:
        write_values(connection, column, holes, read_values(connection, column, movers), change)
        write_values(connection, column, vacated, column.empty(len(vacated)), change)
        ends = (_block_id(column, last), _block_id(column, num_blocks(count)))
        connection.execute("DELETE FROM block WHERE id >= ? AND id < ?", ends)
        connection.execute("DELETE FROM block_change WHERE id >= ? AND id < ?", ends)
    return holes


def read_values(connection: sqlite3.Connection, column: Column, slots: Int64Array) -> AnyArray:
    """The values `[n]` or `[n, width]` of slots int64 `[n]`, ascending and distinct.

    Raises:
        sqlite3.DatabaseError: a block is missing or too short.
    """
    values = column.empty(len(slots))
    for number, rows in _by_block(slots):
        for run in _runs(slots, rows):
            first = int(slots[run.start] % BLOCK_SLOTS)
            values[run] = read_block(connection, column, number, first, first + run.stop - run.start)
    return values


def read_block(connection: sqlite3.Connection, column: Column, number: int, first: int, stop: int) -> AnyArray:
    """The values of the slots `first` to `stop - 1` of a block.

    Raises:
        sqlite3.DatabaseError: it is missing though it cannot be all null, or too short.
    """
    block_id = _block_id(column, number)
    if not column.required and not _has_block(connection, block_id):
        return column.empty(stop - first)
    length = (stop - first) * column.value_bytes
    try:
        # Opened as a blob: SQLite then reads its pages directly, many times faster than through a SELECT.
        with connection.blobopen("block", "data", block_id, readonly=True) as blob:
            blob.seek(first * column.value_bytes)
            data = blob.read(length)
    except (sqlite3.OperationalError, ValueError) as error:  # no such row; an offset beyond the end
        raise sqlite3.DatabaseError(f"block {number} of column {column.number} cannot be read ({error})") from error
    if len(data) != length:
        raise sqlite3.DatabaseError(f"block {number} of column {column.number} is too short")
    values = np.frombuffer(data, column.dtype)
    return values if column.width == 1 else values.reshape(-1, column.width)


def changed_blocks(connection: sqlite3.Connection, column: Column, since: int, count: int) -> list[int]:
    """Numbers of the blocks, of those that `count` slots need, that changed after change number `since`."""
    first, stop = _block_id(column, 0), _block_id(column, num_blocks(count))
    query = "SELECT id FROM block_change WHERE change > ? AND id >= ? AND id < ? ORDER BY id"
    return [block_id - first for (block_id,) in connection.execute(query, (since, first, stop))]


def existing_blocks(connection: sqlite3.Connection, column: Column, count: int) -> set[int]:
    """Numbers of the blocks, of those that `count` slots need, that the file has; the others are all null.

    Raises:
        sqlite3.DatabaseError: one is missing though it cannot be all null.
    """
    first, stop = _block_id(column, 0), _block_id(column, num_blocks(count))
    rows = connection.execute("SELECT id FROM block_change WHERE id >= ? AND id < ?", (first, stop))
    found = {block_id - first for (block_id,) in rows}
    if column.required and len(found) != num_blocks(count):
        raise sqlite3.DatabaseError(f"{num_blocks(count) - len(found)} blocks of column {column.number} are missing")
    return found


def num_blocks(count: int) -> int:
    """Blocks that `count` slots need."""
    return -(-count // BLOCK_SLOTS)


def _block_id(column: Column, number: int) -> int:
    return column.number << 32 | number


def _has_block(connection: sqlite3.Connection, block_id: int) -> bool:
    return connection.execute("SELECT 1 FROM block_change WHERE id = ?", (block_id,)).fetchone() is not None


def _by_block(slots: Int64Array) -> Iterator[tuple[int, slice]]:
    """The blocks of ascending slots: (number, which of the slots)."""
    numbers = slots // BLOCK_SLOTS
    for number in np.unique(numbers).tolist():
        first, stop = np.searchsorted(numbers, [number, number + 1]).tolist()
        yield number, slice(first, stop)


def _runs(slots: Int64Array, rows: slice) -> Iterator[slice]:
    """Neighbours among some of the slots: items that are added come as one run, those that are replaced anywhere."""
    breaks = (np.flatnonzero(np.diff(slots[rows]) != 1) + 1 + rows.start).tolist()
    for first, stop in zip([rows.start, *breaks], [*breaks, rows.stop], strict=True):
        yield slice(first, stop)
