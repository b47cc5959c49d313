"""Every kind of source against slicing and resizing by hand, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sal_runtime.errors import InputError
from sal_runtime.images.pixels import decode_image, read_file, resize_image
from sal_runtime.images.sources import Crop, check_colour, read_source
from sal_runtime.images.spec import ImageSpec

SPEC = ImageSpec(16, 8)
FRAME = np.random.default_rng(3).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def test_a_path_its_text_its_bytes_and_its_pixels_are_the_same_image(tmp_path: Path) -> None:
    path = tmp_path / "frame.png"
    path.write_bytes(bytes(cv2.imencode(".png", FRAME[:, :, ::-1])[1]))
    expected = resize_image(FRAME, SPEC)
    for source in (path, str(path), path.read_bytes(), FRAME):
        assert np.array_equal(read_source(source, SPEC), expected)


def test_bgr_is_rgb_with_its_channels_swapped() -> None:
    bgr = np.ascontiguousarray(FRAME[:, :, ::-1])
    assert np.array_equal(read_source(bgr, SPEC, "BGR"), read_source(FRAME, SPEC, "RGB"))
    box = (11, 7, 20, 40)
    assert np.array_equal(read_source(Crop(bgr, box), SPEC, "BGR"), read_source(Crop(FRAME, box), SPEC))
    exact = np.ascontiguousarray(FRAME[:16, :8])
    assert np.array_equal(read_source(exact, SPEC, "BGR"), exact[:, :, ::-1])
    with pytest.raises(InputError, match="expected RGB or BGR"):
        check_colour("rgb")


def test_files_say_themselves_what_their_channels_are() -> None:
    data = bytes(cv2.imencode(".png", FRAME[:, :, ::-1])[1])
    assert np.array_equal(read_source(data, SPEC, "BGR"), read_source(data, SPEC, "RGB"))


@settings(max_examples=200, deadline=None)
@given(left=st.integers(-100, 100), top=st.integers(-70, 70), width=st.integers(-5, 200), height=st.integers(-5, 150))
def test_a_crop_is_the_box_inside_of_the_frame(left: int, top: int, width: int, height: int) -> None:
    columns = [x for x in range(left, left + width) if 0 <= x < 90]
    rows = [y for y in range(top, top + height) if 0 <= y < 60]
    crop = Crop(FRAME, (left, top, width, height))
    if not rows or not columns:
        with pytest.raises(InputError, match="is empty inside of the frame of 90 x 60 pixels"):
            crop.pixels()
        return
    by_hand = np.ascontiguousarray(FRAME[rows][:, columns])
    assert np.array_equal(crop.pixels(), by_hand)
    assert np.array_equal(read_source(crop, SPEC), resize_image(by_hand, SPEC))


def test_a_crop_is_a_view() -> None:
    crop = Crop(FRAME, (10, 5, 30, 40))
    assert np.shares_memory(crop.pixels(), FRAME)
    assert crop.frame is FRAME


@pytest.mark.parametrize("frame", [FRAME[::-1], FRAME[:, ::-1], FRAME[:, :, ::-1], FRAME.transpose(1, 0, 2)])
def test_frames_of_any_memory_layout(frame: np.ndarray) -> None:
    expected = read_source(Crop(np.ascontiguousarray(frame), (3, 4, 25, 37)), SPEC)
    assert np.array_equal(read_source(Crop(frame, (3, 4, 25, 37)), SPEC), expected)


def test_boxes_of_a_detector_are_taken_if_they_are_whole() -> None:
    box: Any = np.array([3, 4, 25, 37])
    assert np.array_equal(Crop(FRAME, box).pixels(), FRAME[4:41, 3:28])
    for wrong in ((1.5, 2.0, 10.0, 20.0), (1, 2, 3), None):
        with pytest.raises(InputError, match="in whole pixels"):
            Crop(FRAME, wrong).pixels()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (FRAME.astype(np.float32), r"pixels are float32 \(60, 90, 3\), expected uint8"),
        (FRAME[:, :, 0], r"uint8 \(60, 90\), expected uint8 \[height, width, 3\]"),
        (FRAME[:, :0], r"\(60, 0, 3\)"),
        (Crop(FRAME[:, :, :2], (0, 0, 5, 5)), r"\(60, 90, 2\)"),
        (b"", "the file is empty"),
        (7, "got a int, expected a path, the bytes of an image file, an array or a Crop"),
        ("null\0byte", "not the name of a file"),
    ],
)
def test_what_is_no_source_is_refused(source: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_source(source, SPEC)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path, tmp_path / "pipe.jpg"):
        with pytest.raises(InputError, match="is not a file"):
            read_source(path, SPEC)


def test_a_file_and_its_state_are_of_the_same_bytes(tmp_path: Path) -> None:
    path = tmp_path / "image.bmp"
    path.write_bytes(bytes(cv2.imencode(".bmp", FRAME[:, :, ::-1])[1]))
    data, state = read_file(path)
    assert data == path.read_bytes()
    assert (state.st_size, state.st_mtime_ns) == (len(data), path.stat().st_mtime_ns)
    assert np.array_equal(decode_image(data), FRAME)


def test_a_file_that_is_larger_than_any_image_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.bmp").open("wb") as file:
        file.truncate(300_000_000)  # sparse
    with pytest.raises(InputError, match="300,000,000 bytes"):
        read_file(tmp_path / "large.bmp")
