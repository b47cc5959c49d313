"""Adding, changing and removing items: their rows, and their values in every column.

All functions expect an open transaction and count one change.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from sal_runtime.arrays import Float32Array, Int64Array
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.store import columns
from sal_runtime.gallery.store.file import read_counter, write_counter
from sal_runtime.gallery.store.rows import describe_items, find_slots, insert_items, replace_items
from sal_runtime.gallery.store.tombstones import add_tombstones, lift_tombstones
from sal_runtime.ranking.codes import encode

GENERATION_KEYS = ("fingerprint", "embedding_dim", "bundle_name", "bundle_path", "precision", "count", "next_id")
"""The entries of `meta` that describe the embeddings; the others describe the gallery."""


def add_items(connection: sqlite3.Connection, items: Mapping[str, GalleryItem], vectors: Float32Array) -> None:
    """Add n items by their uris, or replace those whose uris are known; vectors float32 `[n, d]` in the same order.

    Their contents are held back no more.
    """
    change, count = _next_change(connection), read_counter(connection, "count")
    known = find_slots(connection, list(items))
    ordered = sorted(items, key=lambda uri: known.get(uri, count))  # by slot; new items last, in the order given
    row_of = {uri: row for row, uri in enumerate(items)}
    sorted_vectors = vectors[[row_of[uri] for uri in ordered]]
    sorted_items = [items[uri] for uri in ordered]
    checksums = [zlib.crc32(vector.tobytes()) for vector in sorted_vectors]
    old, new = len(known), len(ordered) - len(known)
    slots = np.array([*(known[uri] for uri in ordered[:old]), *range(count, count + new)], np.int64)
    replace_items(connection, sorted_items[:old], checksums[:old])
    ids = insert_items(connection, sorted_items[old:], checksums[old:], count)
    columns.write_values(connection, columns.IDS, slots[old:], np.array(ids, np.int64), change)
    columns.write_values(connection, columns.vector_column(vectors.shape[1]), slots, sorted_vectors, change)
    columns.write_values(connection, columns.code_column(vectors.shape[1]), slots, encode(sorted_vectors), change)
    _write_descriptions(connection, slots, sorted_items, change)
    write_counter(connection, "count", count + len(ids))
    lift_tombstones(connection, (item.content_hash for item in sorted_items))


def update_items(connection: sqlite3.Connection, items: Iterable[GalleryItem]) -> None:
    """Replace what is known of items but keep their ids, vectors and times of adding; unknown uris are ignored."""
    latest = {item.uri: item for item in items}
    slots = find_slots(connection, list(latest))
    ordered = sorted(slots, key=lambda uri: slots[uri])
    known = [latest[uri] for uri in ordered]
    describe_items(connection, known)
    places = np.array([slots[uri] for uri in ordered], np.int64)
    _write_descriptions(connection, places, known, _next_change(connection))


def remove_items(
    connection: sqlite3.Connection,
    condition: str,
    values: Sequence[Sequence[object]],
    embedding_dim: int,
    *,
    may_return: bool,
) -> list[str]:
    """Remove the items whose rows fulfil an SQL condition with one of the lists of values; returns their uris.

    Unless they may return, each leaves a tombstone.
    """
    query = f"SELECT slot, uri, content_hash FROM item WHERE {condition}"
    found = {slot: known for row in values for slot, *known in connection.execute(query, row)}
    if not found:
        return []
    count, change = read_counter(connection, "count"), _next_change(connection)
    slots = np.array(sorted(found), np.int64)
    gone = columns.read_values(connection, columns.IDS, slots).tolist()
    connection.executemany("DELETE FROM item WHERE id = ?", ((item_id,) for item_id in gone))
    holes = columns.remove_slots(connection, columns.all_columns(connection, embedding_dim), slots, count, change)
    moved = columns.read_values(connection, columns.IDS, holes).tolist()
    connection.executemany("UPDATE item SET slot = ? WHERE id = ?", zip(holes.tolist(), moved, strict=True))
    write_counter(connection, "count", count - len(slots))
    columns.forget_empty_metadata(connection)
    if not may_return:
        add_tombstones(connection, (content_hash for _, content_hash in found.values()))
    return [uri for uri, _ in found.values()]


def take_generation(connection: sqlite3.Connection) -> None:
    """Replace all items, columns and `GENERATION_KEYS` by those of the database attached as `generation`.

    Items keep their times of adding. An item that the generation lacks is removed.
    """
    change = _next_change(connection)
    connection.execute("UPDATE generation.block_change SET change = ?", (change,))
    connection.execute(
        "UPDATE generation.item SET added_at = old.added_at FROM main.item AS old WHERE old.uri = generation.item.uri"
    )
    for table in ("item", "block", "block_change", "metadata_key"):
        connection.execute(f"DELETE FROM main.{table}")
        connection.execute(f"INSERT INTO main.{table} SELECT * FROM generation.{table}")
    keys = ", ".join("?" * len(GENERATION_KEYS))
    connection.execute(
        f"INSERT OR REPLACE INTO main.meta SELECT * FROM generation.meta WHERE key IN ({keys})", GENERATION_KEYS
    )


def _next_change(connection: sqlite3.Connection) -> int:
    change = read_counter(connection, "change") + 1
    write_counter(connection, "change", change)
    return change


def _write_descriptions(
    connection: sqlite3.Connection, slots: Int64Array, items: Sequence[GalleryItem], change: int
) -> None:
    """Write what filters ask for."""
    times = [np.nan if item.captured_at is None else item.captured_at for item in items]
    columns.write_values(connection, columns.CAPTURED_AT, slots, np.array(times, np.float64), change)
    texts = {columns.CAMERA: [item.camera for item in items], columns.TRACK: [item.track for item in items]}
    keys = columns.ensure_metadata_columns(connection, {key for item in items for key in item.metadata})
    texts |= {column: [item.metadata.get(key) for item in items] for key, column in keys.items()}
    for column, values in texts.items():
        hashes = np.array([columns.text_hash(text) for text in values], np.int64)
        columns.write_values(connection, column, slots, hashes, change)
