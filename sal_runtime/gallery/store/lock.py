"""Who may write a gallery file."""

from __future__ import annotations

import fcntl
import os
import weakref
from contextlib import suppress
from pathlib import Path

from sal_runtime.errors import InputError
from sal_runtime.gallery.store.file import explained, lock_path


class WriterLock:
    """The right to write one gallery file, held by at most one process (or handle) at a time.

    It is an advisory lock on a file beside the gallery: SQLite's own lock lasts for one transaction only, and a lock on
    the gallery file itself would interfere with SQLite's. The operating system releases it when the process dies. A
    forked child does not have the right, and does not hold the lock when its parent dies.
    """

    def __init__(self, path: Path) -> None:
        """Take the right to write the gallery file `path`.

        Raises:
            InputError: another process or handle has it.
            SalError: no lock can be made there.
        """
        self._path = lock_path(path)
        with explained(path):
            self._descriptor: int | None = self._take(path)
        _locks.add(self)

    @property
    def is_held(self) -> bool:
        """Whether this process has the right."""
        return self._descriptor is not None

    def _take(self, gallery: Path) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_file_of(descriptor):
                    with suppress(OSError):  # on a full disk nobody learns who holds the lock
                        os.ftruncate(descriptor, 0)
                        os.write(descriptor, str(os.getpid()).encode())
                    return descriptor
            except BlockingIOError:
                holder = os.read(descriptor, 20).decode(errors="replace") or "unknown"
                os.close(descriptor)
                raise InputError(
                    f"gallery {gallery}: process {holder} is writing it; wait until it is done (the file itself can be "
                    "searched meanwhile)"
                ) from None
            os.close(descriptor)

    def _is_file_of(self, descriptor: int) -> bool:
        """Whether the lock file is still the opened one: its last holder may have removed it before we locked it."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Give the right back; has no effect in a forked child."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


_locks: weakref.WeakSet[WriterLock] = weakref.WeakSet()


def _close_in_child() -> None:
    for lock in _locks:
        lock._close()


os.register_at_fork(after_in_child=_close_in_child)
