"""Frames onto the canvas of a detector, and boxes back into frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sal_runtime.arrays import AnyArray, Float32Array, UInt8Array
from sal_runtime.images.pixels import import_opencv
from sal_service.video.detector.description import Description


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a frame is on the canvas: a point x of the frame is at `x * scale_x + left`, in pixels of the canvas."""

    scale_x: float
    scale_y: float
    left: int
    top: int
    frame_width: int
    frame_height: int

    def to_frame(self, boxes: Float32Array) -> Float32Array:
        """Boxes `[n, 4]` in pixels of the canvas as boxes in pixels of the frame, clipped to it."""
        offset = np.array([self.left, self.top] * 2)
        scale = np.array([self.scale_x, self.scale_y] * 2)
        limit = np.array([self.frame_width, self.frame_height] * 2)
        in_frame: Float32Array = np.clip((boxes - offset) / scale, 0, limit).astype(np.float32)
        return in_frame


def fit(frame: UInt8Array, description: Description) -> tuple[UInt8Array, Placement]:
    """A frame uint8 BGR `[H, W, 3]` on the canvas uint8 BGR `[height, width, 3]`, and where it is there."""
    cv2 = import_opencv()
    frame_height, frame_width = frame.shape[:2]
    width, height = description.width, description.height
    if description.fit != "stretch":
        ratio = min(width / frame_width, height / frame_height)
        width = min(max(round(frame_width * ratio), 1), width)
        height = min(max(round(frame_height * ratio), 1), height)
    resized = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    is_centred = description.fit == "centre"
    left = (description.width - width) // 2 if is_centred else 0
    top = (description.height - height) // 2 if is_centred else 0
    # width / frame_width, not the ratio: the resized frame has a whole number of pixels
    placement = Placement(width / frame_width, height / frame_height, left, top, frame_width, frame_height)
    if (width, height) == (description.width, description.height):
        return resized, placement
    canvas = np.full((description.height, description.width, 3), description.padding, np.uint8)
    canvas[top : top + height, left : left + width] = resized
    return canvas, placement


def to_pictures(
    canvases: Sequence[UInt8Array], description: Description, *, dtype: str, is_planar: bool, count: int
) -> AnyArray:
    """Canvases uint8 BGR `[height, width, 3]` as the network wants them.

    Args:
        canvases: at most `count` of them.
        description: colours and values that the network wants.
        dtype: dtype that the network wants.
        is_planar: return `[count, 3, height, width]`, not `[count, height, width, 3]`.
        count: pictures to return; those beyond the canvases are empty.
    """
    shape = (3, description.height, description.width) if is_planar else (description.height, description.width, 3)
    pictures = np.zeros((count, *shape), np.float32)
    for picture, canvas in zip(pictures, canvases, strict=False):
        pixels: AnyArray = canvas if description.colour == "bgr" else canvas[..., ::-1]
        picture[...] = pixels.transpose(2, 0, 1) if is_planar else pixels
    per_colour = (3, 1, 1) if is_planar else (3,)
    std = np.array(description.std).reshape(per_colour)
    gain, shift = 1 / (description.divide_by * std), -np.array(description.mean).reshape(per_colour) / std
    if (gain != 1).any():
        pictures *= gain.astype(np.float32)
    if (shift != 0).any():
        pictures += shift.astype(np.float32)
    return pictures.astype(dtype, copy=False)
