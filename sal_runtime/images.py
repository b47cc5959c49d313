"""From the bytes of an image file to the uint8 crop the image encoder takes: the one decode and resize of the project.

Training, evaluation and search all come through here; normalisation is inside the encoder graph. Golden pixels in
the tests pin the result.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sal_runtime.errors import BundleError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

UInt8Array = NDArray[np.uint8]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MAX_PIXELS = 64_000_000
"""Larger images are refused before they are decoded; 64 megapixels take 192 MB."""
RESIZE_RULE = "area-then-linear"
LAYOUT = {"colour": "RGB", "layout": "NHWC", "dtype": "uint8", "resize": RESIZE_RULE}


@dataclass(frozen=True)
class ImageSpec:
    """What the image encoder takes: uint8 RGB `[N, height, width, 3]`, resized by `resize_image`.

    Attributes:
        height: pixels.
        width: pixels.
    """

    height: int
    width: int

    def to_json(self) -> dict[str, Any]:
        """For the manifest; states colour order, layout, dtype and resize rule too."""
        return {"height": self.height, "width": self.width, **LAYOUT}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> ImageSpec:
        """Read the form `to_json` writes.

        Raises:
            BundleError: it asks for preprocessing this version does not do.
        """
        different = {key: data.get(key) for key, value in LAYOUT.items() if data.get(key) != value}
        if different:
            raise BundleError(f"the bundle wants image preprocessing {different}, this version of sal does {LAYOUT}")
        return ImageSpec(int(data["height"]), int(data["width"]))


def load_image(path: Path, spec: ImageSpec) -> UInt8Array:
    """Read, decode and resize one file: uint8 RGB `[height, width, 3]`.

    Raises:
        InputError: the file cannot be read or is no whole image; the message names it.
    """
    try:
        return resize_image(decode_image(path.read_bytes()), spec)
    except (OSError, InputError) as error:
        raise InputError(f"{path}: {error.strerror if isinstance(error, OSError) else error}") from error


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> UInt8Array:
    """Decode a JPEG, PNG, WebP or BMP file to uint8 RGB `[h, w, 3]`; EXIF orientation is applied, alpha dropped.

    Size and completeness are read from the file's structure before anything is decoded: decoders fill what is missing
    of a truncated JPEG with grey and say nothing.

    Raises:
        InputError: empty, of another format, truncated, damaged, or larger than `max_pixels`.
    """
    import cv2

    width, height = image_size(data)
    if width * height > max_pixels:
        raise InputError(f"{width} x {height} pixels; at most {max_pixels:,} are decoded, scale it down first")
    if not _is_complete(data):
        raise InputError("the file is truncated; copy it again")
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise InputError(f"damaged image ({error.err})") from error
    if image is None:
        raise InputError("damaged image, it cannot be decoded")
    return np.asarray(image, dtype=np.uint8)


def resize_image(image: UInt8Array, spec: ImageSpec) -> UInt8Array:
    """Resize to the size of the encoder without keeping the aspect ratio.

    Each dimension that is too long is first averaged down (pixel area), then each that is too short is interpolated
    (linear); so neither direction aliases.

    Args:
        image: uint8 `[h, w, 3]`, any memory layout.
        spec: target.

    Returns:
        uint8 `[height, width, 3]`, contiguous; `image` itself where it has that form already.
    """
    import cv2

    height, width = image.shape[:2]
    shrunk = (min(width, spec.width), min(height, spec.height))
    if shrunk != (width, height):
        image = cv2.resize(np.ascontiguousarray(image), shrunk, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    if shrunk != (spec.width, spec.height):
        target = (spec.width, spec.height)
        image = cv2.resize(np.ascontiguousarray(image), target, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    return np.ascontiguousarray(image)


def image_size(data: bytes) -> tuple[int, int]:
    """(width, height) in pixels from the header of a JPEG, PNG, WebP or BMP file, before EXIF orientation.

    Raises:
        InputError: the bytes are none of these.
    """
    if not data:
        raise InputError("the file is empty")
    try:
        if data[:2] == b"\xff\xd8":
            return _jpeg_size(data)
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            width, height = struct.unpack(">II", data[16:24])
            return width, height
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
        if data[:2] == b"BM":
            width, height = struct.unpack("<ii", data[18:26])
            return abs(width), abs(height)
    except (struct.error, IndexError) as error:
        raise InputError("the file is truncated; copy it again") from error
    raise InputError("not a JPEG, PNG, WebP or BMP image")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """From the start-of-frame segment (ITU-T T.81, B.2.2)."""
    for marker, start in _jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", data[start + 3 : start + 7])
            return width, height
    raise InputError("a JPEG without a frame header; the file is truncated or damaged")


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """(marker, offset of its length field) of each segment before the first scan."""
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            raise InputError("damaged JPEG: no marker where a segment must start")
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        yield marker, position + 2
        if marker == 0xDA:
            return
        position += 2 + int(struct.unpack(">H", data[position + 2 : position + 4])[0])


def _webp_size(data: bytes) -> tuple[int, int]:
    """From the first chunk (RFC 9649, sections 2.5 to 2.7)."""
    kind = data[12:16]
    if kind == b"VP8X":
        return (
            int.from_bytes(data[24:27], "little") + 1,
            int.from_bytes(data[27:30], "little") + 1,
        )
    if kind == b"VP8L":
        packed = struct.unpack("<I", data[21:25])[0]
        return (packed & 0x3FFF) + 1, ((packed >> 14) & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", data[26:30])
        return width & 0x3FFF, height & 0x3FFF
    raise InputError("damaged WebP: unknown first chunk")


def _is_complete(data: bytes) -> bool:
    """Whether the file's own end is there: the end marker of a JPEG or PNG, the stated length of a WebP or BMP.

    Bytes after the end (padding, previews) are common and harmless.
    """
    if data[:2] == b"\xff\xd8":
        return data.rfind(b"\xff\xd9") > 2 and _last_scan_ends(data)
    if data[:4] == b"\x89PNG":
        return b"IEND\xaeB`\x82" in data[-65536:]
    if data[:4] == b"RIFF":
        return len(data) >= int(struct.unpack("<I", data[4:8])[0]) + 8
    pixels_at = int(struct.unpack("<I", data[10:14])[0])
    width, height = image_size(data)
    bits = int(struct.unpack("<H", data[28:30])[0])
    compressed = struct.unpack("<I", data[30:34])[0] not in (0, 3)
    return compressed or len(data) >= pixels_at + (width * bits + 31) // 32 * 4 * height


def _last_scan_ends(data: bytes) -> bool:
    """Whether an end marker follows the first scan of a JPEG (a preview inside EXIF data has its own)."""
    for marker, start in _jpeg_segments(data):
        if marker == 0xDA:
            return data.find(b"\xff\xd9", start) > 0
    return False
