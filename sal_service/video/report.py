"""What became of all frames and people, and what was lost and when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sal_service.video.frame import Clock


@dataclass(frozen=True)
class LossReport:
    """A time in which a camera gave nothing.

    Attributes:
        began_at: seconds since 1970, UTC.
        ended_at: likewise; None if it had not come back at the end.
        reason: in words.
    """

    began_at: float
    ended_at: float | None
    reason: str


@dataclass(frozen=True)
class CameraReport:
    """What became of the frames and people of one camera.

    Attributes:
        camera: its name.
        source: what it looks at, without any password.
        condition: what the source did at the end.
        clocks: number of frames by the clock that their moments were read from.
        captured: moments of the first and the last frame that was looked at, seconds since 1970, UTC; None without one.
        expected: frames that a recording says it has; None where it does not say, and of a live camera.
        received: frames that came.
        dropped: frames that made room for newer ones before anybody looked at them.
        passed_over: frames beyond the rate that was asked for, which nobody looked at.
        detected: frames that the detector looked at; `received` = `dropped` + `passed_over` + `detected`, but for
            frames that waited when it was stopped.
        people: detections that count, in all frames.
        too_low: detections of people who are not tall enough.
        masked: detections of people who stand in a mask.
        tracks: tracks of people.
        joined: tracks that go on with the person of an earlier one.
        still: tracks that were the same still object again, such as a signpost; they gave no picture.
        kept: pictures that the gallery holds.
        held_back: pictures that were removed from the gallery before, and not added again.
        refused: pictures that the gallery did not take.
        given_up: pictures that could not be written in time.
        crossings: number of crossings by line and direction.
        reconnects: how often the camera came back.
        losses: when it was lost, and why; the newest ones.
        lost_seconds: all losses together.
        troubles: what else went wrong, in words, and how often.
        notes: what people should know.
    """

    camera: str
    source: str
    condition: str
    clocks: Mapping[Clock, int]
    captured: tuple[float, float] | None
    expected: int | None
    received: int
    dropped: int
    passed_over: int
    detected: int
    people: int
    too_low: int
    masked: int
    tracks: int
    joined: int
    still: int
    kept: int
    held_back: int
    refused: int
    given_up: int
    crossings: Mapping[str, int]
    reconnects: int
    losses: tuple[LossReport, ...]
    lost_seconds: float
    troubles: Mapping[str, int]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did.

    Attributes:
        gallery: the gallery file.
        seconds: how long it took.
        detectors: each detector in words: file, family, input size, device, licence.
        cameras: of each camera.
        encoded: pictures that were encoded.
        encode_seconds: how long encoding took, in a thread of its own.
        swept: pictures of an earlier ingest that was killed, deleted because no item had them.
        problem: why the last picture had to be tried again; empty if none had.
        stuck: threads that a library still blocks; they end with its time limit.
    """

    gallery: str
    seconds: float
    detectors: tuple[str, ...]
    cameras: tuple[CameraReport, ...]
    encoded: int
    encode_seconds: float
    swept: int
    problem: str
    stuck: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether nothing was lost: no picture given up or refused, and no camera away at the end."""
        return all(not camera.given_up and not camera.refused and camera.condition != "lost" for camera in self.cameras)

    def to_json(self) -> dict[str, Any]:
        """A JSON-serialisable form."""
        return {**asdict(self), "frames_per_second": self.frames_per_second, "is_complete": self.is_complete}

    @property
    def frames_per_second(self) -> float:
        """Frames that detectors looked at, in a second."""
        return sum(camera.detected for camera in self.cameras) / max(self.seconds, 1e-9)
