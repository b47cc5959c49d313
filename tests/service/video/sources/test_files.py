"""Video files and folders of frames: every frame, and when it was taken."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from sal_runtime.errors import InputError
from sal_service.video.sources.opening import open_source
from sal_service.video.sources.settings import SourceSettings
from tests.service.video.recorded import find_vtest
from tests.service.video.sources.pictures import draw_video, number_of, numbered

BEGIN = 1_700_000_000.0


def test_every_frame_of_a_file_in_its_order_with_its_time(tmp_path: Path) -> None:
    source = open_source(draw_video(tmp_path / "yard.avi", 25, rate=10), SourceSettings(started_at=BEGIN))
    frames = list(source.frames())
    assert [number_of(frame.image) for frame in frames] == [number % 11 for number in range(25)]
    assert [frame.position for frame in frames] == list(range(25))
    assert [frame.captured_at - BEGIN for frame in frames] == pytest.approx([number / 10 for number in range(25)])
    assert {frame.clock for frame in frames} == {"file"}
    assert (source.num_frames, source.is_live, dict(source.troubles)) == (25, False, {})


def test_a_file_ends_when_it_was_last_modified(tmp_path: Path) -> None:
    video = draw_video(tmp_path / "yard.avi", 30, rate=10)
    os.utime(video, (BEGIN, BEGIN))
    moments = [frame.captured_at for frame in open_source(video).frames()]
    assert moments[0] == pytest.approx(BEGIN - 3.0)
    assert moments[-1] == pytest.approx(BEGIN - 0.1)


def test_the_find_vtest() -> None:
    source = open_source(find_vtest(), SourceSettings(started_at=BEGIN))
    frames = [(frame.position, frame.captured_at, frame.image.shape) for frame in source.frames()]
    assert len(frames) == source.num_frames == 795
    assert frames[-1][:2] == pytest.approx((794, BEGIN + 79.4))
    assert {shape for _, _, shape in frames} == {(576, 768, 3)}


def test_frames_that_a_damaged_file_lacks_are_counted(tmp_path: Path) -> None:
    whole = draw_video(tmp_path / "yard.avi", 40).read_bytes()
    (tmp_path / "half.avi").write_bytes(whole[: len(whole) // 2])
    source = open_source(tmp_path / "half.avi")
    read = sum(1 for _ in source.frames())
    assert 0 < read < 40
    assert source.troubles == {"frames that the file declares, but does not hold": (source.num_frames or 0) - read}


def test_a_closed_source_ends(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), numbered(1))
    cv2.imwrite(str(tmp_path / "2.png"), numbered(2))
    for place in (draw_video(tmp_path / "yard.avi", 9), tmp_path):
        source = open_source(place, SourceSettings(frame_rate=5))
        frames = source.frames()
        next(frames)
        source.close()
        assert next(frames, None) is None


def test_frames_of_a_folder_by_the_numbers_in_their_names(tmp_path: Path) -> None:
    for number in (10, 9, 1, 0, 2):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), numbered(number))
    (tmp_path / "notes.txt").write_text("of a camera")
    frames = list(open_source(tmp_path, SourceSettings(frame_rate=4, started_at=BEGIN)).frames())
    assert [number_of(frame.image) for frame in frames] == [0, 1, 2, 9, 10]
    assert [frame.captured_at - BEGIN for frame in frames] == [0, 0.25, 0.5, 0.75, 1.0]


def test_frames_of_a_folder_are_in_the_order_of_colours_that_opencv_reads(tmp_path: Path) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[..., 0] = 200
    cv2.imwrite(str(tmp_path / "blue.png"), image)
    (frame,) = open_source(tmp_path, SourceSettings(frame_rate=1)).frames()
    assert np.array_equal(frame.image, cv2.imread(str(tmp_path / "blue.png")))


def test_times_of_files_are_those_of_frames_only_if_they_increase(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), numbered(number))
        os.utime(tmp_path / f"{number}.png", (0, BEGIN + number / 2))
    assert [frame.captured_at - BEGIN for frame in open_source(tmp_path).frames()] == [0, 0.5, 1.0]
    started = open_source(tmp_path, SourceSettings(started_at=5.0))
    assert [frame.captured_at for frame in started.frames()] == [5.0, 5.5, 6.0]
    os.utime(tmp_path / "2.png", (0, BEGIN + 0.5))
    with pytest.raises(InputError, match="give the frames a second") as caught:
        open_source(tmp_path)
    assert caught.value.parameter == "frame_rate"


def test_a_damaged_frame_of_a_folder_is_counted_and_keeps_its_number(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), numbered(number))
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    source = open_source(tmp_path, SourceSettings(frame_rate=1))
    assert [frame.position for frame in source.frames()] == [0, 2]
    assert source.troubles == {"frames that could not be read": 1}
