"""The size of an encoded image, and whether the file is whole: OpenCV decodes a truncated file without an error."""

from __future__ import annotations

import struct
from typing import NamedTuple

from sal_runtime.errors import InputError

JPEG_END = b"\xff\xd9"
_NO_FRAME = (0xC4, 0xC8, 0xCC)
"""Markers between C0 and CF that do not start a frame (ITU-T T.81, table B.1)."""
_WITHOUT_LENGTH = frozenset((0x00, 0x01, *range(0xD0, 0xDA)))
"""Markers without a length, which decoders skip where a segment must start."""
_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_START_OF_SCAN = 0xDA
MAX_SCANS = 100
"""Most scans of a JPEG. Encoders write up to about 20; a scan of a few bytes costs a pass over all pixels."""
_FILL = 0xFF
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_PNG_FRAMES = (b"IDAT", b"fcTL", b"fdAT")
MAX_CHUNKS = 100
"""Most chunks of a PNG besides its frames. Each may be text that unpacks to megabytes, or print a line on stderr."""
_BMP_UNCOMPRESSED = (0, 3)
_OS2_HEADER = 12


class ImageHeader(NamedTuple):
    """The header of a JPEG, PNG, WebP or BMP file.

    Attributes:
        width: pixels, before EXIF orientation.
        height: pixels, before EXIF orientation.
        complete: whether the file has its end: the end marker of a JPEG or PNG, the stated length of a WebP or BMP.
            Bytes after the end (padding, previews) are common and harmless.
        scan: offset of the first scan of a JPEG; 0 in other formats, and where there is none.
    """

    width: int
    height: int
    complete: bool
    scan: int = 0


def begins_as_image(start: bytes) -> bool:
    """Whether the first 12 bytes of a file are those of a JPEG, PNG, WebP or (by two letters alone) BMP."""
    return start.startswith((b"\xff\xd8\xff", _PNG_SIGNATURE, b"BM")) or (start[:4], start[8:12]) == (b"RIFF", b"WEBP")


def read_header(data: bytes) -> ImageHeader:
    """Read the header of an image file.

    Raises:
        InputError: the file is empty or in none of the four formats, its header is truncated or damaged, or it is a
            JPEG of more than 100 scans or a PNG of more than 100 chunks besides its frames.
    """
    if not data:
        raise InputError("the file is empty")
    try:
        if data[:2] == b"\xff\xd8":
            return _jpeg(data)
        if data[:8] == _PNG_SIGNATURE:
            return _png(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return ImageHeader(*_webp_size(data), len(data) >= int(struct.unpack_from("<I", data, 4)[0]) + 8)
        if data[:2] == b"BM":
            return _bmp(data)
    except struct.error as error:
        raise InputError("the file is truncated; copy it again") from error
    raise InputError("not a JPEG, PNG, WebP or BMP image")


def _png(data: bytes) -> ImageHeader:
    """Reads the first chunk (PNG specification, 5.3 and 11.2.1) and counts the others."""
    width, height = struct.unpack_from(">II", data, 16)
    if data[12:16] != b"IHDR":
        raise InputError("damaged PNG: it does not begin with its header")
    position, others = 8, 0
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        others += kind not in _PNG_FRAMES
        position += 12 + length
    if others > MAX_CHUNKS:
        raise InputError(f"a PNG of {others:,} chunks besides its pixels, at most {MAX_CHUNKS} are read; save it again")
    return ImageHeader(width, height, _PNG_END in data[-65536:])


def _jpeg(data: bytes) -> ImageHeader:
    """Reads the frame header and the start of the first scan (ITU-T T.81, B.2.2 and B.2.3).

    The end marker must follow the scan: a preview inside EXIF data has an end marker of its own.
    """
    size: tuple[int, int] | None = None
    components, progressive = 0, False
    scan = 0
    position = 2
    while position + 4 <= len(data):
        marker = data[position + 1]
        if data[position] != _FILL or marker in _WITHOUT_LENGTH:
            raise InputError("damaged JPEG: no marker where a segment must start")
        if marker == _FILL:
            position += 1
            continue
        if marker == _START_OF_SCAN:
            scan = position
            if progressive or data[position + 4 : position + 5] != bytes((components,)):
                _check_scans(data, position)
            break
        if size is None and 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            height, width, components = struct.unpack_from(">HHB", data, position + 5)
            size, progressive = (width, height), marker in _PROGRESSIVE
        position += 2 + (data[position + 2] << 8 | data[position + 3])
    if size is None:
        raise InputError("a JPEG without a frame header; the file is truncated or damaged")
    # most files end with the end marker, and the search for it costs more than all else here
    complete = scan > 0 and (data.endswith(JPEG_END) or data.find(JPEG_END, scan) > 0)
    return ImageHeader(*size, complete, scan)


def _check_scans(data: bytes, first: int) -> None:
    if data.count(bytes((_FILL, _START_OF_SCAN)), first) > MAX_SCANS:
        raise InputError(f"a JPEG of more than {MAX_SCANS} scans; save it again as an ordinary one")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Reads the first chunk (RFC 9649, sections 2.5 to 2.7)."""
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        packed = struct.unpack_from("<I", data, 21)[0]
        return (packed & 0x3FFF) + 1, ((packed >> 14) & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    raise InputError("damaged WebP: unknown first chunk")


def _bmp(data: bytes) -> ImageHeader:
    """Reads the file header and the BITMAPINFOHEADER or OS/2's shorter header; rows are padded to four bytes."""
    pixels_at, header_size = struct.unpack_from("<II", data, 10)
    if header_size == _OS2_HEADER:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height = (abs(side) for side in struct.unpack_from("<ii", data, 18))
        bits, compression = struct.unpack_from("<HI", data, 28)
    needed = pixels_at + (width * bits + 31) // 32 * 4 * height
    return ImageHeader(width, height, compression not in _BMP_UNCOMPRESSED or len(data) >= needed)
