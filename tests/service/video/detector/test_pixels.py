"""Frames onto the canvas and back."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sal_service.video.detector.description import FAMILIES, Description
from sal_service.video.detector.pixels import fit

lengths = st.integers(1, 300)
fits = st.sampled_from(["stretch", "top-left", "centre"])


def described(width: int, height: int, kind: str) -> Description:
    conventions = {**FAMILIES["yolov8"].conventions, "fit": kind, "padding": 0}
    return Description(family="yolov8", person_class=0, width=width, height=height, **conventions)


@settings(max_examples=100, deadline=None)
@given(lengths, lengths, lengths, lengths, fits)
def test_the_visible_frame_is_the_whole_frame(width: int, height: int, wide: int, high: int, kind: str) -> None:
    """A white frame on a black canvas: what is white there is the frame from edge to edge."""
    canvas, placement = fit(np.full((height, width, 3), 255, np.uint8), described(wide, high, kind))
    assert canvas.shape == (high, wide, 3)
    rows, columns = np.flatnonzero(canvas.any(axis=(1, 2))), np.flatnonzero(canvas.any(axis=(0, 2)))
    edges = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float32)
    np.testing.assert_allclose(placement.to_frame(edges), [[0, 0, width, height]], rtol=1e-6)
    if kind == "top-left":
        assert (columns[0], rows[0]) == (0, 0)
    if kind == "centre":
        assert abs((wide - columns[-1] - 1) - columns[0]) <= 1
        assert abs((high - rows[-1] - 1) - rows[0]) <= 1


@settings(max_examples=100, deadline=None)
@given(lengths, lengths, lengths, lengths, fits, st.tuples(*[st.floats(0, 1)] * 4))
def test_boxes_come_back(width: int, height: int, wide: int, high: int, kind: str, box: tuple[float, ...]) -> None:
    _, placement = fit(np.zeros((height, width, 3), np.uint8), described(wide, high, kind))
    in_frame = np.array([box]) * [width, height, width, height]
    scale = [placement.scale_x, placement.scale_y] * 2
    on_canvas = in_frame * scale + [placement.left, placement.top] * 2
    np.testing.assert_allclose(placement.to_frame(on_canvas.astype(np.float32)), in_frame, atol=2e-2, rtol=1e-4)


@settings(max_examples=100, deadline=None)
@given(lengths, lengths)
def test_proportions_are_kept_to_a_pixel(width: int, height: int) -> None:
    _, placement = fit(np.zeros((height, width, 3), np.uint8), described(416, 416, "top-left"))
    ratio = min(416 / width, 416 / height)
    assert abs(placement.scale_x * width - ratio * width) <= 1
    assert abs(placement.scale_y * height - ratio * height) <= 1


def test_a_point_is_where_it_is_drawn() -> None:
    frame = np.zeros((301, 201, 3), np.uint8)
    frame[100:150, 50:80] = 255
    description = described(640, 416, "centre")
    canvas, placement = fit(frame, description)
    rows, columns = np.flatnonzero((canvas > 127).any(axis=(1, 2))), np.flatnonzero((canvas > 127).any(axis=(0, 2)))
    edges = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float32)
    np.testing.assert_allclose(placement.to_frame(edges), [[50, 100, 80, 150]], atol=0.5)
    mirrored, _ = fit(frame[:, ::-1], dataclasses.replace(description, fit="stretch"))
    assert mirrored.shape == (416, 640, 3)
