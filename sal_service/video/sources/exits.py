"""Readers at the end of the process."""

from __future__ import annotations

import atexit
from typing import Protocol
from weakref import WeakSet

EXIT_SECONDS = 10.0
"""How long the process waits for a library that blocks a reader, at most."""


class Stoppable(Protocol):
    """A reader."""

    def stop(self, seconds: float = 1.0) -> tuple[str, ...]:
        """End reading."""


READERS = WeakSet[Stoppable]()
"""Those that are stopped when the process ends. OpenCV aborts a process that ends around a thread of it."""


@atexit.register
def stop_readers() -> None:
    """Stop all of them, and wait for their threads."""
    for reader in list(READERS):
        reader.stop(0)
    for reader in list(READERS):
        reader.stop(EXIT_SECONDS)
