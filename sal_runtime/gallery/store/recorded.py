"""What is recorded of the images of a gallery file, counted in its columns: cameras, tracks, times and metadata.

A column is 8 bytes an item, so a million items are counted without reading their rows. All functions expect an open
transaction.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

import numpy as np

from sal_runtime.arrays import AnyArray
from sal_runtime.gallery.items import ItemFilter
from sal_runtime.gallery.store.columns import (
    CAMERA,
    CAPTURED_AT,
    IDS,
    TRACK,
    Column,
    metadata_columns,
    read_values,
    text_hash,
)
from sal_runtime.gallery.store.file import read_counter
from sal_runtime.gallery.store.rows import read_items

MOST_NAMED = 20
"""Different values of a field that are read and named; of fields with more, only these."""


@dataclass(frozen=True)
class FieldValues:
    """The values that a field of the items has.

    Attributes:
        distinct: number of different values.
        counts: number of images of each value, the most frequent first; at most `MOST_NAMED` of them.
    """

    distinct: int
    counts: dict[str, int]


@dataclass(frozen=True)
class Recorded:
    """What is recorded of the images of a gallery.

    Attributes:
        cameras: their names.
        tracks: number of tracks; the same track of two cameras counts twice.
        captured: first and last moment of capture, seconds since 1970; None if no image has one.
        metadata: values of each metadata key.
    """

    cameras: FieldValues
    tracks: int
    captured: tuple[float, float] | None
    metadata: dict[str, FieldValues]

    def to_json(self) -> dict[str, Any]:
        """A JSON-serialisable form."""
        metadata = {key: vars(values) for key, values in self.metadata.items()}
        return {**vars(self), "cameras": vars(self.cameras), "metadata": metadata}


def read_recorded(connection: sqlite3.Connection) -> Recorded:
    """Count what is recorded."""
    cameras, tracks, times = (_read_column(connection, column) for column in (CAMERA, TRACK, CAPTURED_AT))
    known = times[~np.isnan(times)]
    keys = metadata_columns(connection)
    return Recorded(
        cameras=_count(connection, cameras),
        tracks=len(np.unique(np.stack([cameras, tracks], axis=1)[tracks != 0], axis=0)),
        captured=(float(known.min()), float(known.max())) if len(known) else None,
        metadata={key: _count(connection, _read_column(connection, keys[key])) for key in sorted(keys)},
    )


def unknown_values(connection: sqlite3.Connection, where: ItemFilter) -> list[str]:
    """The cameras, tracks, metadata keys and values of a filter that no item has, a line each with those there are."""
    keys = metadata_columns(connection)
    named = where.metadata.keys() | where.without_metadata.keys()
    lines = [f"no metadata {key!r}; {_there_are(sorted(keys), len(keys))}" for key in sorted(named - keys.keys())]
    fields = [("camera", CAMERA, where.cameras), ("track", TRACK, where.tracks)]
    for metadata in (where.metadata, where.without_metadata):
        fields += [(key, keys[key], texts) for key, texts in metadata.items() if key in keys]
    for name, column, texts in fields:
        values = _read_column(connection, column) if texts else column.empty(0)
        missing = [text for text in texts if not (values == text_hash(text)).any()]
        if missing:
            known = _count(connection, values)
            there_are = _there_are(sorted(known.counts), known.distinct)
            lines.append(f"no {name} {', '.join(map(repr, missing))}; {there_are}")
    return lines


def _there_are(names: list[str], distinct: int) -> str:
    if not names:
        return "no image has one"
    more = f" and {distinct - len(names):,} more" if distinct > len(names) else ""
    return f"there are: {', '.join(names)}{more}"


def _read_column(connection: sqlite3.Connection, column: Column) -> AnyArray:
    return read_values(connection, column, np.arange(read_counter(connection, "count"), dtype=np.int64))


def _count(connection: sqlite3.Connection, hashes: AnyArray) -> FieldValues:
    """Count the text hashes int64 `[N]` of a column, and read the texts of the most frequent from one item each."""
    values, slots, counts = np.unique(hashes, return_index=True, return_counts=True)
    values, slots, counts = values[values != 0], slots[values != 0], counts[values != 0]
    named = {}
    for place in np.argsort(-counts, kind="stable")[:MOST_NAMED].tolist():
        (item,) = read_items(connection, read_values(connection, IDS, slots[place : place + 1]).tolist())
        texts = [] if item is None else [item.camera, item.track, *item.metadata.values()]
        text = next((text for text in texts if text is not None and text_hash(text) == values[place]), None)
        if text is None:
            raise sqlite3.DatabaseError(f"slot {slots[place]} has another value than its item")
        named[text] = int(counts[place])
    return FieldValues(len(slots), named)
