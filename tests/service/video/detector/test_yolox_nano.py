"""A real detector on a real video: YOLOX-nano on people who walk on a square."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from sal_runtime.arrays import UInt8Array
from sal_service.video.detector.detector import Detector
from sal_service.video.detector.nobody import NobodyWatch
from tests.research_weights import find_weights
from tests.service.video.recorded import find_vtest

NAME = "yolox_nano.onnx"


def frames_of_vtest(step: int = 1) -> Iterator[UInt8Array]:
    capture = cv2.VideoCapture(str(find_vtest()))
    for number in range(795):
        is_read, frame = capture.read()
        assert is_read
        if number % step == 0:
            yield frame


def test_it_is_recognised_by_itself_and_finds_the_people() -> None:
    detector = Detector(find_weights(NAME), min_height=0, threads=1)
    assert (detector.family, detector.input_size, detector.batch) == ("yolox-raw", (416, 416), 1)
    frames = list(frames_of_vtest(step=10))
    found = detector.detect(frames)
    assert sum(map(len, found)) / len(found) == pytest.approx(6.80, abs=0.15)  # 6.80 in all 795 frames
    boxes = np.concatenate([people.boxes for people in found])
    heights = boxes[:, 3] - boxes[:, 1]
    assert np.median(heights) == pytest.approx(77, abs=3)
    assert boxes.min() >= 0
    assert (boxes[:, 2:] <= [768, 576]).all()
    tall = sum(map(len, Detector(find_weights(NAME), threads=1).detect(frames)))
    assert tall / len(boxes) == pytest.approx(0.83, abs=0.03)


@pytest.mark.slow
def test_it_finds_as_many_people_in_the_whole_video_as_was_measured() -> None:
    detector = Detector(find_weights(NAME), min_height=0, threads=1)
    counts = [len(detector.detect([frame])[0]) for frame in frames_of_vtest()]
    assert np.mean(counts) == pytest.approx(6.80, abs=0.05)
    assert (min(counts), max(counts)) == (3, 11)


def test_a_wrong_convention_finds_nobody_and_is_reported(tmp_path: Path) -> None:
    path = Path(shutil.copy(find_weights(NAME), tmp_path))
    path.with_suffix(".toml").write_text('colour = "rgb"\ndivide_by = 255\n')
    detector = Detector(path, min_height=0, threads=1)
    watch = NobodyWatch(detector)
    warnings = [
        warning
        for frame in frames_of_vtest(step=5)
        if (warning := watch.see(frame, detector.detect([frame])[0])) is not None
    ]
    assert watch.people == 0
    (warning,) = warnings
    assert "RGB, pixels / 255, top-left on 114" in warning
