"""Memory of training on a CPU: the allocator keeps freed blocks instead of returning them to the kernel."""

from __future__ import annotations

import ctypes
import sys

# from glibc's malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Make glibc keep freed memory for the rest of the process.

    The activations of a batch take megabytes each. By default glibc maps such a block anew and unmaps it when it is
    freed, so in every iteration the kernel clears all of that memory again, page by page (measured by
    `benchmarks/speed/freed_memory.py`). With this setting the process stays as large as its largest iteration.

    Returns:
        Whether the setting took effect. Anywhere but on Linux with glibc, nothing changes.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, NEVER))
