"""Who may write a gallery file."""

from __future__ import annotations

import fcntl
import os
import weakref
from contextlib import suppress
from pathlib import Path

from sal_runtime.errors import InputError
from sal_runtime.gallery.store.file import explained


class WriterLock:
    """The right to write one gallery file, held by at most one process (or handle) at a time.

    An advisory lock on a file beside the gallery: SQLite's own lock lasts for one transaction only, and a lock on the
    gallery file itself would interfere with SQLite's. The operating system lets go of it when the process dies. A child
    that it has forked does not have the right, and does not keep it when its parent dies.
    """

    def __init__(self, path: Path) -> None:
        """Take the right to write the gallery file `path`.

        Raises:
            InputError: somebody else has it, or no lock can be made there.
        """
        file = path.resolve()  # the same for every link to it
        self._path = file.with_name(f"{file.name}-lock")
        with explained(path):
            self._descriptor: int | None = self._take(path)
        _locks.add(self)

    @property
    def is_held(self) -> bool:
        """Whether it is this process that has the right."""
        return self._descriptor is not None

    def _take(self, gallery: Path) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if self._is_file_of(descriptor):
                    with suppress(OSError):  # on a full disk nobody learns who holds it
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
        """Whether the lock file was not removed by its last holder between our opening and our locking it."""
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except FileNotFoundError:
            return False

    def release(self) -> None:
        """Give the right back; of no effect in a forked child."""
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
