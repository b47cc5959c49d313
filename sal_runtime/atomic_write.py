"""Files and directories that appear under their names whole, and are on the disk when they do."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

AT_FDCWD = -100
RENAME_EXCHANGE = 2


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


def swap_in(new: Path, destination: Path) -> None:
    """Rename directory `new` to `destination`; where that exists, exchange the two in one step.

    What was there has the name of `new` afterwards, or is gone.
    """
    if not destination.exists():
        new.rename(destination)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    exchange = getattr(libc, "renameat2", None)
    if exchange is not None:
        done = exchange(AT_FDCWD, os.fsencode(new), AT_FDCWD, os.fsencode(destination), RENAME_EXCHANGE)
        if done == 0:
            return
    # Without the exchange (not Linux, or a file system that lacks it) there is a moment with nothing there, but never
    # half of it: the old one stands beside until the new one is in place.
    old = new.with_name(f"{new.name}.old")
    destination.rename(old)
    new.rename(destination)
    shutil.rmtree(old)
