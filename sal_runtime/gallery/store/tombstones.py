"""Tombstones: what is left of removed images, so that adding the same files again does not bring them back.

A tombstone is a hash of the content hash of an image file and nothing else. The table is made by the first removal. All
functions expect an open transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from hashlib import blake2b


def add_tombstones(connection: sqlite3.Connection, content_hashes: Iterable[str | None]) -> None:
    """Hold these contents back from now on; None is an image whose content is not known."""
    rows = [(_tombstone(content_hash),) for content_hash in content_hashes if content_hash is not None]
    if rows:
        connection.execute("CREATE TABLE IF NOT EXISTS tombstone (hash BLOB PRIMARY KEY) WITHOUT ROWID")
        connection.executemany("INSERT OR IGNORE INTO tombstone VALUES (?)", rows)


def lift_tombstones(connection: sqlite3.Connection, content_hashes: Iterable[str | None]) -> None:
    """Hold these contents back no more."""
    if _has_table(connection):
        rows = [(_tombstone(content_hash),) for content_hash in content_hashes if content_hash is not None]
        connection.executemany("DELETE FROM tombstone WHERE hash = ?", rows)


def count_tombstones(connection: sqlite3.Connection) -> int:
    """Number of contents that are held back."""
    if not _has_table(connection):
        return 0
    (count,) = connection.execute("SELECT count(*) FROM tombstone").fetchone()
    return int(count)


def held_back(connection: sqlite3.Connection, content_hashes: Iterable[str | None]) -> set[str]:
    """Those of some content hashes that have a tombstone."""
    if not _has_table(connection):
        return set()
    query = "SELECT 1 FROM tombstone WHERE hash = ?"
    known = {content_hash for content_hash in content_hashes if content_hash is not None}
    return {value for value in known if connection.execute(query, (_tombstone(value),)).fetchone() is not None}


def _has_table(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'tombstone'").fetchone() is not None


def _tombstone(content_hash: str) -> bytes:
    return blake2b(content_hash.encode(errors="surrogatepass"), digest_size=16).digest()
