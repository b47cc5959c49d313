"""What glibc does with the memory of a process that serves."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sal_service.memory import give_memory_back

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")

HEAPS = """
import ctypes, sys, threading
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
library.fopen.restype, library.malloc_info.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
library.fclose.argtypes = (ctypes.c_void_p,)
file = library.fopen(sys.argv[1].encode(), b"w")
assert library.malloc_info(0, file) == 0
library.fclose(file)
print(Path(sys.argv[1]).read_text().count("<heap nr="))
over.set()
"""


def heaps(shared: bool, report: Path) -> int:
    """Heaps that glibc reports of a process, while four of its threads have allocated something."""
    command = [sys.executable, "-c", HEAPS.format(shared=shared), str(report)]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_threads_share_one_heap(tmp_path: Path) -> None:
    assert heaps(False, tmp_path / "apart.xml") >= 3
    assert heaps(True, tmp_path / "shared.xml") == 1


def test_what_was_freed_below_something_in_use_goes_back_to_the_system() -> None:
    def resident_mb() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    library, size = ctypes.CDLL(None), 100_000
    library.malloc.restype = ctypes.c_void_p
    blocks = [ctypes.c_void_p(library.malloc(size)) for _ in range(2000)]
    for block in blocks:
        ctypes.memset(block, 1, size)
    for block in blocks[:-1]:
        library.free(block)
    before = resident_mb()
    give_memory_back()
    after = resident_mb()
    library.free(blocks[-1])
    assert before - after > 100
