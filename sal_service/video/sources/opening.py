"""From a place that a person names to the source that reads it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from sal_runtime.errors import InputError
from sal_runtime.images.header import begins_as_image
from sal_service.video.frame import FrameSource
from sal_service.video.sources.addresses import check_address, hide_passwords, protocol_of
from sal_service.video.sources.folder import FrameFolder
from sal_service.video.sources.opencv import OpenCVCamera, OpenCVFile
from sal_service.video.sources.settings import SourceSettings

_JPEG_STREAMS = {".mjpeg", ".mjpg"}


def open_source(place: str | os.PathLike[str], settings: SourceSettings | None = None) -> FrameSource:
    """The source of a video file, a folder of frames, a device, or the address of a camera.

    A file or folder is opened at once. A camera is connected when its frames are asked for, so that this does not wait.

    Args:
        place: a path; `/dev/video0` or its number `0`; `rtsp://...` or `rtsps://...`. A file whose name is a number, or
            has a colon, is written `./NAME`.
        settings: how it is read; the defaults without.

    Raises:
        InputError: it is none of these, cannot be read, or the settings ask for what such a source does not have.
        BackendError: the settings need PyAV, which is not installed.
    """
    settings, place = settings or SourceSettings(), os.fspath(place)
    if protocol_of(place) is not None:
        check_address(place)
        return _pyav_camera(place, settings) if settings.needs_pyav else OpenCVCamera(place, settings)
    path = Path(f"/dev/video{int(place)}" if place.isascii() and place.isdigit() else place)
    mode = _mode(path)
    if settings.clock == "camera":
        raise InputError(f"{path}: only the address of a camera has the camera's clock", parameter="clock")
    if stat.S_ISREG(mode):
        _refuse_image(path)
        return _pyav_file(path, settings) if settings.needs_pyav else OpenCVFile(path, settings.started_at)
    if settings.key_frames_only or settings.hardware is not None:
        parameter = "key_frames_only" if settings.key_frames_only else "hardware"
        raise InputError(f"{path}: has no compressed video, so {parameter} does not apply", parameter=parameter)
    if stat.S_ISDIR(mode):
        return FrameFolder(path, settings)
    if stat.S_ISCHR(mode):
        return OpenCVCamera(str(path), settings)
    raise InputError(f"{path}: is neither a file, nor a folder, nor a camera")


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{hide_passwords(str(path))}: {reason}") from error


def _refuse_image(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    if begins_as_image(start) and path.suffix.lower() not in _JPEG_STREAMS:
        raise InputError(f"{path}: is one picture, expected a video; of several pictures, name their folder")
    if not start:
        raise InputError(f"{path}: is empty")


def _pyav_camera(address: str, settings: SourceSettings) -> FrameSource:
    from sal_service.video.sources.pyav import PyAVCamera

    return PyAVCamera(address, settings)


def _pyav_file(path: Path, settings: SourceSettings) -> FrameSource:
    from sal_service.video.sources.pyav import PyAVFile

    return PyAVFile(path, settings)
