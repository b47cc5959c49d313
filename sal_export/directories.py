"""Directories that appear under their names whole, and are on the disk when they do."""

from __future__ import annotations

import ctypes
import glob
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from sal_runtime.files import ABANDONED_SECONDS, sync_directory, write_synced

AT_FDCWD = -100
RENAME_EXCHANGE = 2


def replace_directory(
    destination: Path, files: Mapping[str, bytes], check: Callable[[Path], object] = lambda folder: None
) -> None:
    """Write a directory, in place of the one that is there if any; at every moment there is the old or the new one.

    Everything is written and checked under a temporary name beside the destination, then swapped in by one rename. What
    writers who were killed left under such names is swept up a day later. Where the destination is a link, the
    directory behind it is replaced.

    Args:
        destination: the directory.
        files: content by path relative to it.
        check: called with the temporary directory when it is whole; what it raises comes out, and nothing has changed.

    Raises:
        OSError: it cannot be written; nothing has changed.
    """
    destination = Path(os.path.realpath(destination))
    destination.parent.mkdir(parents=True, exist_ok=True)
    for folder in destination.parent.glob(f".{glob.escape(destination.name)}.*"):
        if folder.is_dir() and time.time() - folder.stat().st_mtime > ABANDONED_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    try:
        for name, content in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            write_synced(temporary / name, content)
        check(temporary)
        temporary.chmod(0o755)
        for folder in (*(path for path in temporary.rglob("*") if path.is_dir()), temporary):
            sync_directory(folder)
        swap_in(temporary, destination)
        sync_directory(destination.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
