"""The items of a gallery file: what is known of each image, as rows of a table.

All functions expect an open transaction.
"""

from __future__ import annotations

import json
import math
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sal_runtime.arrays import batched
from sal_runtime.errors import InputError
from sal_runtime.gallery.items import SECONDS, GalleryItem, ItemFilter
from sal_runtime.gallery.store.file import read_counter, write_counter

COLUMNS = "uri, content_hash, size, mtime_ns, camera, captured_at, track, box, metadata"
_DESCRIPTION = COLUMNS.split(", ")[1:]
_ASSIGNMENTS = ", ".join(f"{column} = ?" for column in [*_DESCRIPTION, "row_checksum"])
_INSERT = f"""
INSERT INTO item ({COLUMNS}, row_checksum, id, slot, checksum, added_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
VARIABLES = 500
"""Values in one statement; SQLite limits their number."""


def find_slots(connection: sqlite3.Connection, uris: Sequence[str]) -> dict[str, int]:
    """The slots of the items with these uris, by uri; unknown uris are left out."""
    return dict(_select(connection, "uri, slot", uris))


def find_items(connection: sqlite3.Connection, uris: Sequence[str]) -> Iterator[GalleryItem]:
    """The items with these uris, in any order; unknown uris are left out."""
    return map(_item_from_row, _select(connection, COLUMNS, uris))


def read_slots(connection: sqlite3.Connection, ids: Iterable[int]) -> list[int | None]:
    """The slot of each id, in the same order; None for an unknown id."""
    rows = (_read(connection, "slot", item_id) for item_id in ids)
    return [None if row is None else int(row[0]) for row in rows]


def read_items(connection: sqlite3.Connection, ids: Iterable[int]) -> list[GalleryItem | None]:
    """The item of each id, in the same order; None for an unknown id."""
    rows = (_read(connection, COLUMNS, item_id) for item_id in ids)
    return [None if row is None else _item_from_row(row) for row in rows]


def read_all_items(connection: sqlite3.Connection, text: str, values: Sequence[object]) -> Iterator[GalleryItem]:
    """Every item that fulfils a `condition`, in the order of the uris."""
    return map(_item_from_row, connection.execute(f"SELECT {COLUMNS} FROM item WHERE {text} ORDER BY uri", values))


def insert_items(
    connection: sqlite3.Connection, items: Sequence[GalleryItem], checksums: Sequence[int], first_slot: int
) -> range:
    """Insert items with new uris into the slots from `first_slot` on; checksums are crc32 of their vectors.

    Returns their ids.
    """
    first_id, now = read_counter(connection, "next_id"), time.time()
    rows = [
        (*_values(item), first_id + row, first_slot + row, checksum, now)
        for row, (item, checksum) in enumerate(zip(items, checksums, strict=True))
    ]
    connection.executemany(_INSERT, rows)
    write_counter(connection, "next_id", first_id + len(items))
    return range(first_id, first_id + len(items))


def replace_items(connection: sqlite3.Connection, items: Sequence[GalleryItem], checksums: Sequence[int]) -> None:
    """Replace the items with these uris; they keep their ids and slots."""
    now = time.time()
    rows = [(*_values(item)[1:], checksum, now, item.uri) for item, checksum in zip(items, checksums, strict=True)]
    connection.executemany(f"UPDATE item SET {_ASSIGNMENTS}, checksum = ?, added_at = ? WHERE uri = ?", rows)


def describe_items(connection: sqlite3.Connection, items: Iterable[GalleryItem]) -> None:
    """As `replace_items`, but the items keep their vectors and times of adding too."""
    rows = [(*_values(item)[1:], item.uri) for item in items]
    connection.executemany(f"UPDATE item SET {_ASSIGNMENTS} WHERE uri = ?", rows)


def condition(where: ItemFilter | None, before: float | None = None) -> tuple[str, list[object]]:
    """A filter in SQL, and for items captured (added, where that is not known) before a moment: text and values."""
    parts, values = ["1"], list[object]()
    if before is not None:
        parts.append("coalesce(captured_at, added_at) < ?")
        values.append(before)
    if where is None:
        return parts[-1], values
    for column, texts in (("camera", where.cameras), ("track", where.tracks)):
        if texts:
            parts.append(f"{column} IN ({_marks(texts)})")
            values += texts
    for sign, bound in ((">=", where.captured_from), ("<", where.captured_until)):
        if bound is not None:
            parts.append(f"captured_at {sign} ?")
            values.append(bound)
    for negation, metadata in (("", where.metadata), ("NOT ", where.without_metadata)):
        for key, texts in metadata.items():
            is_one = f"EXISTS (SELECT 1 FROM json_each(metadata) WHERE key = ? AND value IN ({_marks(texts)}))"
            parts.append(negation + is_one)
            values += [key, *texts]
    return " AND ".join(parts), values


def row_checksum(values: Sequence[object]) -> int:
    """crc32 of what is known of an item: values in the order of `COLUMNS`, as SQLite returns them."""
    return zlib.crc32(repr(tuple(values)).encode(errors="surrogatepass"))


def _select(connection: sqlite3.Connection, columns: str, uris: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    """Columns of the items with these uris, in any order."""
    for batch in batched(uris, VARIABLES):
        yield from connection.execute(f"SELECT {columns} FROM item WHERE uri IN ({_marks(batch)})", batch)


def _read(connection: sqlite3.Connection, columns: str, item_id: int) -> tuple[Any, ...] | None:
    """Columns of one item, if it exists."""
    row: tuple[Any, ...] | None = connection.execute(
        f"SELECT {columns} FROM item WHERE id = ?", (int(item_id),)
    ).fetchone()
    return row


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _values(item: GalleryItem) -> tuple[object, ...]:
    """The values of an item in the order of `COLUMNS`, then their checksum."""
    box = None if item.box is None else json.dumps(item.box)
    metadata = json.dumps(dict(item.metadata)) if item.metadata else None
    # SQLite has no NaN, and keeps a whole number in this column as a float
    try:
        captured_at = None if item.captured_at is None or math.isnan(item.captured_at) else float(item.captured_at)
    except TypeError as error:
        raise InputError(f"{item.uri}: captured_at is {item.captured_at!r}, expected {SECONDS}") from error
    values = (
        item.uri, item.content_hash, item.size, item.mtime_ns, item.camera, captured_at, item.track, box, metadata
    )  # fmt: skip
    return (*values, row_checksum(values))


def _item_from_row(row: tuple[Any, ...]) -> GalleryItem:
    uri, content_hash, size, mtime_ns, camera, captured_at, track, box, metadata = row
    try:
        corners = None if box is None else tuple(json.loads(box))
        known = {} if metadata is None else json.loads(metadata)
    except (TypeError, ValueError) as error:
        raise sqlite3.DatabaseError(f"the description of {uri!r} cannot be read") from error
    return GalleryItem(uri, content_hash, size, mtime_ns, camera, captured_at, track, corners, known)
