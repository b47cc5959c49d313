"""What glibc does with the memory of a process that serves, each time in a process of its own."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")

HEAPS = """
import ctypes, re, threading
from pathlib import Path
from sal_service.memory import share_one_heap

if {shared}:
    share_one_heap()
library, ready, over = ctypes.CDLL(None), threading.Barrier(5), threading.Event()
library.malloc.restype = ctypes.c_void_p

def allocate():
    library.malloc(1000)
    ready.wait()
    over.wait()

threads = [threading.Thread(target=allocate) for _ in range(4)]
for thread in threads:
    thread.start()
ready.wait()
heap = 2**26  # glibc reserves so much for each, and begins it at a multiple of that
starts = [int(line.partition("-")[0], 16) for line in Path("/proc/self/maps").read_text().splitlines()]
print(sum(start % heap == 0 for start in starts))
over.set()
"""


def heaps(shared: bool) -> int:
    """Heaps of threads, while four of them have allocated something."""
    command = [sys.executable, "-c", HEAPS.format(shared=shared)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_threads_share_one_heap() -> None:
    assert heaps(shared=False) >= 2
    assert heaps(shared=True) == 0
