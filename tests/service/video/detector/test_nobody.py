"""The watch on a detector that finds nobody."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sal_service.video.detections import Detections
from sal_service.video.detector.detector import Detector
from sal_service.video.detector.nobody import MOVING_FRAMES, NobodyWatch
from tests.service.video.detector import graphs
from tests.service.video.detector.graphs import write_graph

STILL = np.zeros((90, 120, 3), np.uint8)
ONE = Detections(np.array([[1, 2, 30, 60]], np.float32), np.array([0.8], np.float32))


@pytest.fixture
def watch(tmp_path: Path) -> NobodyWatch:
    return NobodyWatch(Detector(write_graph(tmp_path / "mine.onnx", {"output0": graphs.yolov8()})))


def walking(number: int) -> np.ndarray:
    frame = STILL.copy()
    frame[20:80, number % 90 : number % 90 + 20] = 200
    return frame


def test_it_warns_once_after_a_hundred_frames_that_move(watch: NobodyWatch) -> None:
    warnings = [watch.see(walking(number), Detections.none()) for number in range(3 * MOVING_FRAMES)]
    (warning,) = filter(None, warnings)
    assert warnings.index(warning) == MOVING_FRAMES  # the first frame has none before it
    assert "mine.onnx found nobody in 101 frames, in 100 of which the picture moved" in warning
    assert "lower than 48 pixels or less sure than 0.3" in warning
    assert "yolov8, 128 x 128, RGB, pixels / 255, centre on 114, a person is class 0" in warning
    assert "draw what it sees in a frame with people" in warning
    assert "--" not in warning
    assert "\n" not in warning
    assert (watch.frames, watch.people) == (3 * MOVING_FRAMES, 0)


def test_frames_that_do_not_move_do_not_count(watch: NobodyWatch) -> None:
    rng, grey = np.random.default_rng(0), np.full((480, 640, 3), 100, np.uint8)
    noisy = [grey + rng.integers(0, 30, grey.shape, dtype=np.uint8) for _ in range(5)]
    for number in range(2 * MOVING_FRAMES):
        assert watch.see(noisy[number % 5], Detections.none()) is None
    assert watch.moving == 0


def test_one_person_is_enough(watch: NobodyWatch) -> None:
    for number in range(3 * MOVING_FRAMES):
        assert watch.see(walking(number), ONE if number == MOVING_FRAMES - 1 else Detections.none()) is None
    assert watch.people == 1
