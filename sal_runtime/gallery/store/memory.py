"""The vectors of a gallery in memory, and what filters ask for; kept up to date block by block.

Values lie in parts of `PART_SLOTS`, so that a gallery grows without being copied. What a search has in hand never
changes under it: new items go behind what it sees, and a part of which something that it sees has changed is copied.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sal_runtime.arrays import AnyArray, BoolArray, Float32Array, Int64Array
from sal_runtime.gallery.items import ItemFilter
from sal_runtime.gallery.store.columns import (
    BLOCK_SLOTS,
    CAMERA,
    CAPTURED_AT,
    IDS,
    TRACK,
    Column,
    changed_blocks,
    existing_blocks,
    metadata_columns,
    num_blocks,
    read_block,
    text_code,
    vector_column,
)
from sal_runtime.gallery.store.file import read_counter

PART_BLOCKS = 32
PART_SLOTS = PART_BLOCKS * BLOCK_SLOTS


@dataclass(frozen=True)
class State:
    """A gallery as it was at one moment; arrays are read-only.

    Attributes:
        ids: parts int64 `[n_i]`, in the order of slots, `PART_SLOTS` each but the last one.
        vectors: parts float32 `[n_i, d]`, likewise.
        allowed: which items a filter lets through, bool `[N]`; None without a filter.
    """

    ids: tuple[AnyArray, ...]
    vectors: tuple[AnyArray, ...]
    allowed: BoolArray | None

    def ids_at(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """The ids of slots, in their shape."""
        numbers, offsets = np.divmod(slots, PART_SLOTS)
        found = np.empty(slots.shape, np.int64)
        for number in np.unique(numbers).tolist():
            here = numbers == number
            found[here] = self.ids[number][offsets[here]]
        return found

    def vectors_at(self, slots: Int64Array) -> Float32Array:
        """The vectors float32 `[..., d]` of slots int64 `[...]`."""
        numbers, offsets = np.divmod(slots, PART_SLOTS)
        dimension = self.vectors[0].shape[1] if self.vectors else 0
        found = np.empty((*slots.shape, dimension), np.float32)
        for number in np.unique(numbers).tolist():
            here = numbers == number
            found[here] = self.vectors[number][offsets[here]]
        return found


class LoadedGallery:
    """What is in memory of one gallery.

    Args:
        embedding_dim: of its vectors.
    """

    def __init__(self, embedding_dim: int) -> None:
        self._vectors = vector_column(embedding_dim)
        self._columns: dict[int, LoadedColumn] = {}

    def state(self, connection: sqlite3.Connection, where: ItemFilter | None) -> State:
        """The gallery as it is in the transaction; columns that filters ask for are loaded when one does."""
        change, count = read_counter(connection, "change"), read_counter(connection, "count")

        def read(column: Column) -> tuple[AnyArray, ...]:
            loaded = self._columns.setdefault(column.number, LoadedColumn(column))
            loaded.bring_up_to(connection, change, count)
            return loaded.parts()

        return State(read(IDS), read(self._vectors), filter_mask(connection, where, read) if where else None)


def read_chunks(
    connection: sqlite3.Connection, embedding_dim: int, where: ItemFilter | None
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Ids and embeddings that a filter lets through, `PART_SLOTS` slots at a time, straight from the file."""
    count = read_counter(connection, "count")
    for first in range(0, num_blocks(count), PART_BLOCKS):
        blocks = range(first, min(first + PART_BLOCKS, num_blocks(count)))

        def read(column: Column, blocks: range = blocks) -> list[AnyArray]:
            sizes = [min(BLOCK_SLOTS, count - number * BLOCK_SLOTS) for number in blocks]
            return [read_block(connection, column, number, 0, size) for number, size in zip(blocks, sizes, strict=True)]

        ids, vectors = np.concatenate(read(IDS)), np.concatenate(read(vector_column(embedding_dim)))
        if where:
            mask = filter_mask(connection, where, read)
            ids, vectors = ids[mask], vectors[mask]
        yield ids, vectors


class LoadedColumn:
    """The values of one column in memory.

    Args:
        column: which.
    """

    def __init__(self, column: Column) -> None:
        self.column = column
        self._parts: list[AnyArray] = []
        self._filled: list[int] = []  # values of each part that somebody may be looking at
        self._blocks: set[int] = set()  # that were read and may hold more than nulls
        self._change = -1
        self._views: tuple[AnyArray, ...] = ()

    def bring_up_to(self, connection: sqlite3.Connection, change: int, count: int) -> None:
        """Read what has changed since last time; in a transaction at change number `change` with `count` items."""
        if change == self._change:
            return
        copied: set[int] = set()
        changed = changed_blocks(connection, self.column, self._change, count)
        # Items may have come without a value where a whole block of values was removed.
        vanished = {number for number in self._blocks if number * BLOCK_SLOTS < count}
        vanished -= existing_blocks(connection, self.column, count)
        for number in sorted(vanished.union(changed)):
            stop = min(BLOCK_SLOTS, count - number * BLOCK_SLOTS)
            self._put(number * BLOCK_SLOTS, read_block(connection, self.column, number, 0, stop), copied)
        self._blocks = (self._blocks - vanished).union(changed)
        parts = -(-count // PART_SLOTS)
        while len(self._parts) < parts:  # of nothing but nulls
            self._append_part()
        del self._parts[parts:], self._filled[parts:]
        for number in range(parts):
            self._filled[number] = max(self._filled[number], min(PART_SLOTS, count - number * PART_SLOTS))
        views = [part[: count - number * PART_SLOTS] for number, part in enumerate(self._parts)]
        for view in views:
            view.flags.writeable = False
        self._change, self._views = change, tuple(views)

    def parts(self) -> tuple[AnyArray, ...]:
        """Read-only parts with all values; they stay as they are whatever comes later. The same while nothing does."""
        return self._views

    def _put(self, first_slot: int, values: AnyArray, copied: set[int]) -> None:
        number, start = divmod(first_slot, PART_SLOTS)
        while len(self._parts) <= number:
            self._append_part()
        seen = max(0, min(len(values), self._filled[number] - start))
        same = np.array_equal(self._parts[number][start : start + seen], values[:seen], equal_nan=True)
        if number not in copied and not same:
            self._parts[number] = self._parts[number].copy()
            self._filled[number] = 0
            copied.add(number)
        if number in copied:
            self._parts[number][start : start + len(values)] = values
        else:
            self._parts[number][start + seen : start + len(values)] = values[seen:]

    def _append_part(self) -> None:
        # without values where every item has one: memory that nobody writes to takes no room
        column = self.column
        shape = PART_SLOTS if column.width == 1 else (PART_SLOTS, column.width)
        self._parts.append(np.empty(shape, column.dtype) if column.required else column.empty(PART_SLOTS))
        self._filled.append(0)


def filter_mask(
    connection: sqlite3.Connection, where: ItemFilter, read: Callable[[Column], Sequence[AnyArray]]
) -> BoolArray:
    """Which items a filter lets through, bool `[N]`.

    Args:
        connection: of the gallery.
        where: a filter with a condition.
        read: gives the parts of a column.
    """
    keys = metadata_columns(connection)
    texts = [(CAMERA, where.cameras), (TRACK, where.tracks)]
    # a key that no item has is in no column: nothing matches it, as nothing matches in a column of nulls
    texts += [(keys.get(key, Column(-1)), values) for key, values in where.metadata.items()]
    masks = [
        np.concatenate([np.isin(part, [text_code(value) for value in values]) for part in read(column)] or [_NOTHING])
        for column, values in texts
        if values
    ]
    if where.captured_from is not None or where.captured_until is not None:
        start = -np.inf if where.captured_from is None else where.captured_from
        stop = np.inf if where.captured_until is None else where.captured_until
        masks.append(np.concatenate([(part >= start) & (part < stop) for part in read(CAPTURED_AT)] or [_NOTHING]))
    fits: BoolArray = np.logical_and.reduce(masks)
    return fits


_NOTHING = np.empty(0, np.bool_)
