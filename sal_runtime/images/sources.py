"""What can be encoded: image files, their bytes, arrays of pixels, boxes in frames; each to the encoder's pixels."""

from __future__ import annotations

import operator
import os
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from sal_runtime.arrays import UInt8Array
from sal_runtime.errors import InputError
from sal_runtime.images.pixels import ImageSpec, decode_image, read_file, resize_image

Colour = Literal["RGB", "BGR"]
"""Order of the channels of arrays and frames; image files say themselves what they hold."""


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A person in a frame. Holds the frame itself, not a copy: see docs/encoding.md on who may write to it when.

    Attributes:
        frame: uint8 `[h, w, 3]`, any memory layout.
        box: left, top, width, height in whole pixels; what of it is outside of the frame is cut off.
    """

    frame: UInt8Array
    box: tuple[int, int, int, int]

    def pixels(self) -> UInt8Array:
        """The box as a view of the frame, uint8 `[h, w, 3]`.

        Raises:
            InputError: the frame is none, the box is not of whole pixels, or none of it is inside of the frame.
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


ImageSource = str | os.PathLike[str] | bytes | UInt8Array | Crop
"""A path, the content of an image file, pixels uint8 `[h, w, 3]`, or a box in a frame."""


def check_pixels(pixels: object) -> None:
    """Refuse what is not a picture in an array.

    Raises:
        InputError: it is not uint8 `[h, w, 3]`, or empty.
    """
    if not isinstance(pixels, np.ndarray):
        raise InputError(
            f"got a {type(pixels).__name__}, expected a path, the bytes of an image file, an array or a Crop"
        )
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise InputError(f"pixels are {pixels.dtype} {pixels.shape}, expected uint8 [height, width, 3]")


def check_colour(colour: str) -> None:
    """Refuse an order of channels that is not known.

    Raises:
        InputError: it is neither RGB nor BGR.
    """
    if colour not in get_args(Colour):
        raise InputError(f"colour is {colour!r}, expected RGB or BGR (OpenCV's order)")


def read_source(source: ImageSource, spec: ImageSpec, colour: Colour = "RGB") -> UInt8Array:
    """The pixels of one source as the image encoder takes them.

    Args:
        source: what to read.
        spec: of the encoder.
        colour: of arrays and frames.

    Returns:
        uint8 RGB `[height, width, 3]`; may share its memory with an array that has this form already.

    Raises:
        InputError: it is no whole image, or nothing that can be one.
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
    # channels are swapped last, where there are the fewest pixels; the resize treats each channel alone
    return image if colour == "RGB" else np.ascontiguousarray(image[:, :, ::-1])
