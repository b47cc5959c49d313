"""What can be encoded: image files, their bytes, arrays of pixels, and boxes in frames."""

from __future__ import annotations

import operator
import os
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from sal_runtime.arrays import AnyArray, UInt8Array
from sal_runtime.errors import InputError
from sal_runtime.images.pixels import decode_image, read_file, resize_image
from sal_runtime.images.spec import ImageSpec

Colour = Literal["RGB", "BGR"]
"""Channel order of arrays and frames; image files have their own."""


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A person in a frame. It refers to the frame without a copy: docs/encoding.md says when the frame may be reused.

    Attributes:
        frame: uint8 `[h, w, 3]` of any memory layout.
        box: left, top, width, height in whole pixels; the part outside the frame is cut off.
    """

    frame: AnyArray
    box: tuple[int, int, int, int]

    def pixels(self) -> UInt8Array:
        """The box as a view of the frame, uint8 `[h, w, 3]`.

        Raises:
            InputError: the frame is not uint8 `[h, w, 3]`, the box is not in whole pixels, or is outside the frame.
        """
        check_pixels(self.frame)
        try:
            left, top, width, height = (operator.index(side) for side in self.box)
        except (TypeError, ValueError):
            raise InputError(
                f"box is {self.box!r}, expected left, top, width and height in whole pixels; round them first"
            ) from None
        pixels = self.frame[max(top, 0) : max(top + height, 0), max(left, 0) : max(left + width, 0)]
        if pixels.size == 0:
            frame_height, frame_width = self.frame.shape[:2]
            raise InputError(
                f"box {self.box} (left, top, width, height) is empty inside of the frame of "
                f"{frame_width} x {frame_height} pixels"
            )
        return pixels


ImageSource = str | os.PathLike[str] | bytes | AnyArray | Crop
"""A path, the bytes of an image file, pixels uint8 `[h, w, 3]`, or a box in a frame."""


def check_pixels(pixels: object) -> None:
    """Refuse anything but an array of pixels.

    Raises:
        InputError: it is not uint8 `[h, w, 3]`, or is empty.
    """
    if not isinstance(pixels, np.ndarray):
        raise InputError(
            f"got a {type(pixels).__name__}, expected a path, the bytes of an image file, an array or a Crop"
        )
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise InputError(f"pixels are {pixels.dtype} {pixels.shape}, expected uint8 [height, width, 3]")


def check_colour(colour: str) -> None:
    """Refuse an unknown channel order.

    Raises:
        InputError: it is neither RGB nor BGR.
    """
    if colour not in get_args(Colour):
        raise InputError(f"colour is {colour!r}, expected RGB or BGR (OpenCV's order)")


def read_source(source: ImageSource, spec: ImageSpec, colour: Colour = "RGB") -> UInt8Array:
    """Read a source as the image encoder takes it: uint8 RGB `[height, width, 3]`.

    The result shares its memory with an array source that has this form already. `colour` is the channel order of
    arrays and frames.

    Raises:
        InputError: the source is not a whole image, or of another type.
        OSError: a file cannot be read.
    """
    if isinstance(source, bytes):
        return resize_image(decode_image(source), spec)
    if isinstance(source, str | os.PathLike):
        return resize_image(decode_image(read_file(source)[0]), spec)
    if isinstance(source, Crop):
        pixels = source.pixels()
    else:
        check_pixels(source)
        pixels = source
    image = resize_image(pixels, spec)
    # the resize treats each channel alone, so channels are swapped last, when there are the fewest pixels
    return image if colour == "RGB" else np.ascontiguousarray(image[:, :, ::-1])
