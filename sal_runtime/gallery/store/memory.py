"""The vectors of a gallery in memory, or their codes, and what filters ask for; kept up to date block by block.

Values are in parts of `PART_SLOTS`, so that a gallery grows without being copied. What a search holds never changes:
new items go behind what it sees, and a part in which something visible has changed is copied.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

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
    code_column,
    existing_blocks,
    metadata_columns,
    num_blocks,
    read_block,
    text_hash,
    vector_column,
)
from sal_runtime.gallery.store.file import read_counter

if TYPE_CHECKING:
    from sal_runtime.ranking.codes import CodedPart

VECTOR_MEMORY = 1 << 30
"""Bytes that the vectors of a gallery may take in memory, unless a caller says otherwise: 2,097,152 with d = 128."""
FEW_VALUES = 8
"""So many values are compared one by one, which is faster than to look them up."""
LOOKUP = 1 << 16
"""Places of a table of values, by their lowest bits; `np.isin` takes four times as long."""
PARTS_OF_A_THREAD = 16
"""Filters over fewer parts run in the calling thread."""
PART_BLOCKS = 32
PART_SLOTS = PART_BLOCKS * BLOCK_SLOTS


@dataclass(frozen=True)
class LoadedState:
    """A gallery as it was at one moment; its arrays are read-only.

    Attributes:
        ids: parts int64 `[n_i]` in the order of slots, `PART_SLOTS` each but the last.
        vectors: parts float32 `[n_i, d]`, cut in the same way.
        allowed: bool `[N]`, the slots that a filter lets through; None without a filter.
    """

    ids: tuple[AnyArray, ...]
    vectors: tuple[AnyArray, ...]
    allowed: BoolArray | None

    def ids_at(self, slots: Int64Array) -> Int64Array:
        """The ids int64 of slots, in the shape of `slots`."""
        return _values_at(self.ids, slots, np.empty(slots.shape, np.int64))

    def vectors_at(self, slots: Int64Array) -> Float32Array:
        """The vectors float32 `[..., d]` of slots int64 `[...]`."""
        dim = self.vectors[0].shape[1] if self.vectors else 0
        return _values_at(self.vectors, slots, np.empty((*slots.shape, dim), np.float32))


@dataclass(frozen=True)
class CodedState:
    """A gallery as it was at one moment, as codes. Later changes may alter the codes.

    Attributes:
        change: the change number. Another one later means that what was found by the codes may be wrong.
        parts: codes in the order of slots.
        allowed: bool `[N]`, the slots that a filter lets through; None without a filter.
    """

    change: int
    parts: tuple[CodedPart, ...]
    allowed: BoolArray | None

    def __len__(self) -> int:
        """Number of slots."""
        return sum(part.size for part in self.parts)


def _values_at(parts: Sequence[AnyArray], slots: Int64Array, found: AnyArray) -> AnyArray:
    """Fill `found` with the values of slots."""
    numbers, offsets = np.divmod(slots, PART_SLOTS)
    for number in set(numbers.ravel().tolist()):  # np.unique would import numpy.ma, 20 ms
        here = numbers == number
        found[here] = parts[number][offsets[here]]
    return found


class LoadedGallery:
    """The columns of one gallery in memory.

    Args:
        embedding_dim: length of a vector.
        vector_memory: bytes that vectors may take; if they would take more, codes are held and vectors are read.
    """

    def __init__(self, embedding_dim: int, vector_memory: int = VECTOR_MEMORY) -> None:
        self.embedding_dim = embedding_dim
        self._vectors = vector_column(embedding_dim)
        self._vector_memory = vector_memory
        self._columns: dict[int, LoadedColumn] = {}
        self._last_mask: tuple[tuple[int, str], BoolArray | None] | None = None

    def has_room(self, connection: sqlite3.Connection) -> bool:
        """Whether the vectors may be held in memory."""
        return read_counter(connection, "count") * self._vectors.value_bytes <= self._vector_memory

    def coded_state(self, connection: sqlite3.Connection, where: ItemFilter | None) -> CodedState:
        """As `state`, with codes in place of vectors, and without ids."""
        for column in (IDS, self._vectors):
            self._columns.pop(column.number, None)
        column = code_column(self._vectors.width)
        codes = self._columns.setdefault(column.number, LoadedCodes(column))
        assert isinstance(codes, LoadedCodes)
        self._reader(connection)(column)
        return CodedState(read_counter(connection, "change"), codes.coded(), self._mask(connection, where))

    def state(self, connection: sqlite3.Connection, where: ItemFilter | None) -> LoadedState:
        """The gallery as the transaction sees it; a column that filters ask for is loaded when one first does."""
        read = self._reader(connection)
        self._columns.pop(code_column(self._vectors.width).number, None)
        return LoadedState(read(IDS), read(self._vectors), self._mask(connection, where))

    def count(self, connection: sqlite3.Connection, where: ItemFilter) -> int:
        """Number of items that a filter lets through; loads no vectors."""
        if where.metadata.keys() - metadata_columns(connection).keys():
            return 0
        mask = self._mask(connection, where)
        return read_counter(connection, "count") if mask is None else int(np.count_nonzero(mask))

    def _mask(self, connection: sqlite3.Connection, where: ItemFilter | None) -> BoolArray | None:
        """The slots that a filter lets through; the last answer is kept, because filters are asked for again."""
        if not where:
            return None
        key = (read_counter(connection, "change"), repr(where))
        if self._last_mask is None or self._last_mask[0] != key:
            self._last_mask = key, filter_mask(connection, where, self._reader(connection))
        return self._last_mask[1]

    def _reader(self, connection: sqlite3.Connection) -> Callable[[Column], tuple[AnyArray, ...]]:
        """A function that gives the parts of a column as the transaction sees them."""
        change, count = read_counter(connection, "change"), read_counter(connection, "count")

        def read(column: Column) -> tuple[AnyArray, ...]:
            loaded = self._columns.setdefault(column.number, LoadedColumn(column))
            loaded.bring_up_to(connection, change, count)
            return loaded.parts()

        return read


def read_chunks(
    connection: sqlite3.Connection, embedding_dim: int, where: ItemFilter | None
) -> Iterator[tuple[Int64Array, Float32Array]]:
    """Ids and embeddings that a filter lets through, `PART_SLOTS` slots at a time, straight from the file."""
    count = read_counter(connection, "count")
    for first in range(0, num_blocks(count), PART_BLOCKS):
        blocks = range(first, min(first + PART_BLOCKS, num_blocks(count)))
        read = partial(_read_blocks, connection, blocks, count)
        ids, vectors = np.concatenate(read(IDS)), np.concatenate(read(vector_column(embedding_dim)))
        mask = filter_mask(connection, where, read) if where else None
        if mask is not None:
            ids, vectors = ids[mask], vectors[mask]
        yield ids, vectors


def _read_blocks(connection: sqlite3.Connection, blocks: range, count: int, column: Column) -> list[AnyArray]:
    """The values of blocks of a column that has `count` slots."""
    sizes = [min(BLOCK_SLOTS, count - number * BLOCK_SLOTS) for number in blocks]
    return [read_block(connection, column, number, 0, size) for number, size in zip(blocks, sizes, strict=True)]


class LoadedColumn:
    """The values of one column in memory."""

    def __init__(self, column: Column) -> None:
        self.column = column
        self._parts: list[AnyArray] = []
        self._filled: list[int] = []  # values of each part that a search may see
        self._blocks: set[int] = set()  # blocks that were read and may hold more than nulls
        self._change = -1
        self._views: tuple[AnyArray, ...] = ()

    def bring_up_to(self, connection: sqlite3.Connection, change: int, count: int) -> None:
        """Read what has changed since the last call, in a transaction at change number `change` with `count` items."""
        if change == self._change:
            return
        copied: set[int] = set()
        changed = changed_blocks(connection, self.column, self._change, count)
        # After a whole block of values was removed, items without a value may have been added there.
        vanished = {number for number in self._blocks if number * BLOCK_SLOTS < count}
        vanished -= existing_blocks(connection, self.column, count)
        for number in sorted(vanished.union(changed)):
            stop = min(BLOCK_SLOTS, count - number * BLOCK_SLOTS)
            self._put(number * BLOCK_SLOTS, read_block(connection, self.column, number, 0, stop), copied)
        self._blocks = (self._blocks - vanished).union(changed)
        parts = -(-count // PART_SLOTS)
        while len(self._parts) < parts:  # these hold only nulls
            self._append_part()
        del self._parts[parts:], self._filled[parts:]
        for number in range(parts):
            self._filled[number] = max(self._filled[number], min(PART_SLOTS, count - number * PART_SLOTS))
        views = [part[: count - number * PART_SLOTS] for number, part in enumerate(self._parts)]
        for view in views:
            view.flags.writeable = False
        self._change, self._views = change, tuple(views)

    def parts(self) -> tuple[AnyArray, ...]:
        """Read-only parts with all values, which later changes do not alter; the same tuple until there is a change."""
        return self._views

    def _put(self, first_slot: int, values: AnyArray, copied: set[int]) -> None:
        number, start = divmod(first_slot, PART_SLOTS)
        while len(self._parts) <= number:
            self._append_part()
        seen = max(0, min(len(values), self._filled[number] - start))
        same = np.array_equal(self._parts[number][start : start + seen], values[:seen], equal_nan=True)
        if number not in copied and not same:
            old = self._parts[number][: self._filled[number]]  # what is behind is not written yet
            self._parts[number], self._filled[number] = self._new_part(), 0
            self._parts[number][: len(old)] = old
            copied.add(number)
        if number in copied:
            self._parts[number][start : start + len(values)] = values
        else:
            self._parts[number][start + seen : start + len(values)] = values[seen:]

    def _append_part(self) -> None:
        self._parts.append(self._new_part())
        self._filled.append(0)

    def _new_part(self) -> AnyArray:
        # a required column needs no nulls, and memory that nobody has written to takes no room
        shape = PART_SLOTS if self.column.width == 1 else (PART_SLOTS, self.column.width)
        return np.empty(shape, self.column.dtype) if self.column.required else self.column.empty(PART_SLOTS)


class LoadedCodes(LoadedColumn):
    """The codes of vectors in memory, turned as `CodedPart` wants them, and changed where they are.

    So they never take twice the memory. A search compares the change number afterwards.
    """

    def __init__(self, column: Column) -> None:
        super().__init__(column)
        self._coded: list[CodedPart] = []
        self._written: set[int] = set()  # parts that `_coded` lacks, or knows in an older state

    def coded(self) -> tuple[CodedPart, ...]:
        """The parts with all codes."""
        from sal_runtime.ranking.codes import CodedPart

        views = self.parts()
        for number, view in enumerate(views):
            known = self._coded[number : number + 1]
            if number in self._written or not known or known[0].size != len(view):
                self._coded[number : number + 1] = [CodedPart.of(self._parts[number].T, len(view))]
        del self._coded[len(views) :]
        self._written.clear()
        return tuple(self._coded)

    def _put(self, first_slot: int, values: AnyArray, copied: set[int]) -> None:
        number, start = divmod(first_slot, PART_SLOTS)
        while len(self._parts) <= number:
            self._append_part()
        self._parts[number][start : start + len(values)] = values
        self._written.add(number)

    def _new_part(self) -> AnyArray:
        return np.empty((self.column.width, PART_SLOTS), self.column.dtype).T


def filter_mask(
    connection: sqlite3.Connection, where: ItemFilter, read: Callable[[Column], Sequence[AnyArray]]
) -> BoolArray | None:
    """The slots that a filter lets through, bool `[N]`; None for all. `read` returns the parts of a column."""
    keys = metadata_columns(connection)
    texts = [(CAMERA, where.cameras, False), (TRACK, where.tracks, False)]
    # a key that no item has has no column: like a column of nulls, it matches nothing
    texts += [(keys.get(key, Column(-1)), values, False) for key, values in where.metadata.items()]
    texts += [(keys[key], values, True) for key, values in where.without_metadata.items() if key in keys]
    masks = [
        _mask_of(is_one_of(list(map(text_hash, values)), negated), read(column))
        for column, values, negated in texts
        if values
    ]
    if where.captured_from is not None or where.captured_until is not None:
        start = -np.inf if where.captured_from is None else where.captured_from
        stop = np.inf if where.captured_until is None else where.captured_until
        masks.append(_mask_of(lambda part: (part >= start) & (part < stop), read(CAPTURED_AT)))
    return reduce(np.logical_and, masks) if masks else None


def is_one_of(hashes: Sequence[int], negated: bool) -> Callable[[AnyArray], BoolArray]:
    """A function that says of each text hash int64 `[n]` whether it is one of some, or is not."""
    wanted = np.array(hashes, np.int64)
    places = wanted % LOOKUP
    if len(wanted) <= FEW_VALUES:

        def pick(part: AnyArray) -> BoolArray:
            return np.asarray(reduce(np.logical_or, (part == value for value in wanted)))
    elif len(set(places.tolist())) < len(set(hashes)):

        def pick(part: AnyArray) -> BoolArray:
            return np.isin(part, wanted)
    else:
        table = np.arange(1, LOOKUP + 1)  # no hash is equal to what is in its place, ...
        table[places] = wanted  # ... but these are

        def pick(part: AnyArray) -> BoolArray:
            return np.asarray(table[part & (LOOKUP - 1)] == part)

    return (lambda part: ~pick(part)) if negated else pick


def _mask_of(pick: Callable[[AnyArray], BoolArray], parts: Sequence[AnyArray]) -> BoolArray:
    """The values of all parts that are picked; on all cores where it is worth it."""
    ends = list(accumulate((len(part) for part in parts), initial=0))
    mask = np.empty(ends[-1], np.bool_)

    threads = (os.cpu_count() or 1) if len(parts) >= PARTS_OF_A_THREAD else 1

    def fill(first: int) -> None:
        for number in range(first, len(parts), threads):
            mask[ends[number] : ends[number + 1]] = pick(parts[number])

    if threads == 1:
        fill(0)
        return mask
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads, "sal-filter") as pool:
        list(pool.map(fill, range(threads)))
    return mask
