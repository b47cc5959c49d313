"""What image decoders print while they decode: damage that they pass over, by the thread that decodes.

libjpeg and libpng fill what they cannot decode with grey, print a line on stderr, and go on; OpenCV returns nothing of
it. So C's variable `stderr` is another stream while images are decoded, which keeps what decoding threads print, and
passes on what others print. Python's `sys.stderr` and C++'s `cerr` are not affected. This needs glibc; with another C
library, nothing is heard.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
from collections.abc import Callable
from functools import cache
from typing import ParamSpec, TypeVar

_DAMAGE = re.compile(r"Corrupt JPEG data|Premature end of JPEG|libpng error")
_PADDING = re.compile(r"Corrupt JPEG data: (\d\d?) extraneous bytes before marker 0xd9")

Arguments = ParamSpec("Arguments")
Image = TypeVar("Image")

_Write = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_void_p, ctypes.POINTER(ctypes.c_char), ctypes.c_size_t)


class _Cookie(ctypes.Structure):  # `cookie_io_functions_t` of glibc
    _fields_ = (("read", ctypes.c_void_p), ("write", _Write), ("seek", ctypes.c_void_p), ("close", ctypes.c_void_p))


_heard: dict[int, list[bytes]] = {}
"""What was printed, by thread that decodes."""
_lock = threading.Lock()
_originals: list[int | None] = []


def _keep(_: int | None, text: ctypes._Pointer[ctypes.c_char], length: int) -> int:
    data, pieces = ctypes.string_at(text, length), _heard.get(threading.get_ident())
    if pieces is None:
        os.write(2, data)
    else:
        pieces.append(data)
    return length


_keep_in_c = _Write(_keep)


@cache
def _streams() -> tuple[ctypes.c_void_p, int] | None:
    """C's variable `stderr`, and the stream that takes its place; None where the C library is not glibc."""
    try:
        libc = ctypes.CDLL(None)
        _ = libc.gnu_get_libc_version  # musl has fopencookie, too, but its stderr is a constant
        libc.fopencookie.restype = ctypes.c_void_p
        libc.fopencookie.argtypes = [ctypes.c_void_p, ctypes.c_char_p, _Cookie]
        stream = libc.fopencookie(None, b"w", _Cookie(None, _keep_in_c, None, None))
        libc.setvbuf.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t]
        libc.setvbuf(stream, None, 2, 0)  # _IONBF: every line comes at once, in the thread that prints it
        return ctypes.c_void_p.in_dll(libc, "stderr"), stream
    except (AttributeError, OSError, ValueError):
        return None


def _forget_threads() -> None:
    """In a forked child, where no other thread is left that decodes."""
    streams = _streams()
    if streams is not None and _originals:
        streams[0].value = _originals.pop()
    _heard.clear()
    _lock.release()


os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_forget_threads)


def listening(
    decode: Callable[Arguments, Image], *args: Arguments.args, **kwargs: Arguments.kwargs
) -> tuple[Image, str]:
    """What `decode(*args, **kwargs)` returns, and what C libraries print in this thread meanwhile.

    Nothing of it is shown. Threads may decode beside each other.
    """
    streams, pieces, thread = _streams(), list[bytes](), threading.get_ident()
    if streams is None:
        return decode(*args, **kwargs), ""
    variable, stream = streams
    with _lock:
        if not _heard:
            _originals.append(variable.value)
            variable.value = stream
        _heard[thread] = pieces
    try:
        image = decode(*args, **kwargs)
    finally:
        with _lock:
            del _heard[thread]
            if not _heard:
                variable.value = _originals.pop()
    return image, b"".join(pieces).decode(errors="replace") if pieces else ""


def damage_in(complaints: str, pixels: bytes) -> str:
    """The first line that says that pixels are missing or wrong; empty if none does.

    Some cameras pad the pixels of a JPEG with a few equal bytes, and nothing is missing then. After damage, other bytes
    are left over.

    Args:
        complaints: what the decoder printed.
        pixels: the file up to the end marker.
    """
    for line in complaints.splitlines():
        padding = _PADDING.match(line)
        if _DAMAGE.match(line) and not (padding and len(set(pixels[-int(padding[1]) :])) == 1):
            return line
    return ""
