"""Small pictures of hits, for sheets that people look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sal_runtime.errors import InputError
from sal_runtime.images.pixels import decode_image, import_opencv, read_file

JPEG_QUALITY = 85


def load_thumbnail(path: Path, height: int, width: int) -> NDArray[np.uint8] | None:
    """An image scaled to fit into a box, with its proportions.

    Returns:
        uint8 RGB `[h, w, 3]` with h <= height and w <= width; None if the image is gone or cannot be read any more.
    """
    cv2 = import_opencv()

    try:
        image = decode_image(read_file(path)[0])
    except (OSError, InputError):
        return None
    scale = min(height / image.shape[0], width / image.shape[1])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    kernel = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=kernel), dtype=np.uint8)


def encode_image(image: NDArray[np.uint8], suffix: str) -> bytes:
    """A uint8 RGB image `[h, w, 3]` as a file, in the format of a suffix: `.jpg` or `.png`."""
    cv2 = import_opencv()

    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if suffix == ".jpg" else []
    _, data = cv2.imencode(suffix, image[..., ::-1], options)
    return bytes(data)
