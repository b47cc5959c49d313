"""Thousands of ways to damage a valid image file."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

from tests.runtime.drawn_files import STARTS, valid_files

NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 8000, 20_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
MARKERS = bytes(
    (0x00, 0x01, 0xC0, 0xC2, 0xC3, 0xC4, 0xC8, 0xC9, 0xD0, 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xE1, 0xFE, 0xFF)
)
TAGS = (
    b"IHDR",
    b"IDAT",
    b"IEND",
    b"PLTE",
    b"tRNS",
    b"acTL",
    b"fcTL",
    b"iCCP",
    b"eXIf",
    b"VP8X",
    b"VP8L",
    b"VP8 ",
    b"ANMF",
)


def hostile_file(number: int) -> bytes:
    """The damaged file of this number, always the same."""
    rng = random.Random(number)
    files = list(valid_files().values())
    data = bytearray(files[number % len(files)])
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice(DAMAGES)(rng, data)
    fixed = bytes(data)
    return with_checksums(fixed) if rng.random() < 0.7 else fixed


def with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks all have the right checksum, so that a decoder reads what is wrong in them."""
    if not data.startswith(STARTS[1]):
        return data
    whole, at = bytearray(data), 8
    while at + 12 <= len(data):
        end = at + 8 + int(struct.unpack_from(">I", data, at)[0])
        if end + 4 > len(data):
            break
        whole[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(whole)


def _place(rng: random.Random, data: bytearray) -> int:
    """Mostly near the beginning, where the headers are."""
    return rng.randrange(min(len(data), rng.choice((40, 80, 1000))) + 1)


def _flip(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice((1, 3, 30))):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _set(rng: random.Random, data: bytearray) -> None:
    at = _place(rng, data)
    data[at : at + 1] = bytes((rng.choice((0, 1, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256))),))


def _cut(rng: random.Random, data: bytearray) -> None:
    at = rng.choice((_place(rng, data), rng.randrange(len(data) + 1)))
    del data[at : at + rng.choice((1, 2, 4, 12, len(data)))]


def _insert(rng: random.Random, data: bytearray) -> None:
    new = rng.choice((rng.randbytes(rng.choice((1, 2, 8, 300))), bytes(rng.choice((1, 4, 100))), rng.choice(STARTS)))
    at = _place(rng, data)
    data[at:at] = new


def _splice(rng: random.Random, data: bytearray) -> None:
    """The beginning of this file, and the end of another."""
    other = rng.choice(list(valid_files().values()))
    data[rng.randrange(len(data) + 1) :] = other[rng.randrange(len(other)) :]


def _number(rng: random.Random, data: bytearray) -> None:
    """A size or a length: huge, zero, negative or slightly off."""
    form = rng.choice((">H", "<H", ">I", "<I"))
    size = struct.calcsize(form)
    at = max(min(_place(rng, data), len(data) - size), 0)
    if len(data) >= size:
        value = rng.choice((*NUMBERS, struct.unpack_from(form, data, at)[0] + rng.choice((-1, 1, 16))))
        struct.pack_into(form, data, at, value % 256**size)


def _size(rng: random.Random, data: bytearray) -> None:
    """The width or height, where the format has it."""
    places = {
        b"\xff\xd8": (">H", (data.find(b"\xff\xc0"), data.find(b"\xff\xc2")), (5, 7)),
        b"\x89P": (">I", (0,), (16, 20)),
    }
    places |= {b"BM": ("<i", (0,), (18, 22)), b"RI": ("<H", (0,), (21, 24, 26, 27, 28))}
    form, starts, offsets = places.get(bytes(data[:2]), (">I", (0,), (0,)))
    at = max(starts) + rng.choice(offsets)
    if at + struct.calcsize(form) <= len(data):
        value = rng.choice((0, 1, -1, 100, 3000, 8000, 16384, 32767, 65535, 2**31 - 1, -(2**31)))
        struct.pack_into(form.upper(), data, at, value % 256 ** struct.calcsize(form))


def _marker(rng: random.Random, data: bytearray) -> None:
    """Another JPEG marker, or one more."""
    places = [at for at in range(len(data) - 1) if data[at] == 0xFF]
    at = rng.choice(places or [0])
    data[at : at + rng.choice((0, 2))] = bytes((0xFF, rng.choice(MARKERS)))


def _tag(rng: random.Random, data: bytearray) -> None:
    """Another name for a chunk."""
    at = max(data.find(rng.choice(TAGS)), 0)
    data[at : at + 4] = rng.choice((*TAGS, rng.randbytes(4)))


def _repeat(rng: random.Random, data: bytearray) -> None:
    """A piece of the file many times over; a whole chunk, if it begins at one."""
    start = rng.choice((_place(rng, data), max(data.find(rng.choice(TAGS)) - 4, 0)))
    piece = bytes(data[start : start + rng.choice((1, 4, 12, 25, 38, 200))])
    data[start:start] = piece * rng.choice((1, 2, 50))


def _append(rng: random.Random, data: bytearray) -> None:
    data += rng.choice((bytes(1000), rng.randbytes(100), rng.choice(list(valid_files().values()))))


def _polyglot(rng: random.Random, data: bytearray) -> None:
    """The signature of another format in front, or in place of its own."""
    start = rng.choice(STARTS)
    data[: rng.choice((0, len(start)))] = start


DAMAGES: tuple[Callable[[random.Random, bytearray], None], ...] = (
    _flip,
    _set,
    _cut,
    _insert,
    _splice,
    _number,
    _number,
    _size,
    _marker,
    _tag,
    _repeat,
    _append,
    _polyglot,
)
