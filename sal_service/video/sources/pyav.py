"""Videos and cameras read by PyAV: the camera's clock, key frames only, and decoding on the graphics device.

PyAV is an extra because its wheels hold the encoders x264 and x265, which are under the GPL: whoever passes such an
installation on does it under the GPL's terms.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

from sal_runtime.errors import BackendError, InputError, first_line, install
from sal_service.video.frame import Frame
from sal_service.video.sources.addresses import hide_passwords, why_no_video
from sal_service.video.sources.arrivals import skip_buffered
from sal_service.video.sources.options import address_options
from sal_service.video.sources.settings import SourceSettings

FARTHEST_CLOCK = 5.0
"""Seconds between a camera's clock and the arrival of a frame, beyond which that clock is not believed."""
CLOCK_REFUSED = f"moments of the camera's clock more than {FARTHEST_CLOCK:.0f} s from the arrival"
CLOCK_UNKNOWN = "frames from before the camera told its clock"
DAMAGED = "packets that could not be decoded"


def import_pyav() -> Any:
    """The module av, or a BackendError that says what to install."""
    try:
        return import_module("av")
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError):
            raise BackendError(f"PyAV is not installed; {install('video')}") from error
        raise BackendError(f"PyAV does not load: {first_line(error)}; {install('video')}") from error


class PyAVFile:
    """A video file, every frame or every key frame of it; `num_frames` is what the file declares, and can be wrong.

    Args:
        path: the file.
        settings: `started_at`, `key_frames_only` and `hardware` are used.

    Raises:
        InputError: it is not a video, or `hardware` cannot decode it.
        BackendError: PyAV is not installed.
    """

    is_live = False

    def __init__(self, path: Path, settings: SourceSettings) -> None:
        self.title = str(path)
        self.troubles = Counter[str]()
        self._video = _Video(os.path.abspath(path), self.title, settings, {}, None)
        self.num_frames = None if settings.key_frames_only else self._video.num_frames
        self._started_at = settings.started_at
        if self._started_at is None:
            self._started_at = path.stat().st_mtime - self._video.seconds
        self._is_closed = False

    def frames(self) -> Iterator[Frame]:
        """As the protocol has it; with key frames only, positions number these."""
        assert self._started_at is not None
        at = -self._video.period
        try:
            for position, frame in enumerate(self._video.frames(self.troubles)):
                if self._is_closed:
                    return
                told = None if frame.time is None else frame.time - self._video.begins_at
                at = told if told is not None and told > at else at + self._video.period
                yield Frame(self._video.pixels(frame), self._started_at + at, position, "file")
        finally:
            self._video.close()

    def close(self) -> None:
        """As the protocol has it."""
        self._is_closed = True


class PyAVCamera:
    """One connection to the address of a camera; it is made when frames are asked for.

    Args:
        address: the address.
        settings: how it is read.

    Raises:
        BackendError: PyAV is not installed.
    """

    is_live = True
    num_frames: int | None = None

    def __init__(self, address: str, settings: SourceSettings) -> None:
        import_pyav()
        self.title = hide_passwords(address)
        self.troubles = Counter[str]()
        self._address, self._settings = address, settings
        self._is_closed = False

    def frames(self) -> Iterator[Frame]:
        """As the protocol has it; the clock of each frame says whether its moment is the camera's own."""
        settings = self._settings
        options = address_options(self._address, settings)
        video = _Video(self._address, self.title, settings, options, settings.open_seconds)
        try:
            for arrived_at, position, frame in skip_buffered(
                self._arrivals(video), settings.open_seconds, self.troubles
            ):
                if self._is_closed:
                    return
                told = self._camera_moment(video, frame, arrived_at) if settings.clock == "camera" else None
                image = video.pixels(frame)
                yield Frame(image, told or arrived_at, position, "arrival" if told is None else "camera")
        finally:
            video.close()

    def close(self) -> None:
        """As the protocol has it; PyAV cannot be interrupted, so a blocked reader ends with its time limit."""
        self._is_closed = True

    def _arrivals(self, video: _Video) -> Iterator[tuple[float, tuple[float, int, Any]]]:
        for position, frame in enumerate(video.frames(self.troubles)):
            yield frame.time or 0.0, (time.time(), position, frame)

    def _camera_moment(self, video: _Video, frame: Any, arrived_at: float) -> float | None:
        began_us = video.container.start_time_realtime  # known only after the camera's first report
        if not began_us or frame.time is None:
            self.troubles[CLOCK_UNKNOWN] += 1
            return None
        moment = float(began_us / 1_000_000 + frame.time)
        if abs(moment - arrived_at) > FARTHEST_CLOCK:
            self.troubles[CLOCK_REFUSED] += 1
            return None
        return moment


class _Video:
    """An opened container and its first video stream."""

    def __init__(
        self, place: str, title: str, settings: SourceSettings, options: dict[str, str], seconds: float | None
    ) -> None:
        av = import_pyav()
        self.title, self._errors = title, av.error
        accelerator = None if settings.hardware is None else _accelerator(av, settings.hardware)
        try:
            self.container = av.open(place, options=options, timeout=seconds, hwaccel=accelerator)
        except (av.error.FFmpegError, OSError) as error:
            reason = _in_words(error) if seconds is None else why_no_video(place, settings)
            raise InputError(f"{title}: {reason}") from error
        except RuntimeError as error:  # how PyAV says that no decoder fits
            raise InputError(f"{title}: {settings.hardware} cannot decode it", parameter="hardware") from error
        if not self.container.streams.video:
            self.container.close()
            raise InputError(f"{title}: has no video")
        self._stream = stream = self.container.streams.video[0]
        if seconds is None:
            stream.thread_type = "AUTO"  # decodes several frames at once, which delays each of them
        if settings.key_frames_only:
            stream.codec_context.skip_frame = "NONKEY"
        self.num_frames: int | None = stream.frames or None
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        self.period = float(1 / rate)
        ends_after = self.container.duration
        self.seconds = ends_after / 1_000_000 if ends_after and ends_after > 0 else 0.0
        self.begins_at = (self.container.start_time or 0) / 1_000_000
        self._scaler = av.video.reformatter.VideoReformatter()  # one for each frame would take three times as long

    def frames(self, troubles: Counter[str]) -> Iterator[Any]:
        """Decoded frames until the end; damaged packets are counted.

        Raises:
            InputError: the container cannot be read any further.
        """
        packets = self.container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except (self._errors.FFmpegError, OSError) as error:
                raise InputError(f"{self.title}: {_in_words(error)}") from error
            if packet is None:
                return
            try:
                frames = packet.decode()
            except (self._errors.FFmpegError, OSError):
                troubles[DAMAGED] += 1
            else:
                yield from frames

    def pixels(self, frame: Any) -> Any:
        """A frame as uint8 BGR `[H, W, 3]`."""
        return self._scaler.reformat(frame, format="bgr24").to_ndarray()

    def close(self) -> None:
        """Release the container."""
        self.container.close()


def _accelerator(av: Any, name: str) -> Any:
    available = av.codec.hwaccel.hwdevices_available()
    if name not in available:
        raise InputError(f"hardware is {name!r}, PyAV here has {', '.join(available) or 'none'}", parameter="hardware")
    return av.codec.hwaccel.HWAccel(device_type=name, allow_software_fallback=False)


def _in_words(error: Exception) -> str:
    """An error of FFmpeg without the address, which it appends with the password in it."""
    words = getattr(error, "strerror", None) or type(error).__name__
    return hide_passwords(str(words))
