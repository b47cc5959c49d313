"""People in frames as tracks: two-stage association in the manner of ByteTrack, with a motion model in seconds.

High scores are matched with all tracks first, low scores with those of the tracks that are left and were seen a moment
before: a person who is half hidden scores low, but is where the track says. What only ever scores low never becomes a
track. The frames may be any time apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sal_runtime.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from sal_runtime.errors import InputError
from sal_service.video.assignment import best_pairs
from sal_service.video.detections import Detections

UNCONFIRMED = -1
"""In the place of an id: not (yet) a track that is reported."""


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """When a detection belongs to a track. Times are in seconds; lengths in heights of the person's box."""

    high_score: float = 0.4
    """Score from which a detection takes part in the first stage and may begin a track."""
    low_score: float = 0.1
    """Score from which a detection takes part in the second stage; those below are ignored."""
    min_overlap: float = 0.3
    """Least overlap of a high score with the predicted box: intersection over union, in 0..1."""
    min_overlap_low: float = 0.6
    """The same for a low score."""
    low_seconds: float = 0.5
    """Seconds without a detection after which a low score does not suffice to find a track again. The frame before is
    never too long ago."""
    confirming_hits: int = 3
    """Number of detections after which a track is reported."""
    confirming_gap: float = 0.5
    """Seconds without a detection after which a track that was never reported is forgotten."""
    lost_seconds: float = 2.0
    """Seconds without a detection after which a track ends."""
    noise: float = 0.1
    """Standard deviation of the centre of a detected box, in heights; half hidden people make it large."""
    acceleration: float = 0.5
    """How much a person's speed changes within a second, in heights per second."""
    start_speed: float = 1.0
    """Standard deviation of the unknown speed of a new track, in heights per second."""
    max_growth: float = 0.3
    """Boxes are compared after both grew to each side by the standard deviation of the prediction; at most by this many
    heights. At low rates the second box of a new track would miss the first one otherwise."""


@dataclass(frozen=True, slots=True)
class Update:
    """What became of the tracks in a frame.

    Attributes:
        ids: int64 `[n]`, the track of each detection; `UNCONFIRMED` where there is none.
        ended: ids of the reported tracks that have ended, ascending; they never return.
        hidden: where those who were not seen in this frame should be, float32 `[h, 4]`: left, top, right, bottom.
    """

    ids: Int64Array
    ended: list[int]
    hidden: Float32Array


class Tracker:
    """Tracks of one camera. Ids count up and are never used again.

    Each stage takes the pairs whose overlaps have the greatest sum. Where people cross, that lost fewer of them than
    the greedy choice, best overlap first.

    The centre moves with a constant velocity: a Kalman filter in units of the box's height, so that both coordinates
    share one covariance. The size is only drawn towards what is seen: it hardly changes within a gap, and a growth that
    is extrapolated from boxes of half hidden people does.

    Args:
        settings: when a detection belongs to a track.
        first_id: id of the first track, so that a process that is started again can go on counting.
    """

    def __init__(self, settings: TrackerSettings | None = None, *, first_id: int = 1) -> None:
        self.settings = settings or TrackerSettings()
        self._next_id = first_id
        self._time = -math.inf
        self._tracks = np.zeros(0, _TRACK)

    def update(self, detections: Detections, time: float) -> Update:
        """Match the detections of the next frame.

        Args:
            detections: who is in the frame; their order does not matter.
            time: seconds at which the frame was captured, on any clock that does not go backwards. After a gap longer
                than `lost_seconds` all tracks have ended.

        Raises:
            InputError: the time is earlier than that of the frame before, or is not finite.
        """
        if not (math.isfinite(time) and time >= self._time):
            raise InputError(
                f"the frame is of second {time}, the one before it of {self._time}; expected times that do not go "
                "backwards: begin a new tracker where the times begin anew",
                parameter="time",
            )
        settings, previous, self._time = self.settings, self._time, time
        ended = self._forget()
        tracks = self._tracks
        _predict(tracks, time - previous, settings)
        order = np.lexsort(detections.boxes.T)
        boxes, scores = detections.boxes[order].astype(np.float64), detections.scores[order]
        high = scores >= settings.high_score
        low = (scores >= settings.low_score) & ~high
        overlap = _overlap(tracks, boxes, settings.max_growth)
        reported = tracks["id"] != UNCONFIRMED
        row_of = np.full(len(boxes), -1)
        _match(overlap, reported, high, settings.min_overlap, row_of)
        _match(
            overlap,
            reported & (tracks["seen"] >= min(previous, time - settings.low_seconds)),
            low,
            settings.min_overlap_low,
            row_of,
        )
        _match(overlap, ~reported, high, settings.min_overlap, row_of)
        matched = np.flatnonzero(row_of >= 0)
        _correct(tracks, row_of[matched], boxes[matched], time, settings)
        new = np.flatnonzero(high & (row_of < 0))
        row_of[new] = len(tracks) + np.arange(len(new))
        self._tracks = np.concatenate((tracks, _begin(boxes[new], time, settings)))
        self._confirm()
        ids = np.empty(len(boxes), np.int64)
        ids[order] = np.append(self._tracks["id"], UNCONFIRMED)[row_of]
        return Update(ids, ended, self._hidden())

    def finish(self) -> list[int]:
        """End all tracks: the ids of those that were reported. The tracker can go on afterwards."""
        ended = _reported(self._tracks)
        self._tracks = self._tracks[:0]
        return ended

    def _forget(self) -> list[int]:
        """Drop the tracks that were not seen for too long; the ids of those that were reported."""
        tracks, settings = self._tracks, self.settings
        patience = np.where(tracks["id"] == UNCONFIRMED, settings.confirming_gap, settings.lost_seconds)
        is_over = self._time - tracks["seen"] > patience
        self._tracks = tracks[~is_over]
        return _reported(tracks[is_over])

    def _hidden(self) -> Float32Array:
        """The predicted boxes of the reported tracks that were not seen in the last frame."""
        lost = self._tracks[(self._tracks["id"] != UNCONFIRMED) & (self._tracks["seen"] < self._time)]
        half = lost["size"] / 2
        return np.concatenate((lost["centre"] - half, lost["centre"] + half), axis=1).astype(np.float32)

    def _confirm(self) -> None:
        """Give ids to the tracks that have been seen often enough."""
        tracks = self._tracks
        rows = np.flatnonzero((tracks["id"] == UNCONFIRMED) & (tracks["hits"] >= self.settings.confirming_hits))
        tracks["id"][rows] = self._next_id + np.arange(len(rows))
        self._next_id += len(rows)


_Tracks = NDArray[np.void]
"""An array `[t]` of `_TRACK`."""
_TRACK = np.dtype(
    [
        ("id", np.int64),
        ("hits", np.int64),  # number of detections
        ("seen", np.float64),  # second of the last detection
        ("centre", np.float64, 2),  # x, y in pixels, as the last frame's
        ("speed", np.float64, 2),  # of the centre, in pixels per second
        ("size", np.float64, 2),  # width and height in pixels
        # of the position with itself, with the speed, and of the speed with itself, in heights and seconds
        ("covariance", np.float64, 3),
    ]
)


def _reported(tracks: _Tracks) -> list[int]:
    """Ids of the tracks that have one, in ascending order."""
    return sorted(track for track in tracks["id"].tolist() if track != UNCONFIRMED)


def _begin(boxes: Float64Array, time: float, settings: TrackerSettings) -> _Tracks:
    """Tracks that begin with these boxes."""
    tracks = np.zeros(len(boxes), _TRACK)
    tracks["id"], tracks["hits"], tracks["seen"] = UNCONFIRMED, 1, time
    tracks["centre"], tracks["size"] = _centres_and_sizes(boxes)
    tracks["covariance"] = settings.noise**2, 0, settings.start_speed**2
    return tracks


def _predict(tracks: _Tracks, passed: float, settings: TrackerSettings) -> None:
    """Move all tracks on by some seconds."""
    if not len(tracks):
        return
    tracks["centre"] += tracks["speed"] * passed
    jolt = settings.acceleration**2 * passed
    position, mixed, speed = tracks["covariance"].T
    position += passed * (2 * mixed + passed * (speed + jolt / 3))
    mixed += passed * (speed + jolt / 2)
    speed += jolt


def _correct(tracks: _Tracks, rows: Int64Array, boxes: Float64Array, time: float, settings: TrackerSettings) -> None:
    """Draw the tracks of these rows towards the boxes in which they were seen."""
    seen = tracks[rows]
    centre, size = _centres_and_sizes(boxes)
    position, mixed, speed = seen["covariance"].T
    total = position + settings.noise**2
    gain, speed_gain = position / total, mixed / total
    off = centre - seen["centre"]
    seen["centre"] += gain[:, None] * off
    seen["speed"] += speed_gain[:, None] * off
    seen["size"] += gain[:, None] * (size - seen["size"])
    speed -= speed_gain * mixed
    position *= 1 - gain
    mixed *= 1 - gain
    seen["hits"] += 1
    seen["seen"] = time
    tracks[rows] = seen


def _overlap(tracks: _Tracks, boxes: Float64Array, max_growth: float) -> Float64Array:
    """Intersection over union float64 `[t, n]` of the predicted boxes and the detected ones, both grown alike."""
    centre, size = _centres_and_sizes(boxes)
    growth = np.minimum(np.sqrt(tracks["covariance"][:, 0]), max_growth) * tracks["size"][:, 1]
    grown = 2 * growth[:, None, None]
    ours, theirs = tracks["size"][:, None] + grown, size + grown
    distance = np.abs(tracks["centre"][:, None] - centre)
    # the intersection of two intervals is no longer than the shorter one
    shared = np.clip((ours + theirs) / 2 - distance, 0, np.minimum(ours, theirs)).prod(axis=2)
    union = ours.prod(axis=2) + theirs.prod(axis=2) - shared
    ratio: Float64Array = shared / np.maximum(union, 1e-9)
    return ratio


def _centres_and_sizes(boxes: Float64Array) -> tuple[Float64Array, Float64Array]:
    """The centres and the sizes float64 `[n, 2]` of boxes."""
    first, last = boxes[:, :2], boxes[:, 2:]
    return (first + last) / 2, last - first


def _match(overlap: Float64Array, rows: BoolArray, columns: BoolArray, least: float, row_of: Int64Array) -> None:
    """Pair these rows with these columns, where both are still free; note each column's row."""
    is_pair = (overlap >= least) & rows[:, None] & (columns & (row_of < 0))
    is_pair[row_of[row_of >= 0]] = False
    row, column = best_pairs(np.where(is_pair, overlap, 0.0))
    row_of[column] = row
