"""Videos and cameras read by OpenCV."""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

from sal_runtime.errors import InputError
from sal_runtime.images.pixels import import_opencv
from sal_service.video.frame import Frame
from sal_service.video.sources.addresses import hide_passwords, protocol_of, why_no_answer, why_no_video
from sal_service.video.sources.arrivals import skip_buffered
from sal_service.video.sources.options import address_options, opening
from sal_service.video.sources.settings import SourceSettings

MISSING = "frames that the file declares, but does not hold"
UNDECODABLE = "frames that could not be decoded"
_RATE_WITHOUT_ONE = 25.0
_QUIET = "-8"  # of FFmpeg's levels


@cache
def video_opencv() -> Any:
    """The module cv2, which prints nothing from now on about videos that end or are damaged.

    A camera that is away would write a line every few seconds for ever. The variables OPENCV_LOG_LEVEL and
    OPENCV_FFMPEG_LOGLEVEL bring the lines back.
    """
    cv2 = import_opencv()
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", _QUIET)
    return cv2


class OpenCVFile:
    """A video file, every frame of it. Its `num_frames` is what the file declares, and can be wrong.

    Args:
        path: the file.
        started_at: as in the settings.

    Raises:
        InputError: it is not a video, or no frame of it can be decoded.
    """

    is_live = False

    def __init__(self, path: Path, started_at: float | None = None) -> None:
        cv2 = video_opencv()
        self.title = str(path)
        self.troubles = Counter[str]()
        self._position_ms = cv2.CAP_PROP_POS_MSEC
        with opening({}):
            self._capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise InputError(f"{path}: is not a video that OpenCV reads, or is damaged at its beginning")
        if not self._capture.grab():
            raise InputError(f"{path}: no frame of it can be decoded; it is damaged, or holds no pictures")
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._period = 1 / (rate if 0 < rate <= 1000 else _RATE_WITHOUT_ONE)
        declared = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.num_frames = int(declared) if 0 < declared < math.inf else None
        if started_at is None:
            started_at = path.stat().st_mtime - (self.num_frames or 0) * self._period
        self._started_at = started_at
        self._is_closed = False

    def frames(self) -> Iterator[Frame]:
        """As the protocol has it. Frames without a usable time of their own follow the one before by one period."""
        capture, at = self._capture, -self._period
        try:
            for position in count():
                if self._is_closed:
                    return
                if position > 0 and not capture.grab():  # the first one was grabbed when the file was opened
                    if (self.num_frames or 0) > position:
                        self.troubles[MISSING] = (self.num_frames or 0) - position
                    return
                told = capture.get(self._position_ms) / 1000
                at = told if told > at else at + self._period
                is_decoded, image = capture.retrieve()
                if is_decoded:
                    yield Frame(image, self._started_at + at, position, "file")
                else:
                    self.troubles[UNDECODABLE] += 1
        finally:
            capture.release()

    def close(self) -> None:
        """As the protocol has it."""
        self._is_closed = True


class OpenCVCamera:
    """One connection to a camera: an address or a device. It is made when frames are asked for.

    Args:
        place: an address, or the path of a device.
        settings: how it is read.
    """

    is_live = True
    num_frames: int | None = None

    def __init__(self, place: str, settings: SourceSettings) -> None:
        self.title = hide_passwords(place)
        self.troubles = Counter[str]()
        self._place, self._settings = place, settings
        self._is_closed = False

    def frames(self) -> Iterator[Frame]:
        """As the protocol has it; moments are those when a frame had arrived whole, before it was decoded."""
        capture = self._connect()
        try:
            for position, arrived_at in skip_buffered(
                self._arrivals(capture), self._settings.open_seconds, self.troubles
            ):
                is_decoded, image = capture.retrieve()
                if is_decoded:
                    yield Frame(image, arrived_at, position, "arrival")
                else:
                    self.troubles[UNDECODABLE] += 1
        finally:
            capture.release()

    def close(self) -> None:
        """As the protocol has it; OpenCV cannot be interrupted, so a blocked reader ends with its time limit."""
        self._is_closed = True

    def _arrivals(self, capture: Any) -> Iterator[tuple[float, tuple[int, float]]]:
        position_ms = video_opencv().CAP_PROP_POS_MSEC
        for position in count():
            if not capture.grab() or self._is_closed:
                return
            arrived_at = time.time()
            yield capture.get(position_ms) / 1000, (position, arrived_at)

    def _connect(self) -> Any:
        cv2 = video_opencv()
        if protocol_of(self._place) is None:
            capture = cv2.VideoCapture(self._place, cv2.CAP_V4L2)
            if not capture.isOpened():
                raise InputError(f"{self.title}: OpenCV cannot open the device; it may be in use, or not be a camera")
            return capture
        # asked before its turn: a camera that is away keeps no other one from being opened
        if reason := why_no_answer(self._place, self._settings):
            raise InputError(f"{self.title}: {reason}")
        limit = int(self._settings.open_seconds * 1000)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit]
        with opening(address_options(self._place, self._settings), lambda: not self._is_closed):
            capture = cv2.VideoCapture(self._place, cv2.CAP_FFMPEG, limits)
        if not capture.isOpened():
            raise InputError(f"{self.title}: {why_no_video(self._place, self._settings)}")
        return capture
