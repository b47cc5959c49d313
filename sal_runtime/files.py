"""Files that appear under their names whole, and are on the disk when they do; where caches are."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from sal_runtime.errors import SalError

ABANDONED_SECONDS = 24 * 3600
"""No writer takes that long; what is older under a temporary name belongs to one that was killed."""
LONGEST_STEM = 200
"""Bytes of a name up to which temporary files are named after it; file systems allow 255 in all."""
READER_SECONDS = 10
"""How long a pipe waits for somebody who reads from it."""


def cache_folder() -> Path:
    """Where sal keeps what can be made again: `$XDG_CACHE_HOME/sal`, or `~/.cache/sal`. It may not exist yet.

    Raises:
        SalError: neither that variable nor the home directory is known.
    """
    named = os.environ.get("XDG_CACHE_HOME")
    try:
        return Path(named or Path.home() / ".cache") / "sal"
    except RuntimeError as error:
        raise SalError("there is no home directory for the cache; set XDG_CACHE_HOME to a folder") from error


def make_cache(folder: Path) -> None:
    """Make a folder of a cache, for its user only, where it is missing; call it when there is something to keep.

    Raises:
        SalError: nothing can be written there.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        reason = "" if os.access(folder, os.W_OK) else "it cannot be written"
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise SalError(f"cache {folder}: {reason}; set XDG_CACHE_HOME to a folder that can be written, or name another")


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary file to write, which becomes `path` when the body ends without an error; gone if it does not.

    Usage: `with whole_file(path) as temporary: temporary.write_bytes(data)`.

    The content is on the disk before it has its name. Where `path` is a link, the file that it points to is replaced.
    A device or a pipe is never replaced: the content is written into it.

    Raises:
        OSError: it cannot be written there, or nobody reads from the pipe; what was there is as it was.
    """
    if path.exists() and not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
        with tempfile.TemporaryDirectory(prefix="sal-") as folder:
            temporary = Path(folder, path.name)
            yield temporary
            with temporary.open("rb") as content, _open_stream(path) as stream:
                shutil.copyfileobj(content, stream)
        return
    target = Path(os.path.realpath(path))
    for left in temporaries(target):
        with suppress(FileNotFoundError):  # its writer may finish at this moment
            if time.time() - left.stat().st_mtime > ABANDONED_SECONDS:
                left.unlink()
    temporary = target.parent / f".{_stem(target.name)}.{os.getpid()}-{threading.get_ident()}.partial"
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
        sync_directory(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _open_stream(path: Path) -> IO[bytes]:
    """A device or a pipe, open for writing."""
    give_up_at = time.monotonic() + READER_SECONDS
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except OSError as error:
            if error.errno != errno.ENXIO or not path.is_fifo():
                raise
            if time.monotonic() > give_up_at:
                raise OSError(errno.ENXIO, "nobody reads from this pipe; start its reader first") from error
            time.sleep(0.05)
        else:
            os.set_blocking(descriptor, True)
            return open(descriptor, "wb")


def temporaries(path: Path) -> list[Path]:
    """The temporary files that `whole_file` is writing for `path`, or that killed processes left behind."""
    return list(path.parent.glob(f".{glob.escape(_stem(path.name))}.[0-9]*-[0-9]*.partial"))


def _stem(name: str) -> str:
    encoded = os.fsencode(name)
    return name if len(encoded) <= LONGEST_STEM else hashlib.sha256(encoded).hexdigest()


def write_synced(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file down to the disk.

    Args:
        path: of the file; what was there is overwritten.
        content: of the file.
        mode: permissions of a new file, before the umask.
    """
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Make the names in a directory, new and renamed ones, last."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
