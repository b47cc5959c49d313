"""Cameras into a gallery: frames of all of them, detectors that they share, and the people of each."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from sal_runtime.encoding.encoders import ImageEncoder, num_encoders
from sal_runtime.errors import SalError
from sal_runtime.gallery.gallery import Gallery
from sal_service.video.cameras import Camera
from sal_service.video.detections import Detections
from sal_service.video.detector.detector import Detector
from sal_service.video.detector.nobody import NobodyWatch
from sal_service.video.frame import Frame
from sal_service.video.intake import Intake, KeptCrop, Pictures
from sal_service.video.people import CameraPeople
from sal_service.video.report import CameraReport, IngestReport, LossReport
from sal_service.video.sources.exits import stop_all
from sal_service.video.sources.reading import Reader, open_reader
from sal_service.video.sources.recorded import RecordedReader

LOWEST_SCORE = 0.1
"""Detections with a lower score are not even used to follow a track."""
LONGEST_WAIT = 0.2
"""Seconds after which it is looked again whether to stop, where no frame comes."""
FEWEST_A_SECOND = 5.0
"""With fewer frames a second, the tracks of people who walk break (docs/cameras.md)."""
TELL_SECONDS = 0.5

Part = list[tuple["Lane", Frame]]
"""Frames that one detector looks at together."""


@dataclass(eq=False)
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
    turn: int = 0
    is_removed: bool = False
    is_ended: bool = False

    def take(self) -> Frame | None:
        """The next frame that is to be looked at, if there is one by now."""
        try:
            while (frame := self.reader.take(0)) is not None:
                if self._is_due(frame.captured_at):
                    return frame
                self.passed_over += 1
        except SalError as error:
            self.notes.append(f"cannot be read any further: {error}")
        return None

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
            expected=self.reader.num_frames if isinstance(self.reader, RecordedReader) else None,
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
    """Takes cameras into a gallery until they end, or until it is stopped. Cameras may come and go meanwhile.

    Args:
        cameras: to begin with; several may share a name where they are recordings of one camera.
        gallery: open for writing, of the bundle of the encoder; it follows no folder.
        encoder: of images.
        detector_for: the detector of a camera, made with `min_score` at most `LOWEST_SCORE` and `min_height` 0, because
            each camera has its own; and on a CPU with one thread, because frames are looked at beside each other.
        pictures: what is kept of each picture beside the gallery.
        on_kept: called with each picture that the gallery holds now, see `Intake`.

    Attributes:
        gallery: as given.
        intake: of the gallery; others may submit to it, too.
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
        on_kept: Callable[[KeptCrop], None] | None = None,
    ) -> None:
        self._stop, self._wake = threading.Event(), threading.Event()
        self._began, self._turn = time.monotonic(), 0
        self.gallery = gallery
        self.intake = Intake(gallery, encoder, pictures=pictures, on_kept=on_kept)
        self._detector_for = detector_for
        self._stuck: tuple[str, ...] = ()
        self.lanes: list[Lane] = []
        try:
            for camera in cameras:
                self.add(camera)
        except BaseException:
            self.close()
            raise

    def add(self, camera: Camera) -> None:
        """Take one more camera in from now on, from any thread.

        Raises:
            InputError: its source cannot be read at all.
            BackendError: its source needs a library that is not installed.
        """
        detector = self._detector_for(camera)
        people = CameraPeople(camera, self.intake)
        reader = open_reader(camera.source, camera.reading(), self._wake.set)
        self.lanes.append(Lane(camera, reader, detector, people, NobodyWatch(detector)))
        self._wake.set()

    def remove(self, name: str) -> None:
        """Take the camera of a name in no more, from any thread; its people so far are kept as `run` goes on."""
        lanes = [lane for lane in self.lanes if lane.camera.name == name]
        stop_all([lane.reader for lane in lanes])
        for lane in lanes:
            lane.is_removed = True
        self._wake.set()

    def stop(self) -> None:
        """Let `run` return soon, from any thread or signal handler; what was acknowledged stays."""
        self._stop.set()
        self._wake.set()

    def run(self, tell: Callable[[IngestReport], None] | None = None, *, stay: bool = False) -> IngestReport:
        """Work until all sources have ended or `stop` is called; then everything is in the gallery, or counted as lost.

        Args:
            tell: called about twice a second with what became of everything so far; it should return at once.
            stay: go on where all sources have ended, because cameras may be added; only `stop` ends it.
        """
        told = time.monotonic()
        try:
            with ThreadPoolExecutor(num_encoders(), "sal-detect") as executor:
                looked_at: deque[tuple[Part, Future[list[Detections]]]] = deque()
                while not self._stop.is_set():
                    self._wake.clear()
                    # the detector works on these while what it saw before is tracked
                    while len(looked_at) <= self._workers and (part := self._take()):
                        looked_at.append((part, executor.submit(_detect, part)))
                    if tell is not None and time.monotonic() - told >= TELL_SECONDS:
                        told = time.monotonic()
                        tell(self.report())
                    if looked_at:
                        _track(*looked_at.popleft())
                    elif stay or not all(lane.reader.finished for lane in self.lanes):
                        self._wake.wait(LONGEST_WAIT)
                    else:
                        break
                    self._end_lanes({lane for part, _ in looked_at for lane, _ in part})
                while looked_at:
                    _track(*looked_at.popleft())
            for lane in self.lanes:
                lane.people.finish()
        finally:
            self.close()
        return self.report()

    @property
    def _workers(self) -> int:
        """Parts that are looked at beside each other: a GPU takes one after the other."""
        return num_encoders() if all(lane.detector.device == "cpu" for lane in self.lanes) else 1

    def _end_lanes(self, in_flight: set[Lane]) -> None:
        """End the tracks of cameras that give nothing any more, and forget those that were removed."""
        for lane in [*self.lanes]:
            if (lane.is_removed or lane.reader.finished) and not lane.is_ended and lane not in in_flight:
                lane.people.finish()
                lane.is_ended = True
            if lane.is_removed and lane.is_ended:
                self.lanes.remove(lane)

    def close(self) -> None:
        """End all threads; what is not in the gallery yet is added, or counted as given up."""
        self._stuck = stop_all([lane.reader for lane in self.lanes])
        self.intake.close()

    def report(self) -> IngestReport:
        """What became of everything so far."""
        encoded, encode_seconds = self.intake.encoded
        return IngestReport(
            gallery=str(self.gallery.path),
            seconds=time.monotonic() - self._began,
            detectors=tuple(dict.fromkeys(in_words(lane.detector) for lane in self.lanes)),
            cameras=tuple(lane.report() for lane in self.lanes),
            encoded=encoded,
            encode_seconds=encode_seconds,
            swept=self.intake.swept,
            problem=self.intake.counts.last_problem,
            stuck=self._stuck,
        )

    def _take(self) -> Part:
        """Frames for one run of a detector: one of each camera that has one, and of recordings as many as it takes."""
        part: Part = []
        waiting = deque(sorted((lane for lane in self.lanes if not lane.is_removed), key=lambda lane: lane.turn))
        while waiting and (not part or len(part) < part[0][0].detector.batch):
            lane = waiting.popleft()
            is_other = bool(part) and lane.detector is not part[0][0].detector
            if is_other or (frame := lane.take()) is None:
                continue
            part.append((lane, frame))
            self._turn += 1
            lane.turn = self._turn  # the last one to be asked next time
            if isinstance(lane.reader, RecordedReader):
                waiting.append(lane)
        return part


def _detect(part: Part) -> list[Detections]:
    return part[0][0].detector.detect([frame.image for _, frame in part])


def _track(part: Part, answer: Future[list[Detections]]) -> None:
    for (lane, frame), detections in zip(part, answer.result(), strict=True):
        lane.see(frame, detections)


def in_words(detector: Detector) -> str:
    """A detector for people: file, how it is fed, device, and the terms of its weights where it says them."""
    licence = f", licence {detector.license}" if detector.license else ""
    return f"{detector.title}: {detector.description.in_words()}, on {detector.device}{licence}"
