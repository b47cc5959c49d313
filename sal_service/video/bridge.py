"""Tracks that show the same person one after the other: who comes out behind a pillar, or soon comes back.

The vectors of the crops that are kept anyway decide; they come later than the tracks do, so this is not part of the
tracker.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sal_runtime.arrays import Float32Array
from sal_service.video.detections import Detections
from sal_service.video.tracker import UNCONFIRMED, Update


@dataclass(frozen=True, slots=True)
class BridgeSettings:
    """When two tracks are one person. Times are in seconds; lengths in heights of the person's box."""

    max_gap: float = 8.0
    """Longest time between the end of one track and the beginning of the next."""
    min_likeness: float = 0.85
    """Least cosine of the means of their vectors."""
    reach: float = 0.5
    """How far from the end of one the next may begin at once."""
    speed: float = 1.5
    """How much farther with every second."""
    memory: float = 60.0
    """How long after its end a track is remembered; its vectors may come late."""


class Bridge:
    """Joins the tracks of one camera to people; a person has the id of its first track.

    A track is continued by one other at most, and only after it has ended.

    Args:
        settings: when two tracks are one person.
    """

    def __init__(self, settings: BridgeSettings | None = None) -> None:
        self.settings = settings or BridgeSettings()
        self._traces: dict[int, _Trace] = {}

    def follow(self, detections: Detections, tracks: Update, time: float) -> None:
        """Note where the tracks of a frame are.

        Args:
            detections: who is in the frame.
            tracks: what the tracker made of them.
            time: the frame's second.
        """
        for row in np.flatnonzero(tracks.ids != UNCONFIRMED):
            track, box = int(tracks.ids[row]), detections.boxes[row]
            trace = self._traces.setdefault(track, _Trace(track, time, box, time, box))
            trace.seen, trace.last_box = time, box
        for track in tracks.ended:
            if track in self._traces:
                self._traces[track].is_over = True
        oldest = time - self.settings.memory
        self._traces = {track: trace for track, trace in self._traces.items() if trace.seen >= oldest}

    def add(self, track: int, vectors: Float32Array) -> int:
        """Add the vectors of crops of a track, and return the person that it shows, as far as is known now.

        Crops that were added before the one that decides were said to show another person, whose id is `track`.

        Args:
            track: id of the track; one that is not remembered stays alone.
            vectors: unit vectors float32 `[n, d]`.
        """
        trace = self._traces.get(track)
        if trace is None:
            return track
        trace.total = trace.total + vectors.sum(axis=0)
        if trace.person == track and not trace.is_continued:
            self._join(trace)
        return trace.person

    def _join(self, trace: _Trace) -> None:
        """Find the track that this one continues."""
        likeness = {
            track: _cosine(earlier.total, trace.total)
            for track, earlier in self._traces.items()
            if earlier.is_over and not earlier.is_continued and self._is_plausible(earlier, trace)
        }
        best = max(likeness, key=likeness.__getitem__, default=None)
        if best is not None and likeness[best] >= self.settings.min_likeness:
            self._traces[best].is_continued = True
            trace.person = self._traces[best].person

    def _is_plausible(self, earlier: _Trace, later: _Trace) -> bool:
        """Whether a person can have gone from the end of one track to the beginning of another."""
        gap = later.began - earlier.seen
        if not 0 < gap <= self.settings.max_gap:
            return False
        one, other = earlier.last_box, later.first_box
        distance = float(np.hypot(*(one[:2] + one[2:] - other[:2] - other[2:]))) / 2
        height = max(float(one[3] - one[1]), float(other[3] - other[1]))
        return distance <= (self.settings.reach + self.settings.speed * gap) * height


@dataclass(slots=True)
class _Trace:
    """Where and when a track was seen first and last, and the sum of its vectors.

    Attributes:
        person: id of the person's first track.
        is_over: it has ended.
        is_continued: another track goes on with the person.
    """

    person: int
    began: float
    first_box: Float32Array
    seen: float
    last_box: Float32Array
    total: Float32Array | float = 0.0
    is_over: bool = False
    is_continued: bool = False


def _cosine(one: Float32Array | float, other: Float32Array | float) -> float:
    """Cosine of two sums of vectors; 0 where one has none."""
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.dot(one, other)) / lengths if lengths else 0.0
