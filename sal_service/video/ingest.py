"""Cameras into a gallery: frames of all of them, detectors that they share, and the people of each."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.errors import SalError
from sal_runtime.gallery.gallery import Gallery
from sal_service.video.cameras import Camera
from sal_service.video.detections import Detections
from sal_service.video.detector.detector import Detector
from sal_service.video.detector.nobody import NobodyWatch
from sal_service.video.frame import Frame
from sal_service.video.intake import Intake, Pictures
from sal_service.video.people import CameraPeople
from sal_service.video.report import CameraReport, IngestReport, LossReport
from sal_service.video.sources.exits import stop_all
from sal_service.video.sources.live import LiveReader
from sal_service.video.sources.reading import Reader, open_reader

LOWEST_SCORE = 0.1
"""Detections with a lower score are not even used to follow a track."""
LONGEST_WAIT = 0.2
"""Seconds after which it is looked again whether to stop, where no frame comes."""
FEWEST_A_SECOND = 5.0
"""With fewer frames a second, the tracks of people who walk break (docs/cameras.md)."""
TELL_SECONDS = 0.5

Round = list[tuple["Lane", Frame]]
"""Frames that one detector looks at together."""


@dataclass
class Lane:
    """One camera on its way through an ingest."""

    camera: Camera
    reader: Reader
    detector: Detector
    people: CameraPeople
    watch: NobodyWatch
    due: float = -math.inf
    detected: int = 0
    passed_over: int = 0
    notes: list[str] = field(default_factory=list)

    def take(self) -> list[Frame]:
        """The frames that are looked at next, without waiting; of a file as many as the detector takes at once."""
        frames: list[Frame] = []
        most = 1 if isinstance(self.reader, LiveReader) else self.detector.batch
        try:
            while len(frames) < most and (frame := self.reader.take(0)) is not None:
                if self._is_due(frame.captured_at):
                    frames.append(frame)
                else:
                    self.passed_over += 1
        except SalError as error:
            self.notes.append(f"cannot be read any further: {error}")
        return frames

    def _is_due(self, moment: float) -> bool:
        """Whether the rate that was asked for has room for a frame of this moment."""
        if self.camera.rate is None:
            return True
        period = 1 / self.camera.rate
        early = self.due - moment
        if period / 100 < early <= 2 * period:  # further back, the clock was set
            return False
        self.due = (self.due if abs(early) < period else moment) + period
        return True

    def see(self, frame: Frame, detections: Detections) -> None:
        """Take what the detector saw in a frame."""
        self.detected += 1
        self.people.see(frame, detections)
        warning = self.watch.see(frame.image, detections)
        if warning is not None:
            self.notes.append(warning)

    def report(self) -> CameraReport:
        """What became of its frames and people so far."""
        state, people = self.reader.state(), self.people
        notes = list(self.notes)
        if self.camera.rate is not None and self.camera.rate < FEWEST_A_SECOND:
            notes.append(f"{self.camera.rate:g} frames a second are few: tracks of people who walk break into pieces")
        if people.too_low and not people.people:
            notes.append(f"everybody who was found is lower than {self.camera.min_height} pixels: nobody counts")
        outcomes = people.outcomes
        return CameraReport(
            camera=self.camera.name,
            source=state.title,
            condition=state.condition,
            clocks=dict(people.clocks),
            captured=people.captured,
            received=state.received,
            dropped=state.dropped,
            passed_over=self.passed_over,
            detected=self.detected,
            people=people.people,
            too_low=people.too_low,
            masked=people.masked,
            tracks=people.tracks,
            joined=people.joined,
            still=people.still,
            kept=outcomes["kept"],
            held_back=outcomes["held_back"],
            refused=outcomes["refused"],
            given_up=outcomes["given_up"],
            crossings={f"{line} {direction}": count for (line, direction), count in people.crossings.counts.items()},
            reconnects=state.reconnects,
            losses=tuple(LossReport(loss.began_at, loss.ended_at, loss.reason) for loss in state.losses),
            lost_seconds=state.lost_seconds,
            troubles=dict(state.troubles),
            notes=tuple(notes),
        )


class Ingest:
    """Takes cameras into a gallery until they end, or until it is stopped.

    Args:
        cameras: at least one; several may share a name where they are recordings of one camera.
        gallery: open for writing, of the bundle of the encoder; it follows no folder.
        encoder: of images.
        detector_for: the detector of a camera, made with `min_score` at most `LOWEST_SCORE` and `min_height` 0, because
            each camera has its own.
        pictures: what is kept of each picture beside the gallery.

    Attributes:
        lanes: one for each camera.

    Raises:
        InputError: a source cannot be read at all, or the gallery is not one to add to.
        BackendError: a source needs a library that is not installed.
    """

    def __init__(
        self,
        cameras: Sequence[Camera],
        gallery: Gallery,
        encoder: ImageEncoder,
        detector_for: Callable[[Camera], Detector],
        *,
        pictures: Pictures = "full",
    ) -> None:
        self._stop, self._wake = threading.Event(), threading.Event()
        self._began = time.monotonic()
        self._intake = Intake(gallery, encoder, pictures=pictures)
        self._stuck: tuple[str, ...] = ()
        self.lanes: list[Lane] = []
        try:
            for camera in cameras:
                detector = detector_for(camera)
                people = CameraPeople(camera, self._intake)
                reader = open_reader(camera.source, camera.reading(), self._wake.set)
                self.lanes.append(Lane(camera, reader, detector, people, NobodyWatch(detector)))
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """Let `run` return soon, from any thread or signal handler; what was acknowledged stays."""
        self._stop.set()
        self._wake.set()

    def run(self, tell: Callable[[IngestReport], None] | None = None) -> IngestReport:
        """Work until all sources have ended or `stop` is called; then everything is in the gallery, or counted as lost.

        Args:
            tell: called about twice a second with what became of everything so far; it should return at once.
        """
        told = time.monotonic()
        try:
            with ThreadPoolExecutor(1, "sal-detect") as executor:
                seen: list[tuple[Round, Future[list[Detections]]]] = []
                while not self._stop.is_set():
                    self._wake.clear()
                    # the detector works on these while what it saw before is tracked
                    looked_at = [(part, executor.submit(_detect, part)) for part in self._take()]
                    _track(seen)
                    seen = looked_at
                    if tell is not None and time.monotonic() - told >= TELL_SECONDS:
                        told = time.monotonic()
                        tell(self.report())
                    if not seen:
                        if all(lane.reader.finished for lane in self.lanes):
                            break
                        self._wake.wait(LONGEST_WAIT)
                _track(seen)
            for lane in self.lanes:
                lane.people.finish()
        finally:
            self.close()
        return self.report()

    def close(self) -> None:
        """End all threads; what is not in the gallery yet is added, or counted as given up."""
        self._stuck = stop_all([lane.reader for lane in self.lanes])
        self._intake.close()

    def report(self) -> IngestReport:
        """What became of everything so far."""
        encoded, encode_seconds = self._intake.encoded
        return IngestReport(
            gallery=str(self._intake.gallery.path),
            seconds=time.monotonic() - self._began,
            detectors=tuple(dict.fromkeys(in_words(lane.detector) for lane in self.lanes)),
            cameras=tuple(lane.report() for lane in self.lanes),
            encoded=encoded,
            encode_seconds=encode_seconds,
            swept=self._intake.swept,
            problem=self._intake.counts.last_problem,
            stuck=self._stuck,
        )

    def _take(self) -> list[Round]:
        """Frames that wait, for each detector."""
        parts: dict[Detector, Round] = {}
        for lane in self.lanes:
            for frame in lane.take():
                parts.setdefault(lane.detector, []).append((lane, frame))
        return list(parts.values())


def _detect(part: Round) -> list[Detections]:
    return part[0][0].detector.detect([frame.image for _, frame in part])


def _track(looked_at: list[tuple[Round, Future[list[Detections]]]]) -> None:
    for part, answer in looked_at:
        for (lane, frame), detections in zip(part, answer.result(), strict=True):
            lane.see(frame, detections)


def in_words(detector: Detector) -> str:
    """A detector for people: file, how it is fed, device, and the terms of its weights where it says them."""
    licence = f", licence {detector.license}" if detector.license else ""
    return f"{detector.title}: {detector.description.in_words()}, on {detector.device}{licence}"
