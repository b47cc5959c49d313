"""Stopping many readers, also when the process ends."""

from __future__ import annotations

import atexit
import time
from collections.abc import Iterable
from typing import Protocol
from weakref import WeakSet

EXIT_SECONDS = 10.0
"""How long the process waits for a library that blocks a reader, at most."""


class Stoppable(Protocol):
    """A reader."""

    def stop(self, seconds: float = 1.0) -> tuple[str, ...]:
        """End reading."""


def stop_all(readers: Iterable[Stoppable], seconds: float = 1.0) -> tuple[str, ...]:
    """Stop readers beside each other.

    Args:
        readers: which ones.
        seconds: how long to wait for their threads, all together.

    Returns:
        The names of threads that the library still blocks; they end with its time limit.
    """
    readers, deadline = list(readers), time.monotonic() + seconds
    for reader in readers:
        reader.stop(0)
    return tuple(name for reader in readers for name in reader.stop(max(deadline - time.monotonic(), 0)))


READERS = WeakSet[Stoppable]()
"""Those that are stopped when the process ends. OpenCV aborts a process that ends around a thread of it."""


@atexit.register
def stop_readers() -> None:
    """Stop all of them, and wait for their threads."""
    stop_all(READERS, EXIT_SECONDS)
