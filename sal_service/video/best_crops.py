"""A few good crops of each track, given out early enough to be found and spread over its time."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from sal_runtime.arrays import Float32Array, UInt8Array
from sal_runtime.errors import InputError
from sal_service.video.detections import Detections
from sal_service.video.frame import Frame
from sal_service.video.quality import Quality, cut_out, is_colourless, qualities
from sal_service.video.still import StillPlaces
from sal_service.video.tracker import UNCONFIRMED, Update

FRAME_STEP = 8
"""Every eighth pixel of a frame tells whether it has colours."""


@dataclass(frozen=True, slots=True)
class CropSettings:
    """How many crops a track gives, and when. Times are in seconds; lengths in heights of the person's box."""

    keep: int = 3
    """Most crops of a track."""
    early_seconds: float = 2.0
    """Age of a track at which it gives its first crop, the best one so far."""
    growth: float = 10.0
    """A track that goes on gives its next crop at an age that is so many times greater; the rest when it ends."""
    spacing: float = 0.5
    """Least time between two crops of a track; a long track's are a sixth of its age apart, with three crops."""
    still_seconds: float = 10.0
    """A track that has not moved for so long gives nothing until it moves."""
    still_distance: float = 0.3
    """A track has moved when its centre is so many heights away from where it was."""
    moving_seconds: float = 1.0
    """For how long it has to be away: who walks past a signpost draws its box along for a moment."""
    still_memory: float = 600.0
    """How long the place of a still object is remembered after it was last seen."""


@dataclass(frozen=True, slots=True, eq=False)
class BestCrop:
    """A crop to be kept.

    Attributes:
        track: id of the track.
        image: uint8 BGR `[h, w, 3]`, a copy of the box's pixels.
        box: float32 `[4]`: left, top, right, bottom in pixels of the frame.
        captured_at: the frame's time, seconds since 1970.
        position: the frame's number in its source.
        quality: what the crop is worth.
        colourless: the frame is infrared or black and white: words for colours do not apply to the crop.
    """

    track: int
    image: UInt8Array
    box: Float32Array
    captured_at: float
    position: int
    quality: Quality
    colourless: bool


class BestCrops:
    """Chooses the crops of one camera.

    A track that never moved gives one crop, since all look the same. Once it has been still for `still_seconds`, its
    place is remembered, and a new track that begins there gives nothing before it moves: a signpost that the detector
    takes for a person is lost and found over and over.

    Args:
        settings: how many crops a track gives, and when.

    Attributes:
        num_withheld: number of tracks that began as a still object that was known already.
    """

    def __init__(self, settings: CropSettings | None = None) -> None:
        self.settings = settings or CropSettings()
        self.num_withheld = 0
        self._tracks: dict[int, _Track] = {}
        self._places = StillPlaces(self.settings.still_seconds, self.settings.still_memory)

    def update(self, frame: Frame, detections: Detections, tracks: Update) -> list[BestCrop]:
        """Look at a frame.

        Args:
            frame: the picture.
            detections: who is in it.
            tracks: what the tracker made of them.

        Returns:
            The crops that are to be kept now: those of tracks that ended, and those of tracks that are old enough.

        Raises:
            InputError: the numbers of detections and of ids differ.
        """
        if len(detections) != len(tracks.ids):
            raise InputError(f"{len(detections)} detections, but {len(tracks.ids)} ids; expected one for each")
        chosen = self.end(tracks.ended)
        now, image = frame.captured_at, frame.image
        followed = {row: self._follow(int(tracks.ids[row]), detections.boxes[row], now) for row in _reported(tracks)}
        rows = np.array([row for row, track in followed.items() if self._is_open(track)], np.int64)
        if not len(rows):
            return chosen
        is_grey_frame = is_colourless(image[::FRAME_STEP, ::FRAME_STEP])
        for row, quality in zip(rows.tolist(), qualities(image, detections, tracks.hidden, rows), strict=True):
            track, box = followed[row], detections.boxes[row]
            if track.wants(quality, now):
                pixels = cut_out(image, box).copy()
                is_grey = is_grey_frame and is_colourless(pixels)
                crop = BestCrop(int(tracks.ids[row]), pixels, box.copy(), now, frame.position, quality, is_grey)
                track.take(crop, self.settings)
            if not track.is_silent and track.is_due(now, self.settings):
                chosen += track.give(1, self.settings)
        return chosen

    def end(self, ended: Iterable[int]) -> list[BestCrop]:
        """The crops that are left of tracks that have ended; those that were never seen are passed over."""
        chosen: list[BestCrop] = []
        for track_id in ended:
            track = self._tracks.pop(track_id, None)
            if track is None:
                continue
            chosen += track.give(self.settings.keep, self.settings)
            if track.away_since is None and (track.is_silent or not track.has_moved):
                self._places.remember(track.box, track.seen - track.resting_since, track.seen)
        return chosen

    def _follow(self, track_id: int, box: Float32Array, now: float) -> _Track:
        """Note where a track is, and whether it moved or became a still object."""
        track = self._tracks.get(track_id)
        if track is None:
            track = _Track(began=now, box=box, resting_at=box, resting_since=now, spacing=self.settings.spacing)
            track.is_silent = self._places.know(box, now)
            self.num_withheld += track.is_silent
            self._tracks[track_id] = track
        track.box, track.seen = box, now
        if _distance(box, track.resting_at) <= self.settings.still_distance:
            track.away_since = None
            if track.is_silent and not track.has_moved:
                track.candidates.clear()
            elif not track.is_silent and now - track.resting_since >= self.settings.still_seconds:
                self._fall_silent(track)
        elif track.away_since is None:
            track.away_since = now
        elif now - track.away_since >= self.settings.moving_seconds:
            if track.is_silent:
                self._places.forget(track.resting_at)
            track.is_silent, track.has_moved, track.away_since = False, True, None
            track.resting_at, track.resting_since = box, now
        return track

    def _fall_silent(self, track: _Track) -> None:
        """A track has become a still object."""
        track.is_silent = True
        self._places.remember(track.box, track.seen - track.resting_since, track.seen)
        if not track.has_moved:
            track.candidates.clear()

    def _is_open(self, track: _Track) -> bool:
        """Whether a track may still give crops of what it shows now; a still object may have begun to move."""
        return (not track.is_silent or track.away_since is not None) and len(track.given) < self.settings.keep


@dataclass(slots=True)
class _Track:
    """What is known of a track.

    Attributes:
        began: second of its first frame.
        box: the last one.
        resting_at: the box from which it has not moved since.
        resting_since: the second of that box.
        spacing: length of the spans of time, of each of which the best crop is kept.
        seen: second of its last frame.
        away_since: since when it has been away from there; None while it rests.
        has_moved: whether it ever moved.
        is_silent: it is a still object at the moment.
        given: seconds of the crops that were given out.
        candidates: the best crop of each span, by the span's number.
    """

    began: float
    box: Float32Array
    resting_at: Float32Array
    resting_since: float
    spacing: float
    seen: float = -math.inf
    away_since: float | None = None
    has_moved: bool = False
    is_silent: bool = False
    given: list[float] = field(default_factory=list)
    candidates: dict[int, BestCrop] = field(default_factory=dict)

    def wants(self, quality: Quality, now: float) -> bool:
        """Whether a crop is better than the one of its span."""
        rival = self.candidates.get(self._span(now))
        return rival is None or quality.total > rival.quality.total

    def take(self, crop: BestCrop, settings: CropSettings) -> None:
        """Keep a crop; spans become twice as long when there are too many."""
        self.candidates[self._span(crop.captured_at)] = crop
        while len(self.candidates) > 2 * settings.keep:
            self.spacing *= 2
            merged: dict[int, BestCrop] = {}
            for kept in sorted(self.candidates.values(), key=lambda kept: kept.quality.total):
                merged[self._span(kept.captured_at)] = kept
            self.candidates = merged

    def is_due(self, now: float, settings: CropSettings) -> bool:
        """Whether the track is old enough for its next crop."""
        return now - self.began >= settings.early_seconds * settings.growth ** len(self.given)

    def give(self, number: int, settings: CropSettings) -> list[BestCrop]:
        """At most so many crops, best first, each far enough in time from the others and from those given before."""
        allowed = settings.keep if self.has_moved or self.away_since is not None else 1
        apart = max(settings.spacing, (self.seen - self.began) / (2 * settings.keep))
        chosen: list[BestCrop] = []
        for crop in sorted(self.candidates.values(), key=lambda crop: -crop.quality.total):
            if len(chosen) == number or len(self.given) >= allowed:
                break
            if all(abs(crop.captured_at - second) >= apart for second in self.given):
                self.given.append(crop.captured_at)
                chosen.append(crop)
        if len(self.given) == settings.keep:
            self.candidates.clear()
        return chosen

    def _span(self, second: float) -> int:
        """Number of the span of a second."""
        return int((second - self.began) / self.spacing)


def _reported(tracks: Update) -> list[int]:
    """The detections whose track is reported."""
    return np.flatnonzero(tracks.ids != UNCONFIRMED).tolist()


def _distance(box: Float32Array, other: Float32Array) -> float:
    """Distance of the centres of two boxes, in heights of the other one."""
    across, down = (box[:2] + box[2:] - other[:2] - other[2:]).tolist()
    return math.hypot(across, down) / 2 / max(float(other[3] - other[1]), 1e-6)
