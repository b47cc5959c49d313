"""From the bytes of an image file to the uint8 crop the image encoder takes: the one decode and resize of the project.

Training, evaluation and search all come through here; normalisation is inside the encoder graph. Golden pixels in
the tests pin the result.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sal_runtime.arrays import UInt8Array
from sal_runtime.errors import BundleError, InputError
from sal_runtime.images.header import read_header

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MAX_PIXELS = 64_000_000
"""Larger images are refused before they are decoded; 64 megapixels take 192 MB, while decoding up to 700 MB."""
RESIZE_RULE = "linear-then-halve"
"""What `resize_image` does; in the manifest of every bundle."""
LAYOUT = {"colour": "RGB", "layout": "NHWC", "dtype": "uint8", "resize": RESIZE_RULE}
MAX_FILE_BYTES = 4 * MAX_PIXELS + 65536
"""The largest image that is decoded, uncompressed with four bytes a pixel, and its header; more is not even read."""


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
            raise BundleError(
                f"the bundle wants image preprocessing {different}, this version of sal does {LAYOUT}; "
                "export its run again"
            )
        return ImageSpec(int(data["height"]), int(data["width"]))


def load_image(path: Path, spec: ImageSpec) -> UInt8Array:
    """Read, decode and resize one file: uint8 RGB `[height, width, 3]`.

    Raises:
        InputError: the file cannot be read or is no whole image; the message names it.
    """
    try:
        return resize_image(decode_image(read_file(path)[0]), spec)
    except (OSError, InputError) as error:
        raise InputError(f"{path}: {error.strerror if isinstance(error, OSError) else error}") from error


def read_file(path: str | os.PathLike[str]) -> tuple[bytes, os.stat_result]:
    """The content of a file and its state, both of the same moment.

    Raises:
        InputError: it is no regular file (a pipe is not waited for), or larger than any image that is decoded.
        OSError: it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ValueError as error:
        raise InputError(f"not the name of a file ({error})") from error
    try:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise InputError("is not a file")
        if state.st_size > MAX_FILE_BYTES:
            raise InputError(f"{state.st_size:,} bytes; no image of at most {MAX_PIXELS:,} pixels has more than that")
        data = os.read(descriptor, state.st_size)
        while len(data) < state.st_size and (more := os.read(descriptor, state.st_size - len(data))):
            data += more
    finally:
        os.close(descriptor)
    return data, state


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> UInt8Array:
    """Decode a JPEG, PNG, WebP or BMP file to uint8 RGB `[h, w, 3]`; EXIF orientation is applied, alpha dropped.

    Size and completeness are read from the file's structure before anything is decoded: decoders fill what is missing
    of a truncated JPEG with grey and say nothing.

    Raises:
        InputError: empty, of another format, truncated, damaged, or larger than `max_pixels`.
    """
    import cv2

    header = read_header(data)
    if header.width * header.height > max_pixels:
        raise InputError(
            f"{header.width} x {header.height} pixels; at most {max_pixels:,} are decoded, scale it down first"
        )
    if not header.complete:
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

    Each dimension that is more than four times too long is averaged over pixel areas; then each that is still too long
    is interpolated linearly to twice the target and averaged in pairs; then each that is too short is interpolated
    linearly. Pixels are at their centres, edges repeat, every step rounds to whole numbers.

    Up to four times, this costs about half of the mean over pixel areas, and up to twice it aliases no more; see
    docs/encoding.md.

    Args:
        image: uint8 `[h, w, 3]`, any memory layout; a view of a frame is read in place.
        spec: target.

    Returns:
        uint8 `[height, width, 3]`, contiguous; `image` itself where it has that form already.
    """
    import cv2

    height, width = image.shape[:2]
    sizes = zip(_lengths(width, spec.width), _lengths(height, spec.height), strict=True)
    kernels = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_LINEAR)
    for size, kernel in zip(sizes, kernels, strict=True):
        if size != (image.shape[1], image.shape[0]):
            image = cv2.resize(image, size, interpolation=kernel)  # type: ignore[assignment]
    return np.ascontiguousarray(image)


def _lengths(length: int, target: int) -> tuple[int, int, int, int]:
    """Of one dimension after each step of `resize_image`."""
    averaged = target if length > 4 * target else length
    doubled = 2 * target if averaged > target else averaged
    return averaged, doubled, min(averaged, target), target
