"""What image decoders print while they decode: damage that they pass over, by the thread that decodes.

libjpeg and libpng fill what they cannot decode with grey, print a line on stderr, and go on. C's `stderr` is replaced
by a stream of ours while an image is decoded; Python's `sys.stderr` is not affected.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_DAMAGE = re.compile(r"Corrupt JPEG data|Premature end of JPEG|libpng error")
_PADDING = re.compile(r"Corrupt JPEG data: \d\d? extraneous bytes before marker 0xd9")
"""Some cameras pad the pixels; nothing is missing then."""

_Write = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.POINTER(ctypes.c_char), ctypes.c_size_t)


class _Cookie(ctypes.Structure):  # `cookie_io_functions_t` of glibc
    _fields_ = (("read", ctypes.c_void_p), ("write", _Write), ("seek", ctypes.c_void_p), ("close", ctypes.c_void_p))


_heard: dict[int, list[bytes]] = {}
"""What was printed, by thread that decodes."""
_lock = threading.Lock()
os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)
_originals: list[int | None] = []


def _keep(_: int | None, text: ctypes._Pointer[ctypes.c_char], length: int) -> int:
    """Keep what a decoding thread prints; what other threads print goes where it belongs."""
    data, lines = ctypes.string_at(text, length), _heard.get(threading.get_ident())
    if lines is None:
        os.write(2, data)
    else:
        lines.append(data)
    return length


_keep_in_c = _Write(_keep)


@cache
def _streams() -> tuple[ctypes.c_void_p, int] | None:
    """C's variable `stderr`, and the stream that takes its place; None where the C library is not glibc."""
    try:
        libc = ctypes.CDLL(None)
        libc.fopencookie.restype = ctypes.c_void_p
        libc.fopencookie.argtypes = [ctypes.c_void_p, ctypes.c_char_p, _Cookie]
        stream = libc.fopencookie(None, b"w", _Cookie(None, _keep_in_c, None, None))
        libc.setvbuf.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t]
        libc.setvbuf(stream, None, 2, 0)  # _IONBF: every line comes at once, in the thread that prints it
        return ctypes.c_void_p.in_dll(libc, "stderr"), stream
    except (AttributeError, OSError, ValueError):
        return None


@contextmanager
def heard() -> Iterator[list[bytes]]:
    """What C libraries print in this thread during the body, in pieces; nothing of it is shown."""
    streams, lines = _streams(), list[bytes]()
    if streams is None:
        yield lines
        return
    variable, stream = streams
    with _lock:
        if not _heard:
            _originals.append(variable.value)
            variable.value = stream
        _heard[threading.get_ident()] = lines
    try:
        yield lines
    finally:
        with _lock:
            del _heard[threading.get_ident()]
            if not _heard:
                variable.value = _originals.pop()


def damage_in(pieces: list[bytes]) -> str:
    """The first line that says that pixels are missing or wrong; empty if none does."""
    lines = b"".join(pieces).decode(errors="replace").splitlines()
    return next((line for line in lines if _DAMAGE.match(line) and not _PADDING.match(line)), "")
