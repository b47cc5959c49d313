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

from sal_runtime.gallery.items import GalleryItem, ItemFilter
from sal_runtime.gallery.store.file import read_counter, write_counter

COLUMNS = "uri, content_hash, size, mtime_ns, camera, captured_at, track, box, metadata"
_DESCRIPTION = COLUMNS.split(", ")[1:]
_ASSIGNMENTS = ", ".join(f"{column} = ?" for column in [*_DESCRIPTION, "row_checksum"])
_INSERT = f"""
INSERT INTO item ({COLUMNS}, row_checksum, id, slot, checksum, added_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
VARIABLES = 500
"""Values in one statement; SQLite takes a limited number."""


def find_slots(connection: sqlite3.Connection, uris: Sequence[str]) -> dict[str, int]:
    """The slots of the items with these uris, by uri; unknown ones are left out."""
    found: dict[str, int] = {}
    for start in range(0, len(uris), VARIABLES):
        some = uris[start : start + VARIABLES]
        marks = ", ".join("?" * len(some))
        found |= dict(connection.execute(f"SELECT uri, slot FROM item WHERE uri IN ({marks})", some))
    return found


def insert_items(
    connection: sqlite3.Connection, items: Sequence[GalleryItem], checksums: Sequence[int], first_slot: int
) -> range:
    """Insert items whose uris are new, into the slots from `first_slot` on.

    Args:
        connection: of the gallery.
        items: n of them.
        checksums: crc32 of their vectors.
        first_slot: of the first one.

    Returns:
        Their ids.
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
    """Replace items whose uris are known; they keep their ids and slots."""
    now = time.time()
    rows = [(*_values(item)[1:], checksum, now, item.uri) for item, checksum in zip(items, checksums, strict=True)]
    connection.executemany(f"UPDATE item SET {_ASSIGNMENTS}, checksum = ?, added_at = ? WHERE uri = ?", rows)


def describe_items(connection: sqlite3.Connection, items: Iterable[GalleryItem]) -> None:
    """Replace all but id, vector and time of adding of the items whose uris are known."""
    rows = [(*_values(item)[1:], item.uri) for item in items]
    connection.executemany(f"UPDATE item SET {_ASSIGNMENTS} WHERE uri = ?", rows)


def read_items(connection: sqlite3.Connection, ids: Iterable[int]) -> list[GalleryItem | None]:
    """The items with these ids, in their order; None for what is not there."""
    found: list[GalleryItem | None] = []
    for item_id in ids:
        row = connection.execute(f"SELECT {COLUMNS} FROM item WHERE id = ?", (int(item_id),)).fetchone()
        found.append(None if row is None else _item_from_row(row))
    return found


def find_items(connection: sqlite3.Connection, uris: Sequence[str]) -> Iterator[GalleryItem]:
    """The items with these uris, in any order; unknown ones are left out."""
    for start in range(0, len(uris), VARIABLES):
        some = uris[start : start + VARIABLES]
        for row in connection.execute(f"SELECT {COLUMNS} FROM item WHERE uri IN ({_marks(some)})", some):
            yield _item_from_row(row)


def read_slots(connection: sqlite3.Connection, ids: Iterable[int]) -> list[int | None]:
    """The slots of the items with these ids, in their order; None for what is not there."""
    found: list[int | None] = []
    for item_id in ids:
        row = connection.execute("SELECT slot FROM item WHERE id = ?", (int(item_id),)).fetchone()
        found.append(None if row is None else int(row[0]))
    return found


def read_all_items(connection: sqlite3.Connection) -> Iterator[GalleryItem]:
    """Every item, in the order of the uris."""
    for row in connection.execute(f"SELECT {COLUMNS} FROM item ORDER BY uri"):
        yield _item_from_row(row)


def condition(where: ItemFilter) -> tuple[str, list[object]]:
    """A filter in SQL: a condition on rows of `item`, and its values."""
    parts, values = ["1"], list[object]()
    texts = [("camera", where.cameras), ("track", where.tracks)]
    for column, allowed in texts:
        if allowed:
            parts.append(f"{column} IN ({_marks(allowed)})")
            values += allowed
    for sign, bound in ((">=", where.captured_from), ("<", where.captured_until)):
        if bound is not None:
            parts.append(f"captured_at {sign} ?")
            values.append(bound)
    for key, allowed in where.metadata.items():
        parts.append(f"EXISTS (SELECT 1 FROM json_each(metadata) WHERE key = ? AND value IN ({_marks(allowed)}))")
        values += [key, *allowed]
    return " AND ".join(parts), values


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def row_checksum(values: Sequence[object]) -> int:
    """crc32 of what is known of an item, values in the order of `COLUMNS` as SQLite gives them."""
    return zlib.crc32(repr(tuple(values)).encode(errors="surrogatepass"))


def _values(item: GalleryItem) -> tuple[object, ...]:
    """In the order of `COLUMNS`, and their checksum."""
    box = None if item.box is None else json.dumps(item.box)
    metadata = json.dumps(dict(item.metadata)) if item.metadata else None
    # SQLite has no NaN, and keeps a whole number in this column as a float
    captured_at = None if item.captured_at is None or math.isnan(item.captured_at) else float(item.captured_at)
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
        raise sqlite3.DatabaseError(f"what is known of {uri!r} cannot be read") from error
    return GalleryItem(uri, content_hash, size, mtime_ns, camera, captured_at, track, corners, known)
