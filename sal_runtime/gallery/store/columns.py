"""Columns of fixed-width values in a gallery file: dense slots in blocks, written in place.

Because slots have no holes, reading needs no list of removed items, and a million vectors load in well under a second.
SQLite writes inside a blob in place, so writing a vector costs its own page and not its block, and an overwritten value
is overwritten in the file.

All functions expect an open transaction. The package docstring explains the words.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from sal_runtime.arrays import AnyArray, Int64Array
from sal_runtime.errors import InputError

BLOCK_SLOTS = 1024
FIRST_METADATA = 16
"""Lower column numbers are for what every item has."""
NUMBER_BITS = 20
"""Bits of a block id that hold the number of the block. The id has 31 in all: `blobopen` of CPython 3.11.2 takes a C
int."""
MAX_COLUMNS = 1 << 31 - NUMBER_BITS


@dataclass(frozen=True)
class Column:
    """One value for each slot.

    Attributes:
        number: names the column in the file.
        dtype: type of a number, little-endian.
        width: numbers in a value.
        null: fill value for items without a value.
        required: whether every item has a value. A missing block is damage then, otherwise it holds only nulls.
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
    """The column of vectors, float32 `[slots, embedding_dim]`."""
    return Column(1, "<f4", embedding_dim, required=True)


def code_column(embedding_dim: int) -> Column:
    """The column of codes of vectors, int8 `[slots, embedding_dim + 4]` (`sal_runtime.ranking.codes`)."""
    from sal_runtime.ranking.codes import HEADER_BYTES  # most searches need no codes

    return Column(5, "|i1", embedding_dim + HEADER_BYTES, required=True)


def text_hash(text: str | None) -> int:
    """The text hash of a text, int64; 0 for None only."""
    if text is None:
        return 0
    digest = blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True) or 1


def metadata_columns(connection: sqlite3.Connection) -> dict[str, Column]:
    """The column of each metadata key that some item has."""
    return {key: Column(number) for number, key in connection.execute("SELECT number, key FROM metadata_key")}


def ensure_metadata_columns(
    connection: sqlite3.Connection, keys: Iterable[str], max_columns: int = MAX_COLUMNS
) -> dict[str, Column]:
    """As `metadata_columns`, after adding columns for those of `keys` that lack one, if there are so many columns."""
    known = metadata_columns(connection)
    for key in sorted(set(keys) - known.keys()):
        used = {column.number for column in known.values()}
        number = min(set(range(FIRST_METADATA, FIRST_METADATA + len(used) + 1)) - used)
        if number >= max_columns:
            raise InputError(
                f"metadata key {key!r}: a gallery takes {max_columns - FIRST_METADATA:,} keys, and has that many; "
                "use few keys with many values"
            )
        connection.execute("INSERT INTO metadata_key VALUES (?, ?)", (number, key))
        known[key] = Column(number)
    return known


def forget_empty_metadata(connection: sqlite3.Connection) -> None:
    """Remove the metadata keys that no item has any more, and their columns."""
    for key, column in metadata_columns(connection).items():
        first, stop = _block_id(column, 0), _block_id(column, 1 << NUMBER_BITS)
        blocks = connection.execute("SELECT data FROM block WHERE id >= ? AND id < ?", (first, stop))
        if all(data.count(0) == len(data) for (data,) in blocks):
            _delete_blocks(connection, first, stop)
            connection.execute("DELETE FROM metadata_key WHERE key = ?", (key,))


def all_columns(connection: sqlite3.Connection, embedding_dim: int) -> list[Column]:
    """Every column of a gallery."""
    fixed = [IDS, vector_column(embedding_dim), code_column(embedding_dim), CAMERA, TRACK, CAPTURED_AT]
    return [*fixed, *metadata_columns(connection).values()]


def write_values(
    connection: sqlite3.Connection,
    column: Column,
    slots: Int64Array,
    values: AnyArray,
    change: int,
    max_items: int = BLOCK_SLOTS << NUMBER_BITS,
) -> None:
    """Put `values[i]` into slot `slots[i]`; makes blocks as needed, but none for nulls only.

    Slots are int64 `[n]`, ascending and distinct; values `[n]` or `[n, width]`; `change` is the new change number.
    """
    data = np.ascontiguousarray(values, column.dtype)
    if len(slots) and slots[-1] >= max_items:
        raise InputError(f"a gallery file takes {max_items:,} items, and would hold more; begin another one")
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
    """Remove slots in all columns: values from the end move into the holes and leave nulls behind.

    Slots are int64 `[n]`, ascending and distinct, out of `count` before the removal; `change` is the new change number.
    Returns the removed slots that were filled again, int64 `[m]`, m <= n.
    """
    left = count - len(slots)
    holes = slots[slots < left]
    movers = np.setdiff1d(np.arange(left, count, dtype=np.int64), slots, assume_unique=True)
    last = num_blocks(left)  # the first block that ends up empty
    vacated = np.arange(left, min(count, last * BLOCK_SLOTS), dtype=np.int64)
    for column in columns:
        write_values(connection, column, holes, read_values(connection, column, movers), change)
        write_values(connection, column, vacated, column.empty(len(vacated)), change)
        _delete_blocks(connection, _block_id(column, last), _block_id(column, num_blocks(count)))
    return holes


def _delete_blocks(connection: sqlite3.Connection, first: int, stop: int) -> None:
    """Delete the blocks with ids from `first` to `stop - 1`."""
    for table in ("block", "block_change"):
        connection.execute(f"DELETE FROM {table} WHERE id >= ? AND id < ?", (first, stop))


def read_values(connection: sqlite3.Connection, column: Column, slots: Int64Array) -> AnyArray:
    """The values `[n]` or `[n, width]` of ascending, distinct slots int64 `[n]`.

    Raises:
        sqlite3.DatabaseError: a block is missing or too short.
    """
    values = column.empty(len(slots))
    for number, rows in _by_block(slots):
        runs = list(_runs(slots, rows))
        firsts = (slots[[run.start for run in runs]] % BLOCK_SLOTS).tolist()
        wanted = [(first, first + run.stop - run.start) for first, run in zip(firsts, runs, strict=True)]
        for run, found in zip(runs, _read_runs(connection, column, number, wanted), strict=True):
            values[run] = found
    return values


def values_at(connection: sqlite3.Connection, column: Column, slots: Int64Array) -> AnyArray:
    """As `read_values`, of slots int64 of any shape and in any order."""
    distinct, places = np.unique(slots, return_inverse=True)
    values: AnyArray = read_values(connection, column, distinct)[places.ravel()]
    return values.reshape(*slots.shape, *values.shape[1:])


def read_block(connection: sqlite3.Connection, column: Column, number: int, first: int, stop: int) -> AnyArray:
    """The values of slots `first` to `stop - 1` of block `number`, counted within the block.

    Raises:
        sqlite3.DatabaseError: the block is too short, or missing from a required column.
    """
    (values,) = _read_runs(connection, column, number, [(first, stop)])
    return values


def _read_runs(
    connection: sqlite3.Connection, column: Column, number: int, runs: Sequence[tuple[int, int]]
) -> Iterator[AnyArray]:
    """The values of slots from a first to before another, of a block that is opened once."""
    block_id = _block_id(column, number)
    if not column.required and not _has_block(connection, block_id):
        yield from (column.empty(stop - first) for first, stop in runs)
        return
    try:
        # Opened as a blob: SQLite then reads its pages directly, many times faster than through a SELECT.
        with connection.blobopen("block", "data", block_id, readonly=True) as blob:
            found = []
            for first, stop in runs:
                blob.seek(first * column.value_bytes)
                found.append(blob.read((stop - first) * column.value_bytes))
    except (sqlite3.OperationalError, ValueError) as error:  # no such row; an offset beyond the end
        raise sqlite3.DatabaseError(f"block {number} of column {column.number} cannot be read ({error})") from error
    for data, (first, stop) in zip(found, runs, strict=True):
        if len(data) != (stop - first) * column.value_bytes:
            raise sqlite3.DatabaseError(f"block {number} of column {column.number} is too short")
        values = np.frombuffer(data, column.dtype)
        yield values if column.width == 1 else values.reshape(-1, column.width)


def changed_blocks(connection: sqlite3.Connection, column: Column, since: int, count: int) -> list[int]:
    """Numbers of the blocks among the first `count` slots that were written after change number `since`."""
    first, stop = _block_id(column, 0), _block_id(column, num_blocks(count))
    query = "SELECT id FROM block_change WHERE change > ? AND id >= ? AND id < ? ORDER BY id"
    return [block_id - first for (block_id,) in connection.execute(query, (since, first, stop))]


def existing_blocks(connection: sqlite3.Connection, column: Column, count: int) -> set[int]:
    """Numbers of the blocks among the first `count` slots that the file has; the others hold only nulls.

    Raises:
        sqlite3.DatabaseError: a block of a required column is missing.
    """
    first, stop = _block_id(column, 0), _block_id(column, num_blocks(count))
    rows = connection.execute("SELECT id FROM block_change WHERE id >= ? AND id < ?", (first, stop))
    found = {block_id - first for (block_id,) in rows}
    if column.required and len(found) != num_blocks(count):
        raise sqlite3.DatabaseError(f"{num_blocks(count) - len(found)} blocks of column {column.number} are missing")
    return found


def num_blocks(count: int) -> int:
    """Number of blocks that `count` slots need."""
    return -(-count // BLOCK_SLOTS)


def _block_id(column: Column, number: int) -> int:
    return (column.number << NUMBER_BITS) + number


def _has_block(connection: sqlite3.Connection, block_id: int) -> bool:
    return connection.execute("SELECT 1 FROM block_change WHERE id = ?", (block_id,)).fetchone() is not None


def _by_block(slots: Int64Array) -> Iterator[tuple[int, slice]]:
    """Blocks of ascending slots: the number of each, and which of the slots are in it."""
    numbers = slots // BLOCK_SLOTS
    for number in np.unique(numbers).tolist():
        first, stop = np.searchsorted(numbers, [number, number + 1]).tolist()
        yield number, slice(first, stop)


def _runs(slots: Int64Array, rows: slice) -> Iterator[slice]:
    """Runs of consecutive slots among `slots[rows]`: added items make one run, replaced items many."""
    breaks = (np.flatnonzero(np.diff(slots[rows]) != 1) + 1 + rows.start).tolist()
    for first, stop in zip([rows.start, *breaks], [*breaks, rows.stop], strict=True):
        yield slice(first, stop)
