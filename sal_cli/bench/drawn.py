"""Drawn images to measure with: people as JPEG files, and people in the frames of a camera."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sal_runtime.arrays import UInt8Array
from sal_runtime.images.pixels import import_opencv
from sal_runtime.images.sources import Crop
from sal_runtime.images.spec import ImageSpec

FRAME_HEIGHT, FRAME_WIDTH = 1080, 1920
NUM_FRAMES = 4
PERSON_WIDTHS = (60, 150)
PERSON_ASPECT = (2.4, 2.7)
"""Least and greatest ratio of the height of a person to the width."""
JPEG_QUALITY = 90
NOISE = 4.0
"""Standard deviation like that of a cheap camera; it decides how large a JPEG is and how long it takes to decode."""


def draw_person(height: int, width: int, rng: np.random.Generator) -> UInt8Array:
    """A figure in front of a wall, uint8 `[height, width, 3]`, different with every call."""
    cv2 = import_opencv()

    wall = np.linspace(rng.uniform(70, 190, 3), rng.uniform(70, 190, 3), height)
    image = np.ascontiguousarray(np.broadcast_to(wall[:, None], (height, width, 3)).astype(np.uint8))
    skin, upper, lower = ([int(value) for value in rng.integers(20, 236, 3)] for _ in range(3))

    def place(x: float, y: float) -> tuple[int, int]:
        return round(x * width), round(y * height)

    for hip, foot in ((0.42, 0.3), (0.58, 0.7)):
        cv2.line(image, place(hip, 0.52), place(foot, 0.95), lower, max(1, width // 6), cv2.LINE_AA)
    cv2.rectangle(image, place(0.3, 0.2), place(0.7, 0.56), upper, -1)
    cv2.ellipse(image, place(0.5, 0.12), place(0.1, 0.07), 0, 0, 360, skin, -1, cv2.LINE_AA)
    blurred = cv2.GaussianBlur(image, (0, 0), 0.7)
    noise = NOISE * rng.standard_normal(image.shape, dtype=np.float32)
    return np.asarray(np.clip(blurred + noise, 0, 255), np.uint8)


def write_people(folder: Path, count: int, spec: ImageSpec, seed: int = 0) -> list[Path]:
    """Write `count` JPEG files of drawn people in the encoder's size; the same seed gives the same files."""
    cv2 = import_opencv()

    rng = np.random.default_rng(seed)
    paths = [folder / f"{number:06d}.jpg" for number in range(count)]
    for path in paths:
        image = draw_person(spec.height, spec.width, rng)
        path.write_bytes(cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))[1].tobytes())
    return paths


def draw_crops(count: int, seed: int = 0) -> list[Crop]:
    """Crops of realistic size from `NUM_FRAMES` drawn frames of 1080p; the same seed gives the same crops."""
    rng = np.random.default_rng(seed)
    frames = [draw_person(FRAME_HEIGHT, FRAME_WIDTH, rng) for _ in range(NUM_FRAMES)]
    crops = []
    for number in range(count):
        width = int(rng.integers(PERSON_WIDTHS[0], PERSON_WIDTHS[1] + 1))
        height = round(width * rng.uniform(*PERSON_ASPECT))
        left, top = int(rng.integers(FRAME_WIDTH - width)), int(rng.integers(FRAME_HEIGHT - height))
        crops.append(Crop(frames[number % NUM_FRAMES], (left, top, width, height)))
    return crops
