"""Finding damage in a gallery file."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import numpy as np

from sal_runtime.arrays import AnyArray, BoolArray
from sal_runtime.gallery.store.columns import (
    BLOCK_SLOTS,
    CAMERA,
    CAPTURED_AT,
    IDS,
    TRACK,
    Column,
    all_columns,
    code_column,
    metadata_columns,
    read_block,
    text_hash,
)
from sal_runtime.gallery.store.file import read_counter
from sal_runtime.gallery.store.rows import COLUMNS, row_checksum
from sal_runtime.ranking.codes import fit

MAX_PROBLEMS = 20
"""Problems listed; a damaged file would otherwise name every item."""


def find_problems(connection: sqlite3.Connection, embedding_dim: int) -> list[str]:
    """Find damaged pages, items without vector, vectors without item, wrong checksums, and items that filters miss.

    Expects an open transaction. Returns one line for people per problem.
    """
    try:
        rows = connection.execute(f"PRAGMA integrity_check({MAX_PROBLEMS})").fetchall()
        damaged = [f"damaged file: {text}" for (text,) in rows if text != "ok"]
        return damaged or _mismatches(connection, embedding_dim)
    except sqlite3.DatabaseError as error:
        return [f"damaged file: {error}"]


def _mismatches(connection: sqlite3.Connection, embedding_dim: int) -> list[str]:
    count = read_counter(connection, "count")
    keys = metadata_columns(connection)
    columns = all_columns(connection, embedding_dim)
    query = f"SELECT slot, id, checksum, row_checksum, {COLUMNS} FROM item ORDER BY slot"
    wrong = [
        f"damaged file: block {block_id} lacks its data or the number of its last change"
        for (block_id,) in connection.execute(
            "SELECT id FROM block WHERE id NOT IN (SELECT id FROM block_change) "
            "UNION ALL SELECT id FROM block_change WHERE id NOT IN (SELECT id FROM block)"
        )
    ]
    seen = 0
    for number, rows in groupby(connection.execute(query), key=lambda row: row[0] // BLOCK_SLOTS):
        slots = max(0, min(BLOCK_SLOTS, count - number * BLOCK_SLOTS)) if number >= 0 else 0
        block = {column: read_block(connection, column, number, 0, slots) for column in columns if slots}
        coded = fit(block[code_column(embedding_dim)], block[columns[1]]) if slots else np.empty(0, np.bool_)
        for row in rows:
            seen += 1
            wrong += _wrong_in_row(row, coded, block, columns[1], keys)
    if seen != count:
        wrong.insert(0, f"{count} vectors for {seen} items")
    return wrong if len(wrong) <= MAX_PROBLEMS else [*wrong[:MAX_PROBLEMS], f"and {len(wrong) - MAX_PROBLEMS} more"]


def _wrong_in_row(
    row: tuple[Any, ...], coded: BoolArray, block: dict[Column, AnyArray], vectors: Column, keys: dict[str, Column]
) -> Iterator[str]:
    slot, item_id, checksum, row_sum, *values = row
    uri, _, _, _, camera, captured_at, track, _, metadata = values
    if row_checksum(values) != row_sum:
        yield f"{uri}: what is known of it has changed since it was written"
        return
    offset = slot % BLOCK_SLOTS
    if offset >= len(coded) or block[IDS][offset] != item_id:
        yield f"{uri}: has no vector of its own"
        return
    if zlib.crc32(block[vectors][offset].tobytes()) != checksum:
        yield f"{uri}: its vector has changed since it was added"
    elif not coded[offset]:
        yield f"{uri}: its codes are not those of its vector"
    texts = json.loads(metadata) if metadata else {}
    expected = {CAMERA: camera, TRACK: track} | {column: texts.get(key) for key, column in keys.items()}
    found_by_text = all(block[column][offset] == text_hash(text) for column, text in expected.items())
    time = np.nan if captured_at is None else captured_at
    if not found_by_text or not np.array_equal(block[CAPTURED_AT][offset], time, equal_nan=True) or texts.keys() - keys:
        yield f"{uri}: filters do not see what is known of it"
