"""What a place is, and which places are refused."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import pytest

from sal_runtime.errors import InputError
from sal_service.video.sources.addresses import hide_passwords
from sal_service.video.sources.folder import FrameFolder
from sal_service.video.sources.opencv import OpenCVCamera, OpenCVFile
from sal_service.video.sources.opening import open_source
from sal_service.video.sources.settings import SourceSettings
from tests.service.video.sources.pictures import draw_video, numbered


def test_a_place_is_a_file_a_folder_a_device_or_an_address(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), numbered(1))
    video = draw_video(tmp_path / "yard.avi", 3)
    assert isinstance(open_source(video), OpenCVFile)
    assert isinstance(open_source(str(tmp_path)), FrameFolder)
    assert isinstance(open_source("rtsp://10.0.0.7/1"), OpenCVCamera)
    assert isinstance(open_source("RTSPS://10.0.0.7:322/1"), OpenCVCamera)
    device = open_source("/dev/null")  # a character device, as a camera is
    assert isinstance(device, OpenCVCamera)
    assert [device.is_live, device.num_frames] == [True, None]


@pytest.mark.parametrize(
    "place",
    [
        "file:/etc/hostname",
        "http://10.0.0.7/video",
        "https://10.0.0.7/video",
        "concat:/etc/hostname|/etc/hosts",
        "subfile,,start,0,end,9,,:/etc/hostname",
        "data:video/mp4,AAAA",
        "udp://10.0.0.7:5000",
        "rtmp://10.0.0.7/1",
    ],
)
def test_protocols_are_refused_by_name_and_nothing_is_opened(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sal_service.video.sources.opencv.video_opencv", lambda: pytest.fail("FFmpeg saw it"))
    protocol = place.partition(":")[0].partition(",")[0]
    with pytest.raises(InputError, match=f"{protocol}: is not allowed") as caught:
        open_source(place)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    ["rtsp:", "rtsp://", "rtsp:///1", "rtsp://10.0.0.7:99999/1", "rtsp://10.0.0.7:x/1", "rtsp://a b/1", "rtsp://a\n/1"],
)
def test_half_addresses_are_refused(address: str) -> None:
    with pytest.raises(InputError, match="expected rtsp://HOST:PORT/PATH"):
        open_source(address)


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://admin:hunter2@10.0.0.7/1",
        "rtsp://admin:hun@hunter2@10.0.0.7:554/1",
        "rtsp://admin:hunter2/x@10.0.0.7/1",
        "rtsp://:hunter2@10.0.0.7/1",
        "rtsp://10.0.0.7/user=admin&password=hunter2&channel=1",
        "rtsp://10.0.0.7/1?user=admin&PWD=hunter2",
        "rtsp://10.0.0.7:99999/1?token=hunter2",
        "http://admin:hunter2@10.0.0.7/1",
    ],
)
def test_passwords_are_shown_nowhere(address: str) -> None:
    assert "hunter2" not in hide_passwords(f"could not open {address}: refused")
    try:
        shown = open_source(address).title
    except InputError as error:
        shown = str(error)
    assert "hunter2" not in shown
    assert "10.0.0.7" in shown


def test_an_address_without_a_password_is_shown_as_it_is() -> None:
    assert open_source("rtsp://admin@10.0.0.7:554/1?channel=2").title == "rtsp://admin@10.0.0.7:554/1?channel=2"


def test_what_is_no_source_is_named(tmp_path: Path) -> None:
    picture, text, empty, pipe = (tmp_path / name for name in ("1.png", "notes.avi", "empty.avi", "pipe"))
    cv2.imwrite(str(picture), numbered(1))
    text.write_text("not a video " * 1000)
    empty.touch()
    os.mkfifo(pipe)
    (tmp_path / "folder").mkdir()
    reasons = {
        picture: "is one picture, expected a video; of several pictures, name their folder",
        text: "is not a video that OpenCV reads, or is damaged",
        empty: "is empty",
        pipe: "is neither a file, nor a folder, nor a camera",
        tmp_path / "folder": "holds no JPEG, PNG, WebP or BMP images",
        tmp_path / "missing.avi": "No such file or directory",
        Path("987"): "/dev/video987: No such file or directory",
    }
    for place, reason in reasons.items():
        with pytest.raises(InputError, match=reason) as caught:
            open_source(place)
        assert "\n" not in str(caught.value)


def test_a_stream_of_jpegs_is_a_video_and_not_a_picture(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", numbered(4))[1].tobytes()
    (tmp_path / "yard.mjpeg").write_bytes(jpeg * 3)
    assert [frame.position for frame in open_source(tmp_path / "yard.mjpeg").frames()] == [0, 1, 2]


def test_settings_that_a_source_cannot_follow_are_errors(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), numbered(1))
    for settings, parameter in (
        (SourceSettings(clock="camera"), "clock"),
        (SourceSettings(key_frames_only=True), "key_frames_only"),
        (SourceSettings(hardware="cuda"), "hardware"),
    ):
        with pytest.raises(InputError) as caught:
            open_source(tmp_path, settings)
        assert caught.value.parameter == parameter


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frame_rate", 0.0),
        ("silent_seconds", float("nan")),
        ("open_seconds", -1.0),
        ("started_at", float("inf")),
        ("clock", "ntp"),
        ("tls_authorities", Path("/missing.pem")),
    ],
)
def test_settings_are_checked(name: str, value: object) -> None:
    with pytest.raises(InputError, match=r"expected|no such file") as caught:
        SourceSettings(**{name: value})  # type: ignore[arg-type]
    assert caught.value.parameter == name
