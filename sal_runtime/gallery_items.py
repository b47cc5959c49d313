"""The items of a gallery file: what is known of each image, as rows of a table.

All functions expect an open transaction.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_COLUMNS = "uri, content_hash, size, mtime_ns, camera, captured_at, track, box"
_DESCRIPTION = _COLUMNS.split(", ")[1:]
_ASSIGNMENTS = ", ".join(f"{column} = ?" for column in _DESCRIPTION)
_UPSERT = f"""
INSERT INTO item ({_COLUMNS}, slot, checksum, added_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (uri) DO UPDATE SET
    {", ".join(f"{column} = excluded.{column}" for column in (*_DESCRIPTION, "checksum", "added_at"))}
RETURNING id, slot
"""


@dataclass(frozen=True)
class GalleryItem:
    """One image of a person, as the gallery knows it.

    Attributes:
        uri: where the image is; unique in the gallery. Relative to the folder in a gallery that follows a folder.
        content_hash: sha256 (hex) of the encoded image file.
        size: of the file, bytes.
        mtime_ns: of the file, nanoseconds since 1970.
        camera: that saw the person.
        captured_at: seconds since 1970, UTC.
        track: of the person within the camera.
        box: of the person in the camera's image: left, top, width, height, pixels.
        metadata: anything else that filters may ask for, such as `{"zone": "north"}`.
    """

    uri: str
    content_hash: str | None = None
    size: int | None = None
    mtime_ns: int | None = None
    camera: str | None = None
    captured_at: float | None = None
    track: str | None = None
    box: tuple[int, int, int, int] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def count_items(connection: sqlite3.Connection) -> int:
    """Number of items; kept beside them, because SQLite would walk through all of them to count."""
    return int(connection.execute("SELECT value FROM meta WHERE key = 'count'").fetchone()[0])


def set_count(connection: sqlite3.Connection, count: int) -> None:
    """Note the number of items."""
    connection.execute("UPDATE meta SET value = ? WHERE key = 'count'", (str(count),))


def write_item(connection: sqlite3.Connection, item: GalleryItem, checksum: int, free_slot: int) -> tuple[int, int]:
    """Insert an item, or replace the one of the same uri, which keeps its id and slot.

    Args:
        connection: of the gallery.
        item: to write.
        checksum: crc32 of its vector.
        free_slot: for the vector of a new item.

    Returns:
        The id and the slot of the item.
    """
    values = (*_values(item), free_slot, checksum, time.time())
    row = connection.execute(_UPSERT, values).fetchone()
    return int(row[0]), int(row[1])


def update_items(connection: sqlite3.Connection, items: Iterable[GalleryItem]) -> None:
    """Replace all but id, vector and time of adding of the items whose uris are known."""
    rows = [(*_values(item)[1:], item.uri) for item in items]
    connection.executemany(f"UPDATE item SET {_ASSIGNMENTS} WHERE uri = ?", rows)


def read_items(connection: sqlite3.Connection, ids: Iterable[int]) -> list[GalleryItem | None]:
    """The items with these ids, in their order; None for what is not there."""
    found: list[GalleryItem | None] = []
    for item_id in ids:
        row = connection.execute(f"SELECT {_COLUMNS} FROM item WHERE id = ?", (int(item_id),)).fetchone()
        found.append(None if row is None else _item_from_row(row))
    return found


def read_all_items(connection: sqlite3.Connection) -> list[GalleryItem]:
    """Every item, in the order of the uris."""
    return [_item_from_row(row) for row in connection.execute(f"SELECT {_COLUMNS} FROM item ORDER BY uri")]


def _values(item: GalleryItem) -> tuple[object, ...]:
    """In the order of `_COLUMNS`."""
    box = None if item.box is None else json.dumps(item.box)
    return (
        item.uri, item.content_hash, item.size, item.mtime_ns, item.camera, item.captured_at, item.track, box
    )  # fmt: skip


def _item_from_row(row: tuple[Any, ...]) -> GalleryItem:
    uri, content_hash, size, mtime_ns, camera, captured_at, track, box = row
    corners = None if box is None else tuple(json.loads(box))
    return GalleryItem(uri, content_hash, size, mtime_ns, camera, captured_at, track, corners)
