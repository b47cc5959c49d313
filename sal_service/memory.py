"""Memory of a process that serves for months; nothing changes where the C library is not glibc."""

from __future__ import annotations

import ctypes
from contextlib import suppress

M_ARENA_MAX = -8
"""From glibc's malloc.h."""


def share_one_heap() -> None:
    """Make all threads allocate from one heap; call it before they start.

    By default glibc gives threads heaps of their own. What an encoder leaves in one of them is of no use to the others,
    so the process would grow with each bundle that takes over.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def give_memory_back() -> None:
    """Give the system what was freed, such as encoders that went; glibc keeps it otherwise. Call it now and then."""
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
