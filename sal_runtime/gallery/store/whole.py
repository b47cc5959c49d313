"""Making, copying and deleting a gallery file, with all that may be beside it; a search needs none of it."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from sal_runtime.errors import InputError
from sal_runtime.files import temporaries, whole_file
from sal_runtime.gallery.store.file import (
    APPLICATION_ID,
    COUNTERS,
    FORMAT_VERSION,
    connect_file,
    crops_folder,
    explained,
    generation_path,
    index_path,
    lock_path,
    log_path,
    memory_path,
    resolved,
)

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle

WAL_FORMAT = bytes((2, 2))
"""Bytes 18 and 19 of a database in WAL mode (SQLite's file format, 1.3.3)."""

_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE item (
    id INTEGER PRIMARY KEY, uri TEXT NOT NULL UNIQUE, slot INTEGER NOT NULL, checksum INTEGER NOT NULL,
    row_checksum INTEGER NOT NULL,
    content_hash TEXT, size INTEGER, mtime_ns INTEGER,
    camera TEXT, captured_at REAL, track TEXT, box TEXT, metadata TEXT, added_at REAL NOT NULL
);
CREATE TABLE block (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
CREATE TABLE block_change (id INTEGER PRIMARY KEY, change INTEGER NOT NULL);
CREATE INDEX block_change_order ON block_change (change);
CREATE TABLE metadata_key (number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
"""


def copies(path: Path) -> list[Path]:
    """The files beside a gallery file with copies of its vectors, which must go when an item is removed."""
    return [index_path(path), *temporaries(index_path(path))]


def side_files(path: Path) -> list[Path]:
    """All files that may exist beside a gallery file and are worth nothing without it.

    A new kind of side file belongs in this list, and in `copies` if it holds vectors.
    """
    own = [
        [log_path(file), memory_path(file), lock_path(file), *temporaries(resolved(file)), *copies(file)]
        for file in (path, generation_path(path))
    ]
    return [generation_path(path), *own[0], *own[1]]


def delete_gallery(path: Path) -> None:
    """Delete a gallery file and everything beside it."""
    shutil.rmtree(crops_folder(path), ignore_errors=True)
    for file in (resolved(path), *side_files(path)):
        file.unlink(missing_ok=True)


def new_meta(path: Path, bundle: Bundle, root: Path | None, precision: str) -> dict[str, str]:
    """The `meta` of a new gallery file at a resolved path; `root` is the folder that it follows, if any."""
    meta = {
        "fingerprint": bundle.fingerprint,
        "embedding_dim": str(bundle.embedding_dim),
        "bundle_name": bundle.name,
        "bundle_path": str(Path(bundle.path).resolve()),
        "precision": precision,
        "created_at": str(time.time()),
    }
    if root is not None:
        # A sibling by its name only, so that folder and gallery can move together.
        is_sibling = root.resolve().parent == path.parent
        meta["root"] = root.resolve().name if is_sibling else str(root.resolve())
    return meta


def create_file(path: Path, meta: Mapping[str, str]) -> None:
    """Make an empty gallery file, which appears when it is whole. The caller holds the `WriterLock`.

    What a deleted gallery left beside it is deleted: SQLite would replay the log, and copies of vectors and pictures
    would stay.

    Raises:
        InputError: the file exists.
        SalError: it cannot be written.
    """
    file = resolved(path)
    if file.exists():
        raise InputError(f"{path}: exists already; open it, or choose another name for a new gallery")
    with explained(path):
        shutil.rmtree(crops_folder(file), ignore_errors=True)
        for left in set(side_files(file)) - {lock_path(file)}:
            left.unlink(missing_ok=True)
        with whole_file(file) as temporary:
            _write_tables(temporary, meta)


def copy_gallery(path: Path, copy: Path, meta: Mapping[str, str]) -> None:
    """Copy a gallery file that may be read only, with what is still in its log; the copy appears when it is whole.

    Args:
        path: of the gallery.
        copy: path of a new gallery file; the caller holds its `WriterLock`.
        meta: entries of the copy that differ.

    Raises:
        SalError: it cannot be written.
    """
    with explained(copy), whole_file(resolved(copy)) as temporary:
        with closing(connect_file(path, "r")) as connection:
            connection.execute("PRAGMA query_only = OFF")  # it forbids this statement, too
            connection.execute("VACUUM INTO ?", (str(temporary),))
        with closing(sqlite3.connect(temporary)) as connection:
            connection.execute("PRAGMA journal_mode = MEMORY")
            connection.executemany("UPDATE meta SET value = ? WHERE key = ?", [(meta[key], key) for key in meta])
            connection.commit()
        _mark_as_wal(temporary)


def _write_tables(path: Path, meta: Mapping[str, str]) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = OFF")  # the whole file is synchronised once, when it is complete
        connection.execute("PRAGMA journal_mode = MEMORY")  # nothing is written beside a file that may be left behind
        connection.execute("PRAGMA page_size = 16384")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.executescript(_TABLES)
        counters = {**dict.fromkeys(COUNTERS, "0"), "next_id": "1"}
        connection.executemany("INSERT INTO meta VALUES (?, ?)", sorted((counters | dict(meta)).items()))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
    finally:
        connection.close()
    _mark_as_wal(path)


def _mark_as_wal(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(18)
        file.write(WAL_FORMAT)
