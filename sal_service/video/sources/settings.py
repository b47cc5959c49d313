"""How a source is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from sal_runtime.errors import InputError

AskedClock = Literal["arrival", "camera"]
"""The clock of a live source: this machine's, or the camera's own as far as it is known."""
Library = Literal["opencv", "pyav"]


@dataclass(frozen=True, kw_only=True)
class SourceSettings:
    """How a source is read; the defaults suit files and cameras alike.

    OpenCV reads unless PyAV is asked for, or needed: for the camera's clock, key frames only, hardware decoding. OpenCV
    opens one source at a time, which takes a second or two for each camera; PyAV opens many cameras at once.

    Attributes:
        started_at: of a video file or a folder of frames: when its first frame was taken, seconds since 1970, UTC.
            Without it, a video file ends when the file was last modified, and frames of a folder are as old as their
            files.
        frame_rate: of a folder of frames: frames a second. Without it, the moments of the frames are those of their
            files.
        clock: of an address: what gives the moments of its frames.
        key_frames_only: read only the frames that a video can be entered at.
        hardware: decoder of the graphics device, as FFmpeg names it, such as `cuda`; None decodes on the processor.
        tls_verify: of an `rtsps://` address: refuse a camera whose certificate nobody in `tls_authorities` signed.
        tls_authorities: file with the trusted certificates (PEM), such as the camera's own; None takes the system's.
        library: what reads videos and addresses, `opencv` or `pyav`.
        open_seconds: longest time for opening a live source, in the library that reads it.
        silent_seconds: a camera that gave no frame for so long is lost.
    """

    started_at: float | None = None
    frame_rate: float | None = None
    clock: AskedClock = "arrival"
    key_frames_only: bool = False
    hardware: str | None = None
    tls_verify: bool = True
    tls_authorities: Path | None = None
    library: Library = "opencv"
    open_seconds: float = 5.0
    silent_seconds: float = 5.0

    def __post_init__(self) -> None:
        for name in ("frame_rate", "open_seconds", "silent_seconds"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"{name} is {value!r}, expected a number above 0", parameter=name)
        if self.started_at is not None and not math.isfinite(self.started_at):
            raise InputError(f"started_at is {self.started_at!r}, expected seconds since 1970", parameter="started_at")
        if self.clock not in get_args(AskedClock):
            raise InputError(f"clock is {self.clock!r}, expected arrival or camera", parameter="clock")
        if self.library not in get_args(Library):
            raise InputError(f"library is {self.library!r}, expected opencv or pyav", parameter="library")
        if self.tls_authorities is not None and not self.tls_authorities.is_file():
            raise InputError(f"{self.tls_authorities}: no such file of certificates", parameter="tls_authorities")

    @property
    def needs_pyav(self) -> bool:
        """PyAV is asked for, or something that OpenCV cannot do."""
        return self.library == "pyav" or self.clock == "camera" or self.key_frames_only or self.hardware is not None
