"""Small valid image files of every kind that is read, and legal ones that unpack to a great deal."""

from __future__ import annotations

import struct
import zlib
from functools import cache

import cv2
import numpy as np

HEIGHT, WIDTH = 20, 12
STARTS = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"RIFF\xff\xff\xff\x7fWEBP",
    b"BM",
    b"GIF89a",
    b"II*\0",
    b"%PDF-1.7\n",
    b"PK\3\4",
)


def picture() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def chunk(kind: bytes, data: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    width: int, height: int, depth: int, colour: int, packed: bytes, interlaced: int = 0, extra: bytes = b""
) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))
    return STARTS[1] + header + extra + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def packed_zeros(count: int) -> bytes:
    """Piece by piece, so that making a bomb does not take its memory."""
    packer, piece = zlib.compressobj(9), bytes(2**20)
    packed = [packer.compress(piece[: min(2**20, count - start)]) for start in range(0, count, 2**20)]
    return b"".join(packed) + packer.flush()


def frame_control(width: int, height: int) -> bytes:
    """What makes a PNG an animation of one frame."""
    frame = struct.pack(">IIIIIHHBB", 0, width, height, 0, 0, 1, 10, 0, 0)
    return chunk(b"acTL", struct.pack(">II", 1, 0)) + chunk(b"fcTL", frame)


def segment(marker: int, data: bytes) -> bytes:
    """Of a JPEG."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


ADOBE = segment(0xEE, b"Adobe\0\x64\0\0\0\0\0")
"""Says that four components are CMYK."""


def plain_jpeg(frame: int, width: int, height: int, components: int, scans: bytes, extra: bytes = b"") -> bytes:
    """A JPEG whose Huffman tables know one word each: no difference, and all the rest is zero.

    Args:
        frame: marker of the frame.
        width: pixels.
        height: pixels.
        components: 1 grey, 3 colour, 4 CMYK.
        scans: what follows the tables.
        extra: segments that come first.
    """
    parts = b"".join(bytes((number, 0x11, 0)) for number in range(1, components + 1))
    one_word = bytes((1, *[0] * 15))
    return (
        b"\xff\xd8"
        + extra
        + segment(0xDB, b"\0" + b"\1" * 64)
        + segment(frame, struct.pack(">BHHB", 8, height, width, components) + parts)
        + segment(0xC4, b"\x00" + one_word + b"\x00")
        + segment(0xC4, b"\x10" + one_word + (b"\xe0" if frame == 0xC2 else b"\x00"))
        + scans
        + b"\xff\xd9"
    )


def scan(components: bytes, first: int, last: int, data: bytes) -> bytes:
    table = b"".join(bytes((number, 0)) for number in components)
    return segment(0xDA, bytes((len(components),)) + table + bytes((first, last, 0))) + data


def many_scans(width: int, height: int, scans: int) -> bytes:
    """A progressive grey JPEG, each of whose scans passes over every pixel and says nothing new in a few bytes."""
    blocks = -(-width // 8) * -(-height // 8)
    runs = -(-blocks // 2**14)
    nothing = scan(b"\1", 1, 63, bytes(-(-runs * 15 // 8)))
    return plain_jpeg(0xC2, width, height, 1, scan(b"\1", 0, 0, bytes(-(-blocks // 8))) + nothing * scans)


def exif(orientation: int) -> bytes:
    return b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def small(number: int) -> bytes:
    """24 bits."""
    return number.to_bytes(3, "little")


def bmp(width: int, height: int, bits: int, compression: int, rows: bytes, palette: bytes = b"") -> bytes:
    at = 54 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(rows), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", at + len(rows), 0, 0, at) + info + palette + rows


def os2_bmp(width: int, height: int, rows: bytes) -> bytes:
    """With the 12-byte header of OS/2, 24 bits a pixel."""
    return (
        b"BM" + struct.pack("<IHHI", 26 + len(rows), 0, 0, 26) + struct.pack("<IHHHH", 12, width, height, 1, 24) + rows
    )


@cache
def valid_files() -> dict[str, bytes]:
    """Name to bytes; `decode_image` reads each."""
    return {**_jpegs(), **_pngs(), **_webps(), **_bmps()}


def _encoded(suffix: str, *options: int, image: np.ndarray | None = None) -> bytes:
    return bytes(cv2.imencode(suffix, picture() if image is None else image, list(options))[1])


def _jpegs() -> dict[str, bytes]:
    plain = _encoded(".jpg")
    rotated = plain[:2] + segment(0xE1, b"Exif\0\0" + exif(6)) + plain[2:]
    blocks = -(-WIDTH // 8) * -(-HEIGHT // 8)
    return {
        "jpeg": plain,
        "jpeg progressive": _encoded(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        "jpeg grey": _encoded(".jpg", image=picture()[:, :, 0]),
        "jpeg restarts": _encoded(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
        "jpeg rotated": rotated,
        "jpeg with preview": plain[:2] + segment(0xE2, plain) + plain[2:],
        "jpeg cmyk": plain_jpeg(0xC0, WIDTH, HEIGHT, 4, scan(b"\1\2\3\4", 0, 63, bytes(blocks)), ADOBE),
        "jpeg ten scans": many_scans(WIDTH, HEIGHT, 10),
    }


def _pngs() -> dict[str, bytes]:
    palette = chunk(b"PLTE", bytes(range(48))) + chunk(b"tRNS", bytes(16))
    rows = b"".join(b"\0" + bytes(row % 16 * 17 for _ in range(WIDTH // 2)) for row in range(HEIGHT))
    packed = zlib.compress(rows)
    text = chunk(b"tEXt", b"Comment\0hello") + chunk(b"eXIf", exif(6))
    deep = picture().astype(np.uint16) * 257
    return {
        "png": _encoded(".png"),
        "png grey": _encoded(".png", image=picture()[:, :, 0]),
        "png alpha": _encoded(".png", image=np.dstack([picture(), picture()[:, :, 0]])),
        "png 16 bits": _encoded(".png", image=deep),
        "png palette": png(WIDTH, HEIGHT, 4, 3, packed, extra=palette),
        "png interlaced": png(8, 8, 8, 0, packed_zeros(8 * 8 + 15), interlaced=1),
        "png animated": png(WIDTH, HEIGHT, 4, 0, packed, extra=frame_control(WIDTH, HEIGHT)),
        "png with text": png(WIDTH, HEIGHT, 4, 0, packed, extra=text),
    }


def _webps() -> dict[str, bytes]:
    lossless = _encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 101)
    extended = (b"VP8X", b"\x08\0\0\0" + small(WIDTH - 1) + small(HEIGHT - 1))
    return {
        "webp": _encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 50),
        "webp lossless": lossless,
        "webp alpha": _encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 50, image=np.dstack([picture(), picture()[:, :, 0]])),
        "webp extended": webp(extended, (b"VP8L", _pixels(lossless)), (b"EXIF", exif(6))),
        "webp animated": animated_webp(WIDTH, HEIGHT),
    }


def _pixels(lossless: bytes) -> bytes:
    """The one chunk of a lossless WebP."""
    return lossless[20 : 20 + int(struct.unpack_from("<I", lossless, 16)[0])]


def animated_webp(width: int, height: int) -> bytes:
    """Two small frames on a canvas of any size."""
    frame = webp((b"VP8L", _pixels(_encoded(".webp", cv2.IMWRITE_WEBP_QUALITY, 101))))[12:]
    canvas = (b"VP8X", b"\2\0\0\0" + small(width - 1) + small(height - 1))
    shown = (b"ANMF", bytes(6) + small(WIDTH - 1) + small(HEIGHT - 1) + small(100) + b"\0" + frame)
    return webp(canvas, (b"ANIM", struct.pack("<IH", 0, 0)), shown, shown)


def _bmps() -> dict[str, bytes]:
    palette = bytes(range(256)) * 4
    rows = bytes(index % 256 for index in range(WIDTH * HEIGHT * 4))
    run_lengths = (bytes((WIDTH, 7)) + b"\0\0") * HEIGHT + b"\0\1"
    return {
        "bmp": _encoded(".bmp"),
        "bmp top down": bmp(WIDTH, -HEIGHT, 24, 0, rows[: WIDTH * HEIGHT * 3]),
        "bmp 32 bits": bmp(WIDTH, HEIGHT, 32, 0, rows),
        "bmp palette": bmp(WIDTH, HEIGHT, 8, 0, rows[: WIDTH * HEIGHT], palette),
        "bmp run lengths": bmp(WIDTH, HEIGHT, 8, 1, run_lengths, palette),
        "bmp os/2": os2_bmp(WIDTH, HEIGHT, rows[: WIDTH * HEIGHT * 3]),
    }
