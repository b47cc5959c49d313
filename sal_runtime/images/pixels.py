"""From the bytes of an image file to the uint8 crop that the image encoder takes.

Training, evaluation and search all decode and resize here; the encoder graph normalises. Golden pixels in the tests pin
the result.
"""

from __future__ import annotations

import os
import stat
from importlib import import_module
from typing import Any

import numpy as np

from sal_runtime.arrays import UInt8Array
from sal_runtime.errors import BackendError, InputError, first_line
from sal_runtime.images.complaints import damage_in, listening
from sal_runtime.images.header import JPEG_END, read_header
from sal_runtime.images.spec import ImageSpec

MAX_PIXELS = 64_000_000
"""Larger images are refused before they are decoded. 64 megapixels take 192 MB, and up to 700 MB during decoding."""
OLDEST_OPENCV = "4.11.0.86"
SYSTEM_REMEDY = "on Debian or Ubuntu: apt-get install libgl1 libglib2.0-0"
MAX_FILE_BYTES = 4 * MAX_PIXELS + 65536
"""Larger files are not read: the largest image uncompressed, with four bytes a pixel and a header."""


def import_opencv() -> Any:
    """The module cv2, or a BackendError that says what to install."""
    try:
        cv2 = import_module("cv2")
    except Exception as error:  # a missing system library, or half of an installation
        remedy = "pip install opencv-python" if isinstance(error, ModuleNotFoundError) else SYSTEM_REMEDY
        raise BackendError(f"OpenCV does not load: {first_line(error)}; {remedy}") from error
    if not hasattr(cv2, "IMREAD_COLOR_RGB"):
        raise BackendError(f"OpenCV {cv2.__version__} is too old; pip install 'opencv-python>={OLDEST_OPENCV}'")
    return cv2


def load_image(path: str | os.PathLike[str], spec: ImageSpec) -> UInt8Array:
    """Read, decode and resize one file: uint8 RGB `[height, width, 3]`.

    Raises:
        InputError: the file cannot be read, or is not a whole image; the message names it.
    """
    try:
        return resize_image(decode_image(read_file(path)[0]), spec)
    except (OSError, InputError) as error:
        raise InputError(f"{path}: {error.strerror if isinstance(error, OSError) else error}") from error


def read_file(path: str | os.PathLike[str]) -> tuple[bytes, os.stat_result]:
    """The content of a file and its state at the same moment.

    Raises:
        InputError: it is not a regular file (a pipe would block), or is larger than any image that is decoded.
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
            raise InputError(f"{state.st_size:,} bytes; no image of at most {MAX_PIXELS:,} pixels is that large")
        data = os.read(descriptor, state.st_size)
        while len(data) < state.st_size and (more := os.read(descriptor, state.st_size - len(data))):
            data += more
    finally:
        os.close(descriptor)
    return data, state


def decode_image(data: bytes, max_pixels: int = MAX_PIXELS) -> UInt8Array:
    """Decode a JPEG, PNG, WebP or BMP file to uint8 RGB `[h, w, 3]`; EXIF orientation is applied, alpha dropped.

    Size and completeness are checked before anything is decoded, because decoders fill the missing part of a
    truncated JPEG with grey. What they complain about while they decode is an error, too.

    Raises:
        InputError: the file is empty, of another format, truncated, damaged, or has more than `max_pixels` pixels.
    """
    cv2 = import_opencv()
    header = read_header(data)
    if header.width * header.height > max_pixels:
        raise InputError(
            f"{header.width} x {header.height} pixels; at most {max_pixels:,} are decoded, scale it down first"
        )
    if not header.complete:
        raise InputError("the file is truncated; copy it again")
    try:
        image, complaints = listening(cv2.imdecode, np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error as error:
        raise InputError(f"damaged image ({error.err})") from error
    if image is None:
        raise InputError("damaged image, it cannot be decoded")
    if complaints and (damage := damage_in(complaints, data[: data.find(JPEG_END, header.scan)])):
        raise InputError(f"damaged image ({damage})")
    return np.asarray(image, dtype=np.uint8)


def resize_image(image: UInt8Array, spec: ImageSpec) -> UInt8Array:
    """Resize to the size of the encoder without keeping the aspect ratio.

    A dimension of more than four times the target is averaged over pixel areas. Otherwise, a longer dimension is
    interpolated linearly to twice the target and averaged in pairs, and a shorter one is interpolated linearly. Pixels
    are sampled at their centres, edges repeat, and every step rounds to whole numbers.

    Up to four times the target, this costs about half as much as averaging over pixel areas; docs/encoding.md compares
    the results.

    Args:
        image: uint8 `[h, w, 3]` of any memory layout; a view of a frame is not copied.
        spec: target size.

    Returns:
        uint8 `[height, width, 3]`, contiguous; `image` itself if it has this form already.
    """
    cv2 = import_opencv()
    height, width = image.shape[:2]
    sizes = zip(_lengths(width, spec.width), _lengths(height, spec.height), strict=True)
    kernels = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_LINEAR)
    for size, kernel in zip(sizes, kernels, strict=True):
        if size != (image.shape[1], image.shape[0]):
            image = cv2.resize(image, size, interpolation=kernel)
    return np.ascontiguousarray(image)


def _lengths(length: int, target: int) -> tuple[int, int, int, int]:
    """The length of one dimension after each step of `resize_image`."""
    averaged = target if length > 4 * target else length
    doubled = 2 * target if averaged > target else averaged
    return averaged, doubled, min(averaged, target), target
