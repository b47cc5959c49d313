"""Memory of training on a CPU: large tensors come back from the allocator instead of from the kernel."""

from __future__ import annotations

import ctypes
import sys

# from glibc's malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
NEVER = 2**31 - 1


def keep_freed_memory() -> bool:
    """Let glibc keep what is freed, for the rest of the process.

    An activation of a batch takes megabytes. By default glibc maps such a block anew each time and gives it back at
    once, so that every iteration pays for the kernel's clearing of all its memory, page by page (measured by
    `benchmarks/speed/freed_memory.py`). The process stays as large as its largest iteration.

    Returns:
        Whether it could be set; elsewhere than on Linux with glibc nothing is changed.
    """
    if sys.platform != "linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # another C library
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, NEVER))
