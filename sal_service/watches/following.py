"""Which images a gallery file was given since somebody looked last."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sal_runtime.arrays import Float32Array
from sal_runtime.bundle.bundle import Bundle
from sal_runtime.errors import ReindexedError
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.store.columns import read_values, vector_column
from sal_runtime.gallery.store.connect import connect_current
from sal_runtime.gallery.store.file import explained, snapshot
from sal_runtime.gallery.store.rows import read_items, read_slots


@dataclass(frozen=True)
class Cursor:
    """How far the images of a gallery were looked at.

    Ids only grow, except that a gallery that is encoded anew gives other ones; but then an image keeps the moment at
    which it was added. An image that is replaced keeps its id and gets a new moment.

    Attributes:
        item_id: the greatest id that was looked at.
        added_at: the latest moment of adding that was looked at, seconds since 1970.
        fingerprint: of the bundle that made the vectors then.
    """

    item_id: int
    added_at: float
    fingerprint: str


def end_of(path: Path, bundle: Bundle) -> Cursor:
    """The cursor behind everything that a gallery holds now."""
    with _reading(path, bundle) as connection:
        row = connection.execute("SELECT id, added_at FROM item ORDER BY id DESC LIMIT 1").fetchone()
    item_id, added_at = row or (0, 0.0)
    return Cursor(item_id, added_at, bundle.fingerprint)


def added_since(path: Path, bundle: Bundle, cursor: Cursor, *, thorough: bool) -> tuple[list[int], Cursor]:
    """The ids of the images that a gallery was given since, ascending, and the cursor behind them.

    Args:
        path: of the gallery file, which is opened anew, so that nobody has to wait.
        bundle: the one that made the vectors.
        cursor: how far they were looked at. Where that was before the gallery was encoded anew, moments of adding tell
            what is new.
        thorough: look for replaced images, too. This reads all rows.

    Raises:
        ReindexedError: the vectors in the file are of another bundle.
        SalError: the file cannot be read.
    """
    same = cursor.fingerprint == bundle.fingerprint
    is_new = " OR ".join([*["id > :item_id"] * same, *["added_at > :added_at"] * (thorough or not same)])
    with _reading(path, bundle) as connection:
        rows = connection.execute(f"SELECT id, added_at FROM item WHERE {is_new} ORDER BY id", vars(cursor)).fetchall()
        (newest,) = connection.execute("SELECT coalesce(max(id), 0) FROM item").fetchone()
    added_at = max((moment for _, moment in rows), default=cursor.added_at)
    behind = Cursor(max(newest, cursor.item_id) if same else newest, added_at, bundle.fingerprint)
    return [item_id for item_id, _ in rows], behind


def read_images(path: Path, bundle: Bundle, ids: Sequence[int]) -> tuple[tuple[GalleryItem, ...], Float32Array]:
    """The n images with these ids that are still there, in their order, and their unit vectors float32 `[n, d]`.

    Raises:
        ReindexedError, SalError: as for `added_since`.
    """
    with _reading(path, bundle) as connection:
        found = zip(read_items(connection, ids), read_slots(connection, ids), strict=True)
        there = [(item, slot) for item, slot in found if item is not None and slot is not None]
        distinct, places = np.unique(np.array([slot for _, slot in there], np.int64), return_inverse=True)
        vectors = read_values(connection, vector_column(bundle.embedding_dim), distinct)
    return tuple(item for item, _ in there), np.asarray(vectors[places])


@contextmanager
def _reading(path: Path, bundle: Bundle) -> Iterator[sqlite3.Connection]:
    """A connection of its own to one state of the file, whose vectors are of a bundle."""
    with explained(path), closing(connect_current(path, "r")) as connection, snapshot(connection):
        (fingerprint,) = connection.execute("SELECT value FROM meta WHERE key = 'fingerprint'").fetchone()
        if fingerprint != bundle.fingerprint:
            raise ReindexedError(f"gallery {path}: was encoded anew with another bundle; register it again")
        yield connection
