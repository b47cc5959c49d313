"""How well a crop shows a person, and whether it shows colours."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from sal_runtime.arrays import Float32Array, Int64Array, UInt8Array
from sal_service.video.detections import Detections

FULL_HEIGHT = 128
"""Height in pixels from which a larger crop is no better: the height of the shipped encoder's input."""
SHARPNESS_SIZE = (48, 128)
"""Width and height at which the sharpness is measured, so that large and small crops can be compared."""
SHARP = 300.0
"""Variance of the Laplacian that counts as half sharp: crops of Market-1501 have 800 in the median, and 140 after a
blur of one pixel."""
FREE_BORDER = 0.05
"""Distance from the border of the frame, in heights of the box, from which nothing can be cut off."""
CUT_OFF = 0.1
"""What is left of the worth of a crop at the border."""
COLOUR = 12
"""Difference of the largest and the smallest channel from which a pixel has a colour; JPEG brings a few levels."""
COLOURED_SHARE = 0.05
"""Share of coloured pixels from which a picture has colours; a clock in the picture of an infrared camera may have."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What a crop is worth; each part is in 0..1, and 1 is best.

    Attributes:
        size: of the box.
        sharpness: of the picture.
        inside: distance of the box from the border of the frame, where bodies are cut off.
        uncovered: share of the box that no other person's box overlaps, seen or hidden.
        score: the detector's.
    """

    size: float
    sharpness: float
    inside: float
    uncovered: float
    score: float

    @property
    def total(self) -> float:
        """Geometric mean of the parts, in 0..1: a crop that fails in one of them is not saved by the others."""
        return float(math.prod((self.size, self.sharpness, self.inside, self.uncovered, self.score)) ** (1 / 5))


def qualities(image: UInt8Array, detections: Detections, hidden: Float32Array, rows: Int64Array) -> list[Quality]:
    """The quality of some of the crops of a frame.

    Args:
        image: the frame, uint8 BGR `[H, W, 3]`.
        detections: everybody who was seen in the frame.
        hidden: the boxes of those who were not seen but should be there, float32 `[h, 4]`. Where two people are one
            detection, the other one is among them.
        rows: the detections that are asked for, int64 `[r]`.
    """
    boxes = detections.boxes[rows]
    heights = np.maximum(boxes[:, 3] - boxes[:, 1], 1e-6)
    size = np.minimum(heights / FULL_HEIGHT, 1)
    height, width = image.shape[:2]
    nearest = np.minimum(boxes[:, :2], (width, height) - boxes[:, 2:]).min(axis=1)
    inside = np.clip(nearest / (FREE_BORDER * heights), CUT_OFF, 1)
    uncovered = 1 - _covered(np.concatenate((detections.boxes, hidden)), rows)
    columns = (size, inside, uncovered, detections.scores[rows])
    return [
        Quality(large, sharpness(cut_out(image, box)), within, free, score)
        for box, large, within, free, score in zip(boxes, *(column.tolist() for column in columns), strict=True)
    ]


def sharpness(crop: UInt8Array) -> float:
    """Sharpness of a crop uint8 BGR `[h, w, 3]` in 0..1, from the variance of its Laplacian at a fixed size."""
    grey = cv2.cvtColor(cv2.resize(crop, SHARPNESS_SIZE, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
    variance = float(cv2.Laplacian(grey, cv2.CV_32F).var())
    return variance / (variance + SHARP)


def cut_out(image: UInt8Array, box: Float32Array) -> UInt8Array:
    """The pixels of a box, a view uint8 `[h, w, 3]` of the image, at least one pixel large.

    The box gets no margin: sal's encoders were trained with tight ones.
    """
    height, width = image.shape[:2]
    left, top = min(int(box[0]), width - 1), min(int(box[1]), height - 1)
    return image[top : max(math.ceil(box[3]), top + 1), left : max(math.ceil(box[2]), left + 1)]


def is_colourless(image: UInt8Array) -> bool:
    """Whether a picture uint8 BGR `[h, w, 3]` is infrared or black and white.

    A person in grey clothes may look the same: ask for the frame as well as for the crop.
    """
    blue, green, red = (np.ascontiguousarray(image[..., channel]) for channel in range(3))
    most, least = np.maximum(np.maximum(blue, green), red), np.minimum(np.minimum(blue, green), red)
    return bool((most - least >= COLOUR).mean() < COLOURED_SHARE)


def _covered(boxes: Float32Array, rows: Int64Array) -> Float32Array:
    """The largest share of each of these boxes that another box overlaps, `[r]`."""
    ours = boxes[rows, None]
    sides = np.minimum(ours[..., 2:], boxes[:, 2:]) - np.maximum(ours[..., :2], boxes[:, :2])
    shared = np.maximum(sides, 0).prod(axis=2)
    shared[np.arange(len(rows)), rows] = 0
    areas = (boxes[rows, 2:] - boxes[rows, :2]).prod(axis=1)
    covered: Float32Array = shared.max(axis=1, initial=0) / np.maximum(areas, 1e-6)
    return np.minimum(covered, 1)
