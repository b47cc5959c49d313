"""Videos for tests of sources: drawn ones, whose frames say which one they are, and a real one."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

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


def real_video() -> Path:
    """OpenCV's vtest.avi: 795 frames, 10 a second, 768 x 576; skips where it is not at hand."""
    folder = Path(os.environ.get("SAL_VIDEO") or Path(__file__).parents[5] / "video")
    path = folder / "vtest.avi"
    if not path.is_file():
        pytest.skip(f"{path} is missing; SAL_VIDEO names a folder with OpenCV's sample vtest.avi")
    return path
