"""The people of one camera: detections as tracks, tracks as pictures for the gallery."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Literal

import numpy as np

from sal_runtime.arrays import Float32Array
from sal_runtime.errors import InputError
from sal_runtime.gallery.items import COLOURLESS, YES, GalleryItem
from sal_service.video.best_crops import BestCrop, BestCrops, CropSettings
from sal_service.video.bridge import Bridge
from sal_service.video.cameras import Camera, feet
from sal_service.video.detections import Detections
from sal_service.video.frame import Clock, Frame
from sal_service.video.intake import HeldBackError, Intake, KeptCrop
from sal_service.video.lines import CrossingCounter
from sal_service.video.tracker import UNCONFIRMED, Tracker, TrackerSettings, Update

Outcome = Literal["kept", "held_back", "refused", "given_up"]
"""What became of a picture."""


class CameraPeople:
    """Takes the frames of one camera with their detections, and hands the best pictures of each track to an intake.

    Args:
        camera: what counts.
        intake: of the gallery.

    Attributes:
        clocks: number of frames by the clock of their moments.
        captured: moments of the first and the last frame, seconds since 1970; None before the first.
        people: number of sure detections that counted, in all frames.
        too_low: likewise of people who are not tall enough.
        masked: likewise of people who stand in a mask.
        tracks: number of tracks.
        outcomes: number of pictures by what became of them.
        crossings: who crossed which line.
        still: tracks that were a still object again.
        joined: tracks that go on with the person of an earlier one.
    """

    def __init__(self, camera: Camera, intake: Intake) -> None:
        self.camera = camera
        self.clocks: Counter[Clock] = Counter()
        self.captured: tuple[float, float] | None = None
        self.people = self.too_low = self.masked = self.tracks = self.still = self.joined = 0
        self.outcomes: Counter[Outcome] = Counter()
        self.crossings = CrossingCounter(camera.lines)
        self._intake = intake
        self._lock = threading.Lock()
        self._traces: dict[int, _Trace] = {}
        self._begin_tracks(0.0)

    def _begin_tracks(self, now: float) -> None:
        """Begin anew: the names of the tracks tell from when they are."""
        self._began = f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%S}"
        self._tracker = Tracker(TrackerSettings(high_score=self.camera.min_score))
        self._best = BestCrops(CropSettings(keep=self.camera.keep))
        self._bridge = Bridge() if self.camera.join else None

    def see(self, frame: Frame, detections: Detections) -> Detections:
        """Take the next frame; what is in it may be given to the intake now or later.

        Args:
            frame: of the camera.
            detections: of everybody whom the detector found.

        Returns:
            The detections that count.
        """
        height, width = frame.image.shape[:2]
        tall = self.camera.tall(detections)
        counted = self.camera.unmasked(tall, height, width)
        self.too_low += self._sure(detections) - self._sure(tall)
        self.masked += self._sure(tall) - self._sure(counted)
        self.people += self._sure(counted)
        if self.captured is None or frame.captured_at < self.captured[1]:
            self.finish()  # a clock was set back: tracks cannot go on over that
            self._begin_tracks(frame.captured_at)
        first = frame.captured_at if self.captured is None else min(self.captured[0], frame.captured_at)
        self.captured = (first, frame.captured_at)
        self.clocks[frame.clock] += 1
        update = self._tracker.update(counted, frame.captured_at)
        if self._bridge is not None:
            with self._lock:
                self._bridge.follow(counted, update, frame.captured_at)
        self._note_crossings(update, counted.boxes, height, width)
        self._hand_over(self._best.update(frame, counted, update), frame.clock)
        self._end(update.ended)
        return counted

    def finish(self) -> None:
        """End all tracks, and hand over what is left of them."""
        ended = self._tracker.finish()
        self._hand_over(
            self._best.end(ended), max(self.clocks, key=lambda clock: self.clocks[clock], default="arrival")
        )
        self._end(ended)
        self.still += self._best.num_withheld
        self._best.num_withheld = 0

    def _sure(self, detections: Detections) -> int:
        return int((detections.scores >= self.camera.min_score).sum())

    def _note_crossings(self, update: Update, boxes: Float32Array, height: int, width: int) -> None:
        rows = np.flatnonzero(update.ids != UNCONFIRMED)
        places = (feet(boxes[rows]) / (width, height)).tolist()
        for crossing in self.crossings.update(update.ids[rows].tolist(), [(x, y) for x, y in places]):
            self._trace(crossing.track).crossed.append(f"{crossing.line} {crossing.direction}")

    def _hand_over(self, crops: Iterable[BestCrop], clock: Clock) -> None:
        for crop in crops:
            trace = self._trace(crop.track)
            left, top, right, bottom = (round(float(side)) for side in crop.box)
            metadata = {"clock": clock, "frame": str(crop.position), "quality": f"{crop.quality.total:.2f}"}
            if self.camera.zone is not None:
                metadata["zone"] = self.camera.zone
            if crop.colourless:
                metadata[COLOURLESS] = YES
            answer = self._intake.submit(
                crop.image,
                camera=self.camera.name,
                captured_at=crop.captured_at,
                track=trace.name,
                box=(left, top, max(right - left, 1), max(bottom - top, 1)),
                metadata=metadata,
            )
            answer.add_done_callback(partial(self._note_outcome, trace, self._bridge))

    def _end(self, ended: Sequence[int]) -> None:
        """Forget tracks that have ended."""
        for track in ended:
            self.tracks += 1
            trace = self._traces.pop(track, None)
            if trace is not None:
                with self._lock:
                    self._describe(trace)
        self.crossings.forget(ended)

    def _trace(self, track: int) -> _Trace:
        name = f"{self._began}-{track}"
        return self._traces.setdefault(track, _Trace(track, name, name))

    def _note_outcome(self, trace: _Trace, bridge: Bridge | None, answer: Future[KeptCrop]) -> None:
        """Called in any thread, also after the track has ended."""
        error = answer.exception()
        outcome: Outcome = "given_up"
        if error is None:
            outcome = "kept"
        elif isinstance(error, HeldBackError):
            outcome = "held_back"
        elif isinstance(error, InputError):
            outcome = "refused"
        with self._lock:
            self.outcomes[outcome] += 1
            if error is not None:
                return
            kept = answer.result()
            trace.items.append(kept.item)
            if bridge is not None:
                was_joined = trace.person != trace.name
                trace.person = f"{trace.name.rpartition('-')[0]}-{bridge.add(trace.track, kept.vector[None])}"
                self.joined += trace.person != trace.name and not was_joined
            self._describe(trace)

    def _describe(self, trace: _Trace) -> None:
        """Record with all pictures of a track who it is and what it crossed, which may be known later than they are."""
        crossed = {"crossed": ", ".join(trace.crossed)} if trace.crossed else {}
        now = [replace(item, track=trace.person, metadata={**item.metadata, **crossed}) for item in trace.items]
        changed = [item for item, before in zip(now, trace.items, strict=True) if item != before]
        if changed:
            self._intake.gallery.update(changed)
        trace.items = now


@dataclass(slots=True)
class _Trace:
    """What is recorded of a track.

    Attributes:
        track: its number.
        name: its own name.
        person: the name that its pictures have: its own, or that of an earlier track of the same person.
        crossed: lines that it crossed, in words.
        items: its pictures that the gallery holds.
    """

    track: int
    name: str
    person: str
    crossed: list[str] = field(default_factory=list)
    items: list[GalleryItem] = field(default_factory=list)
