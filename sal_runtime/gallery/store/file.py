"""The SQLite file of a gallery: how it is opened, what its errors mean to people, and the names of files beside it.

The file is in WAL mode: any number of processes read while one writes. `secure_delete` overwrites deleted data, and
`auto_vacuum` lets the file shrink. A power cut never damages the file but may cost the last transactions
(`synchronous=NORMAL`); a killed process loses nothing it has committed.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from sal_runtime.errors import InputError, SalError, first_line

FORMAT_VERSION = 4
"""Version of the tables, kept in `user_version`."""
OLD_FORMAT_VERSIONS = (2, 3)
"""Versions that `connect.py` can bring to the present one."""
APPLICATION_ID = 0x53414C31
"""`SAL1`: tells a gallery from any other SQLite file."""
BUSY_SECONDS = 10.0
"""How long to wait for a checkpoint of another process."""
COUNTERS = ("count", "next_id", "change")
"""Kept in `meta`: the number of items, the id of the next item, and the change number."""
CROP_SCHEME = "crop:"
"""What the uri of an item begins with whose picture the gallery keeps itself (`crops.py`)."""
FROZEN = "?immutable=1"  # what tells SQLite that a file never changes

Mode = Literal["r", "w"]


class WatchingConnection(sqlite3.Connection):
    """A connection of a user who can write neither the file nor beside it, and sees less of what others do.

    Without a log, SQLite must be told that the file never changes (`frozen`), and takes no part in the locking. And a
    log can be replaced, where locks do not reach, as between machines. `is_outdated` tells of both.
    """

    def watch(self, file: Path, is_frozen: bool) -> None:
        """Remember the state of a resolved gallery file."""
        self.file, self.is_frozen = file, is_frozen
        self._opened_at = self._state()

    def is_outdated(self) -> bool:
        """Whether what it shows may be an old state of the file, or parts of several."""
        return self._opened_at != self._state()

    def _state(self) -> tuple[int, ...]:
        log = log_path(self.file)
        try:
            file = self.file.stat()
            contents = (file.st_size, file.st_mtime_ns) if self.is_frozen else ()
            return (file.st_ino, log.stat().st_ino if log.exists() else 0, *contents)
        except FileNotFoundError:
            return ()


class OldFormatError(InputError):
    """A gallery file has one of `OLD_FORMAT_VERSIONS`."""


def resolved(path: Path | str) -> Path:
    """A gallery file by its absolute path, behind any link; every file beside it is named from this path."""
    return Path(os.path.realpath(path))


def log_path(path: Path) -> Path:
    """SQLite's write-ahead log of a gallery file."""
    return _beside(path, "-wal")


def memory_path(path: Path) -> Path:
    """The memory that the processes share that use a gallery file."""
    return _beside(path, "-shm")


def lock_path(path: Path) -> Path:
    """The file that a writer of the gallery file locks."""
    return _beside(path, "-lock")


def index_path(path: Path) -> Path:
    """The approximate index of a gallery file."""
    return _beside(path, ".index")


def crops_folder(path: Path) -> Path:
    """The pictures of people that a gallery file keeps itself (`crops.py`)."""
    return _beside(path, ".crops")


def crop_path(path: Path, uri: str, folder: Path | None = None) -> Path | None:
    """Where the picture of an item is that the gallery file `path` keeps itself; None if it is not one of those.

    A uri that leads out of the folder is none. `folder` is `crops_folder(path)`, for whoever knows it already.
    """
    parts = uri.removeprefix(CROP_SCHEME).split("/")
    if not (uri.startswith(CROP_SCHEME) and parts[0]) or set(parts) <= {"", "."} or ".." in parts or "\0" in uri:
        return None
    return (folder or crops_folder(path)).joinpath(*parts)


def generation_path(path: Path) -> Path:
    """The gallery file in which `reindex` collects new embeddings."""
    file = resolved(path)
    return file.with_name(f".{file.name}.reindex")


def _beside(path: Path, suffix: str) -> Path:
    file = resolved(path)
    return file.with_name(file.name + suffix)


def connect_file(path: Path, mode: Mode, *, allow_old: bool = False) -> sqlite3.Connection:
    """Open a gallery file in autocommit mode, for use by one thread at a time; `allow_old` takes old formats, too.

    Raises:
        OldFormatError: its format is one before this version's.
        InputError: there is no such file, it is not a gallery, or its format is another one.
    """
    file = resolved(path)
    if not file.is_file():
        raise InputError(f"{path}: there is no such gallery file; Gallery.create makes one")
    with explained(path):
        address = _address(file)
        kind = sqlite3.Connection if address.endswith("?mode=rw") else WatchingConnection
        connection = sqlite3.connect(
            address, BUSY_SECONDS, uri=True, isolation_level=None, check_same_thread=False, factory=kind
        )
        try:
            if isinstance(connection, WatchingConnection):
                connection.watch(file, address.endswith(FROZEN))
            _check_format(connection, path, allow_old)
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA query_only = {'ON' if mode == 'r' else 'OFF'}")
        except BaseException:
            connection.close()
            raise
        return connection


def can_be_written(file: Path) -> bool:
    """Whether this user may write a resolved gallery file, and the files beside it."""
    return os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)


def _address(file: Path) -> str:
    """URI of a resolved file, read-write where the place allows it: even a reader of a WAL file writes beside it."""
    address = file.as_uri()
    if can_be_written(file):
        return f"{address}?mode=rw"
    return f"{address}?mode=ro" if log_path(file).exists() else address + FROZEN


def _check_format(connection: sqlite3.Connection, path: Path, allow_old: bool) -> None:
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application_id != APPLICATION_ID:
        raise InputError(_not_a_gallery(path))
    if version in OLD_FORMAT_VERSIONS and not allow_old:
        raise OldFormatError(
            f"{path}: gallery format {version}, this version of sal reads format {FORMAT_VERSION}; open the gallery "
            "once where the file and its folder can be written, and it is brought to the new format"
        )
    if version not in (*OLD_FORMAT_VERSIONS, FORMAT_VERSION):
        raise InputError(
            f"{path}: gallery format {version}, this version of sal reads format {FORMAT_VERSION}; "
            "move the file away and encode the images again"
        )


def _not_a_gallery(path: Path) -> str:
    return f"{path}: is not a gallery file of sal; give a folder of images or a file that sal made"


def read_meta(connection: sqlite3.Connection, path: Path) -> dict[str, str]:
    """What the gallery says about itself, text by key.

    Raises:
        InputError: an entry is missing, or its embedding dimension is not a number.
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
    """One of `COUNTERS`. The number of items is among them because SQLite would read all rows to count them.

    Raises:
        sqlite3.DatabaseError: it is missing, or not a number.
    """
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (name,)).fetchone()
    try:
        return int(row[0])
    except (TypeError, ValueError) as error:
        raise sqlite3.DatabaseError(f"{name} cannot be read") from error


def write_counter(connection: sqlite3.Connection, name: str, value: int) -> None:
    """Set one of `COUNTERS`."""
    connection.execute("UPDATE meta SET value = ? WHERE key = ?", (str(value), name))


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the file system on `path` into one line for people.

    Raises:
        InputError: the file is not what it should be.
        SalError: reading or writing failed (disk full, no permission, ...).
    """
    try:
        yield
    except sqlite3.OperationalError as error:
        raise SalError(f"gallery {path}: {first_line(error)}") from error
    except sqlite3.ProgrammingError as error:  # such as a gallery that was closed
        raise InputError(f"gallery {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        # our own errors have no code
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise InputError(_not_a_gallery(path)) from error
        raise InputError(
            f"gallery {path}: {first_line(error)}; restore it, or move it away and encode the images again"
        ) from error
    except OSError as error:
        raise SalError(f"gallery {path}: {error.strerror or error}") from error


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """One consistent state to read, whatever others write meanwhile.

    Raises:
        SalError: the file can only be looked at, and others wrote it meanwhile.
    """
    connection.execute("BEGIN DEFERRED")
    try:
        yield
    finally:
        with suppress(sqlite3.Error):  # there is nothing to undo, and a damaged file may fail here once more
            connection.execute("ROLLBACK")
        if isinstance(connection, WatchingConnection) and connection.is_outdated():
            raise SalError(f"gallery {connection.file}: others wrote it while it was read; search again")


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
