"""The SQLite file of a gallery: its tables, how it is opened, and what its errors mean to people.

The file is in WAL mode: any number of processes read while one writes. `secure_delete` overwrites what is deleted, and
`auto_vacuum` lets the file shrink. A power cut never damages the file and may cost the last transactions
(`synchronous=NORMAL`); a killed process loses nothing it has committed.
"""

from __future__ import annotations

import glob
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from sal_runtime.errors import InputError, SalError

FORMAT_VERSION = 2
"""Of the tables below; kept in `user_version`."""
APPLICATION_ID = 0x53414C31
"""`SAL1`: tells a gallery from any other SQLite file."""
BUSY_SECONDS = 10.0
"""How long to wait for a checkpoint of another process."""
COUNTERS = ("count", "next_id", "change")
"""Kept in `meta`: number of items, the id of the next one (none is used twice), and how often the file was changed."""

Mode = Literal["r", "w"]

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


def resolved(path: Path) -> Path:
    """The file behind a link. Everything beside a gallery is named from this, so that links to it share it."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def index_path(path: Path) -> Path:
    """Where the approximate index of a gallery file lies, if it has one."""
    return path.with_name(f"{path.name}.index")


def create_file(path: Path, meta: Mapping[str, str]) -> None:
    """Make an empty gallery file; it appears under its name only when whole. For the holder of the `WriterLock`.

    Raises:
        InputError: there is a file already, or it cannot be made there.
    """
    if path.exists():
        raise InputError(f"{path}: exists already; open it, or choose another name for a new gallery")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explained(path):
        _sweep(path)
        try:
            _write_tables(temporary, meta)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            _sweep(path)


def _sweep(path: Path) -> None:
    """Delete what a killed process left of a new gallery, and the log of one that is gone: SQLite would replay it."""
    left = path.parent.glob(f".{glob.escape(path.name)}.*.tmp*")
    for file in (*left, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))):
        file.unlink(missing_ok=True)


def _write_tables(path: Path, meta: Mapping[str, str]) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = OFF")  # the whole file is synchronised once, when it is complete
        connection.execute("PRAGMA page_size = 16384")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_TABLES)
        counters = {**dict.fromkeys(COUNTERS, "0"), "next_id": "1"}
        connection.executemany("INSERT INTO meta VALUES (?, ?)", sorted((counters | dict(meta)).items()))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
    finally:
        connection.close()


def connect_file(path: Path, mode: Mode) -> sqlite3.Connection:
    """Open a gallery file, in autocommit mode and for use from any one thread at a time.

    Raises:
        InputError: there is no such file, it is no gallery, or of a format that this version does not know.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such gallery file; `sal gallery add` makes one")
    with explained(path):
        connection = sqlite3.connect(
            _address(path), uri=True, isolation_level=None, timeout=BUSY_SECONDS, check_same_thread=False
        )
        try:
            _check_format(connection, path)
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA query_only = {'ON' if mode == 'r' else 'OFF'}")
        except BaseException:
            connection.close()
            raise
        return connection


def read_meta(connection: sqlite3.Connection, path: Path) -> dict[str, str]:
    """What the gallery says about itself.

    Raises:
        InputError: it does not say by which bundle it was made.
    """
    with explained(path):
        meta: dict[str, str] = dict(connection.execute("SELECT key, value FROM meta"))
    missing = {"fingerprint", "embedding_dim", "bundle_name", "bundle_path", *COUNTERS} - meta.keys()
    if missing:
        raise InputError(
            f"gallery {path}: lacks {', '.join(sorted(missing))}; move it away and encode the images again"
        )
    if not meta["embedding_dim"].isdecimal():
        raise InputError(f"gallery {path}: its embedding_dim cannot be read; restore it, or encode the images again")
    return meta


def read_counter(connection: sqlite3.Connection, name: str) -> int:
    """One of `COUNTERS`; the number of items is kept, because SQLite would walk through all of them to count."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (name,)).fetchone()
    try:
        return int(row[0])
    except (TypeError, ValueError) as error:
        raise sqlite3.DatabaseError(f"{name} cannot be read") from error


def write_counter(connection: sqlite3.Connection, name: str, value: int) -> None:
    """Set one of `COUNTERS`."""
    connection.execute("UPDATE meta SET value = ? WHERE key = ?", (str(value), name))


def _address(path: Path) -> str:
    """Read and write where the place allows it, because even a reader of a WAL file keeps notes beside it."""
    address = path.resolve().as_uri()
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
        return f"{address}?mode=rw"
    has_notes = path.with_name(f"{path.name}-wal").exists()
    return f"{address}?mode=ro" if has_notes else f"{address}?immutable=1"


def _check_format(connection: sqlite3.Connection, path: Path) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id != APPLICATION_ID:
        raise InputError(_not_a_gallery(path))
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path}: gallery format {version}, this version of sal reads format {FORMAT_VERSION}; "
            "move the file away and encode the images again"
        )


def _not_a_gallery(path: Path) -> str:
    return f"{path}: is not a gallery file of sal; give a folder of images or a file that sal made"


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns errors of SQLite and of the file system on `path` into one line for people.

    Raises:
        InputError: the file is not what it should be.
        SalError: reading or writing failed (disk full, no permission, ...).
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        raise SalError(f"gallery {path}: {error}") from error
    except sqlite3.ProgrammingError as error:  # such as a gallery that was closed
        raise InputError(f"gallery {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        # our own errors have no code
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise InputError(_not_a_gallery(path)) from error
        raise InputError(f"gallery {path}: {error}; restore it, or move it away and encode the images again") from error
    except OSError as error:
        raise SalError(f"gallery {path}: {error.strerror or error}") from error


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """One consistent state to read, whatever others write meanwhile."""
    connection.execute("BEGIN DEFERRED")
    try:
        yield
    finally:
        with suppress(sqlite3.Error):  # there is nothing to undo, and a damaged file may fail here once more
            connection.execute("ROLLBACK")


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All changes of the body, or none of them."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):  # SQLite has rolled back by itself after some errors, such as a full disk
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def delete_gallery(path: Path) -> None:
    """Delete a gallery file and what lies beside it."""
    for file in (path, *(path.with_name(path.name + suffix) for suffix in ("-wal", "-shm", "-lock", ".index"))):
        file.unlink(missing_ok=True)
