"""Drawn videos for tests of sources; their frames say which one they are."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from sal_runtime.arrays import UInt8Array

STEP = 20


def numbered(number: int) -> UInt8Array:
    """A picture that carries its number in its brightness."""
    return np.full((48, 64, 3), 20 + STEP * (number % 11), np.uint8)


def number_of(image: UInt8Array) -> int:
    """The number of a picture, also after lossy compression; modulo 11."""
    return round((float(image.mean()) - 20) / STEP)


def draw_video(path: Path, frames: int, rate: float = 10) -> Path:
    """A Motion JPEG file of numbered pictures."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), rate, (64, 48))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(numbered(number))
    writer.release()
    return path
