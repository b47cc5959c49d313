"""The parts of a crop's quality against values worked out by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sal_runtime.arrays import Float32Array, UInt8Array
from sal_service.video.detections import Detections
from sal_service.video.quality import (
    CUT_OFF,
    FREE_BORDER,
    FULL_HEIGHT,
    SHARP,
    Quality,
    cut_out,
    is_colourless,
    qualities,
    sharpness,
)

NOBODY = np.empty((0, 4), np.float32)


def textured(height: int = 400, width: int = 600) -> UInt8Array:
    """A picture with detail everywhere."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def rated(*boxes: tuple[float, float, float, float], hidden: Float32Array = NOBODY) -> list[Quality]:
    detections = Detections(np.array(boxes, np.float32), np.full(len(boxes), 0.5, np.float32))
    return qualities(textured(), detections, hidden, np.arange(len(boxes)))


def test_size_grows_up_to_the_height_that_the_encoder_sees() -> None:
    half, full, double = rated(
        (20, 100, 60, 100 + FULL_HEIGHT / 2), (200, 100, 250, 100 + FULL_HEIGHT), (400, 50, 500, 50 + 2 * FULL_HEIGHT)
    )
    assert (half.size, full.size, double.size) == (0.5, 1.0, 1.0)


@pytest.mark.parametrize("box", [(0, 100, 40, 200), (560, 100, 600, 200), (100, 0, 140, 100), (100, 300, 140, 400)])
def test_bodies_at_the_border_lose(box: tuple[float, float, float, float]) -> None:
    (cut,) = rated(box)
    assert cut.inside == pytest.approx(CUT_OFF)
    shift = (
        50 * FREE_BORDER * np.sign((300 - box[0]) * (box[0] in (0, 560))),
        50 * FREE_BORDER * np.sign((150 - box[1]) * (box[1] in (0, 300))),
    )
    (half,) = rated((box[0] + shift[0], box[1] + shift[1], box[2] + shift[0], box[3] + shift[1]))
    assert half.inside == pytest.approx(0.5)


def test_overlap_with_those_who_are_seen_and_those_who_are_hidden() -> None:
    left, right = rated((100, 100, 140, 200), (130, 100, 170, 200))
    assert left.uncovered == right.uncovered == pytest.approx(0.75)
    (one,) = rated((100, 100, 140, 200), hidden=np.array([[80, 150, 120, 250]], np.float32))
    assert one.uncovered == pytest.approx(0.75)
    (alone,) = rated((100, 100, 140, 200))
    assert alone.uncovered == 1


def test_sharpness_is_the_variance_of_the_laplacian_at_a_fixed_size() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (128, 48)).astype(np.float64)
    # written out: the sum of the four neighbours less four times the pixel; OpenCV mirrors at the edges
    padded = np.pad(grey, 1, mode="reflect")
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * grey
    expected = laplacian.var() / (laplacian.var() + SHARP)
    crop = cv2.cvtColor(grey.astype(np.uint8), cv2.COLOR_GRAY2BGR)
    assert sharpness(crop) == pytest.approx(expected, rel=1e-4)
    values = [sharpness(cv2.GaussianBlur(crop, (0, 0), blur)) for blur in (0.5, 1, 2)]
    assert values == sorted(values, reverse=True)
    assert sharpness(np.full((128, 48, 3), 90, np.uint8)) == 0


def test_the_whole_is_the_geometric_mean() -> None:
    assert Quality(0.5, 1, 1, 1, 1).total == pytest.approx(0.5**0.2)
    assert Quality(1, 1, 1, 1, 1).total == 1
    assert Quality(1, 1, 1, 0, 1).total == 0


def test_a_box_is_cut_out_whole_and_never_empty() -> None:
    image = textured()
    assert cut_out(image, np.array([10.4, 20.6, 30.2, 60.0], np.float32)).shape == (40, 21, 3)
    assert cut_out(image, np.array([600, 400, 600, 400], np.float32)).shape == (1, 1, 3)


def test_colourless_pictures() -> None:
    grey = cv2.cvtColor(cv2.cvtColor(textured(), cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    assert is_colourless(grey)
    assert is_colourless(cv2.imdecode(cv2.imencode(".jpg", grey, [1, 60])[1], cv2.IMREAD_COLOR))
    with_clock = grey.copy()
    with_clock[:20, :200] = (0, 255, 255)
    assert is_colourless(with_clock)
    with_clock[:, :60] = (40, 40, 200)
    assert not is_colourless(with_clock)
    assert not is_colourless(textured())
