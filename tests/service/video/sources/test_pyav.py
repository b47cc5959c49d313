"""Videos and cameras read by PyAV: the camera's clock, key frames only, the extra."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sal_runtime.errors import BackendError, InputError
from sal_service.video.sources import pyav
from sal_service.video.sources.opening import open_source
from sal_service.video.sources.settings import SourceSettings
from tests.service.video.recorded import find_vtest
from tests.service.video.simulated_camera import SimulatedCamera
from tests.service.video.sources.pictures import draw_video, number_of

BEGIN = 1_700_000_000.0
CAMERA = SourceSettings(clock="camera")


def test_without_the_extra_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(BackendError, match=r"PyAV is not installed; .*pip install \"\.\[video\]\""):
        open_source("rtsp://10.0.0.7/1", CAMERA)
    assert open_source("rtsp://10.0.0.7/1").is_live  # OpenCV needs no extra


@pytest.fixture
def _needs_av() -> None:
    pytest.importorskip("av", reason="needs PyAV, which the extra `video` installs")


@pytest.mark.usefixtures("_needs_av")
def test_every_frame_of_a_file_as_opencv_reads_it(tmp_path: Path) -> None:
    video = draw_video(tmp_path / "yard.avi", 25, rate=10)
    source = open_source(video, SourceSettings(started_at=BEGIN, library="pyav"))
    frames = list(source.frames())
    assert [number_of(frame.image) for frame in frames] == [number % 11 for number in range(25)]
    assert [frame.captured_at - BEGIN for frame in frames] == pytest.approx([number / 10 for number in range(25)])
    assert (source.num_frames, source.is_live) == (25, False)


@pytest.mark.usefixtures("_needs_av")
def test_both_libraries_agree_on_the_find_vtest() -> None:
    sources = [open_source(find_vtest(), SourceSettings(library=library)) for library in ("opencv", "pyav")]
    pairs = zip(*(source.frames() for source in sources), strict=True)
    for number, (by_opencv, by_pyav) in enumerate(pairs):
        assert by_opencv.captured_at == pytest.approx(by_pyav.captured_at, abs=0.001)
        assert by_opencv.position == by_pyav.position == number
        if number % 100 == 0:
            assert np.abs(by_opencv.image.astype(int) - by_pyav.image).mean() < 2
    assert number == 794


@pytest.mark.usefixtures("_needs_av")
def test_key_frames_only() -> None:
    source = open_source(find_vtest(), SourceSettings(key_frames_only=True, started_at=BEGIN))
    moments = [frame.captured_at - BEGIN for frame in source.frames()]
    assert moments == pytest.approx([0, 25, 50, 75])  # as ffprobe lists them
    assert source.num_frames is None


@pytest.mark.usefixtures("_needs_av")
def test_a_graphics_device_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    video = draw_video(tmp_path / "yard.avi", 2)
    for hardware in ("abacus", "drm"):
        with pytest.raises(InputError, match=hardware) as caught:
            open_source(video, SourceSettings(hardware=hardware))
        assert caught.value.parameter == "hardware"


@pytest.mark.usefixtures("_needs_av")
def test_what_pyav_cannot_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.avi").write_text("not a video " * 1000)
    with pytest.raises(InputError, match=r"notes\.avi: Invalid data found"):
        open_source(tmp_path / "notes.avi", SourceSettings(library="pyav"))


@pytest.mark.usefixtures("_needs_av")
def test_the_clock_of_a_camera(camera: SimulatedCamera) -> None:
    """The simulated camera's clock is this machine's, so both clocks say the same, apart from the way of a frame."""
    source = open_source(camera.address, CAMERA)
    for frame in source.frames():
        if frame.clock == "camera":
            break
    assert 0 <= time.time() - frame.captured_at < 3
    source.close()


class Clock:
    """What the source sees of a container, with a clock that is off by so many seconds."""

    def __init__(self, offset: float | None) -> None:
        began = None if offset is None else round((time.time() - 10 + offset) * 1e6)
        self.container = SimpleNamespace(start_time_realtime=began)


@pytest.mark.usefixtures("_needs_av")
@pytest.mark.parametrize(("offset", "told"), [(0.0, True), (-4.0, True), (4.0, True), (6.0, False), (-16.0, False)])
def test_a_clock_that_is_far_off_is_refused_and_counted(offset: float, told: bool) -> None:
    source = pyav.PyAVCamera("rtsp://10.0.0.7/1", CAMERA)
    moment = source._camera_moment(Clock(offset), SimpleNamespace(time=10.0), time.time())  # type: ignore[arg-type]
    assert (moment is not None) is told
    assert dict(source.troubles) == ({} if told else {pyav.CLOCK_REFUSED: 1})
    if moment is not None:
        assert moment - time.time() == pytest.approx(offset, abs=0.5)


@pytest.mark.usefixtures("_needs_av")
def test_a_clock_that_is_not_known_yet_is_counted() -> None:
    source = pyav.PyAVCamera("rtsp://10.0.0.7/1", CAMERA)
    for clock, frame_time in ((Clock(None), 10.0), (Clock(0.0), None)):
        assert source._camera_moment(clock, SimpleNamespace(time=frame_time), time.time()) is None  # type: ignore[arg-type]
    assert source.troubles == {pyav.CLOCK_UNKNOWN: 2}
