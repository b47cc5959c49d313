"""The recorded video that tests look at. The repository has none; tests are skipped where it is missing."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import pytest

from sal_runtime.files import cache_folder
from tests.research_data import BESIDE_THE_CHECKOUT

NAME = "vtest.avi"


def find_vtest() -> Path:
    """OpenCV's sample video of people on a square (768 x 576, 795 frames, 10 frames per second), or a skipped test.

    `$SAL_VIDEO` names its folder, or the file itself. If it is not set, the folder `video` beside the checkout is
    searched, and that of the cache, where `scripts/prepare_system.sh` puts it.
    """
    named = os.environ.get("SAL_VIDEO")
    for place in [Path(named)] if named else [BESIDE_THE_CHECKOUT / "video", cache_folder() / "video"]:
        path = place / NAME if place.is_dir() else place
        if path.is_file():
            return path
    if named:
        pytest.fail(f"SAL_VIDEO is {named}, which neither is a video nor a folder with {NAME}")
    pytest.skip(f"no recorded video: set SAL_VIDEO to a folder that holds {NAME}")


def write_clip(path: Path, frames: int) -> None:
    """The first frames of that video as a file of its own."""
    capture = cv2.VideoCapture(str(find_vtest()))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (768, 576))
    for _ in range(frames):
        writer.write(capture.read()[1])
    writer.release()
