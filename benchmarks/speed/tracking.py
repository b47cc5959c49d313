"""Our tracker against ByteTrack of Roboflow's `trackers`: milliseconds a frame, and who is taken for whom.

    python -m benchmarks.speed.tracking DETECTIONS.npz

DETECTIONS.npz is what `vtest_detections` writes of OpenCV's `vtest.avi` (795 frames, 10 a second). Run it in an
environment of its own with `pip install trackers` beside what sal needs.

Two films are tracked, at every frame and at fewer. `vtest`: the people are known from `vtest_people.csv`, which was
made by looking at pieces of tracks and naming who is in them: 19 passages of a person, at every second frame, where
people are not merged into one box. `drawn`: people who cross a drawn place; who is covered by a nearer person scores
low or is missed.

An identity switch is a detection of a known person whose track is another than that person's track before (CLEAR MOT,
Bernardin and Stiefelhagen 2008); a fragment is a return to a track after detections without one (the same); idf1 is
that of Ristani et al. 2016. All three count only the detections that the detector gave.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.measurement import in_turn, ratio, summary, write_result
from sal_runtime.arrays import Float32Array, Int64Array
from sal_service.video.assignment import best_pairs
from sal_service.video.detections import Detections
from sal_service.video.tracker import Tracker, TrackerSettings

RATE = 10
STEPS = (1, 2, 5)
ROUNDS = 9
MIN_HEIGHT = 48
LEAST_FRAMES = 10
"""Tracks of so many frames at the full rate count as tracks."""
NOBODY = 0
"""In the place of a person: it is not known who that is."""

Track = Callable[[Detections, float], Int64Array]
"""Ids of the detections of the next frame, -1 for none, given the second."""


@dataclass(frozen=True)
class Film:
    """Detections of each frame, and who they are: int64 `[n]` of each frame."""

    frames: list[Detections]
    people: list[Int64Array]


def main() -> None:
    """Measure and write the result."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m benchmarks.speed.tracking DETECTIONS.npz")
    films = {"vtest": vtest(Path(sys.argv[1])), "drawn": drawn()}
    contenders: dict[str, Callable[[int], Track]] = {
        "sal": lambda _: sal_tracker(),
        "trackers_bytetrack": partial(bytetrack, high_score=None),
        "trackers_bytetrack_our_scores": partial(bytetrack, high_score=TrackerSettings().high_score),
    }
    speed = in_turn({name: partial(milliseconds, make, films["vtest"]) for name, make in contenders.items()}, ROUNDS)
    result: dict[str, Any] = {
        "trackers": version("trackers"),
        "milliseconds_a_frame": {name: summary(values) for name, values in speed.items()},
        "sal_to_trackers_bytetrack": ratio(speed["sal"], speed["trackers_bytetrack"]),
    }
    for title, film in films.items():
        result[title] = {
            f"every_{step}": {name: identities(make(step), film, step) for name, make in contenders.items()}
            for step in STEPS
        }
    write_result("tracking", result)


def sal_tracker() -> Track:
    """Ours with its default settings."""
    tracker = Tracker()
    return lambda detections, second: tracker.update(detections, second).ids


def bytetrack(step: int, high_score: float | None) -> Track:
    """Roboflow's, with as long a patience as ours; its own thresholds of scores, or ours."""
    from supervision import Detections as Supervised
    from trackers import ByteTrackTracker

    scores = (
        {}
        if high_score is None
        else dict.fromkeys(("track_activation_threshold", "high_conf_det_threshold"), high_score)
    )
    tracker = ByteTrackTracker(
        frame_rate=RATE / step, lost_track_buffer=round(30 * TrackerSettings().lost_seconds), **scores
    )

    def track(detections: Detections, second: float) -> Int64Array:
        rows = np.arange(len(detections))
        given = Supervised(xyxy=detections.boxes, confidence=detections.scores, class_id=rows)
        found = tracker.update(given, timestamp=second)
        ids = np.full(len(detections), -1)
        ids[found.class_id] = found.tracker_id
        return ids

    return track


def milliseconds(make: Callable[[int], Track], film: Film) -> float:
    """Milliseconds that a frame takes."""
    track = make(1)
    started = time.perf_counter()
    for number, detections in enumerate(film.frames):
        track(detections, number / RATE)
    return 1e3 * (time.perf_counter() - started) / len(film.frames)


def identities(track: Track, film: Film, step: int) -> Mapping[str, float]:
    """Count tracks, switches and fragments, and compute idf1, at every `step`-th frame."""
    lengths: Counter[int] = Counter()
    together: Counter[tuple[int, int]] = Counter()
    last: dict[int, int] = {}
    lost: set[int] = set()
    switches = fragments = known = 0
    for number in range(0, len(film.frames), step):
        ids = track(film.frames[number], number / RATE).tolist()
        lengths.update(ids)
        for person, found in zip(film.people[number].tolist(), ids, strict=True):
            if person == NOBODY:
                continue
            known += 1
            if found < 0:
                lost |= {person} & last.keys()
                continue
            switches += last.get(person, found) != found
            fragments += person in lost
            lost.discard(person)
            last[person] = found
            together[person, found] += 1
    del lengths[-1]
    return {
        "tracks": sum(count >= LEAST_FRAMES / step for count in lengths.values()),
        "people": len(last),
        "switches": switches,
        "fragments": fragments,
        "idf1": round(2 * most_in_common(together) / (known + together.total()), 3),
    }


def most_in_common(together: Mapping[tuple[int, int], int]) -> float:
    """Number of detections that people and tracks share when each person has one track and each track one person."""
    people, tracks = (sorted({pair[side] for pair in together}) for side in (0, 1))
    shared = np.zeros((len(people), len(tracks)))
    for (person, track), count in together.items():
        shared[people.index(person), tracks.index(track)] = count
    return float(shared[best_pairs(shared)].sum())


def vtest(path: Path) -> Film:
    """What a detector saw in vtest.avi, and who that is."""
    with np.load(path, allow_pickle=False) as file:
        ends = np.cumsum(file["counts"])[:-1]
        boxes, scores = np.split(file["boxes"], ends), np.split(file["scores"], ends)
    tall = [(frame[:, 3] - frame[:, 1]) >= MIN_HEIGHT for frame in boxes]
    frames = [Detections(box[keep], score[keep]) for box, score, keep in zip(boxes, scores, tall, strict=True)]
    people = [np.full(len(frame), NOBODY) for frame in frames]
    table = np.loadtxt(Path(__file__).parent / "vtest_people.csv", np.int64, delimiter=",", skiprows=1)
    for number in np.unique(table[:, 0]).tolist():
        known = table[table[:, 0] == number, 1:]
        overlap = intersection_over_union(known[:, 1:].astype(np.float32), frames[number].boxes)
        row, column = best_pairs(np.where(overlap >= 0.5, overlap, 0).astype(np.float64))
        people[number][column] = known[row, 0]
    return Film(frames, people)


def intersection_over_union(boxes: Float32Array, others: Float32Array) -> Float32Array:
    """Of each box with each other one, float32 `[n, m]`."""
    sides = np.minimum(boxes[:, None, 2:], others[:, 2:]) - np.maximum(boxes[:, None, :2], others[:, :2])
    shared = np.maximum(sides, 0).prod(axis=2)
    area, other_area = ((some[:, 2:] - some[:, :2]).prod(axis=1) for some in (boxes, others))
    ratios: Float32Array = shared / (area[:, None] + other_area - shared)
    return ratios


def drawn(seconds: int = 480, at_once: int = 10, seed: int = 0) -> Film:
    """People who cross a place of 768 x 576 pixels in all directions, as a detector would see them.

    Nearer people are larger and cover those behind them. Boxes shake by 3 % of their height, 3 in 100 are missed, and
    so are people of whom a nearer one covers 70 %; from 35 % on the score is low.
    """
    generator = np.random.default_rng(seed)
    # of those in the picture: number, left and height of the feet in pixels, and pixels a second of both
    walkers = np.empty((0, 5))
    entered = 0
    frames: list[Detections] = []
    people: list[Int64Array] = []
    for _ in range(seconds * RATE):
        walkers[:, 1:3] += walkers[:, 3:] / RATE
        walkers = walkers[(walkers[:, 1] > -40) & (walkers[:, 1] < 808)]
        while len(walkers) < at_once:
            entered += 1
            left, way = ((-30, 1), (798, -1))[generator.integers(2)]
            speed = way * generator.uniform(40, 110)
            walker = (entered, left, generator.uniform(120, 520), speed, generator.normal(0, 8))
            walkers = np.vstack((walkers, walker))
        middle, feet = walkers[:, 1], walkers[:, 2]
        height = 60 + 0.12 * feet
        half = 0.2 * height
        boxes = np.stack((middle - half, feet - height, middle + half, feet), axis=1)
        sides = np.minimum(boxes[:, None, 2:], boxes[:, 2:]) - np.maximum(boxes[:, None, :2], boxes[:, :2])
        share = np.maximum(sides, 0).prod(axis=2) / (2 * half * height)[:, None]
        covered = np.where(feet > feet[:, None], share, 0).max(axis=1)
        seen = (covered < 0.7) & (generator.random(len(walkers)) > 0.03)
        shaken = boxes + generator.normal(0, 0.03, boxes.shape) * height[:, None]
        scores = np.where(covered < 0.35, 0.8, 0.3)
        frames.append(Detections(shaken[seen].astype(np.float32), scores[seen].astype(np.float32)))
        people.append(walkers[seen, 0].astype(np.int64))
    return Film(frames, people)


if __name__ == "__main__":
    main()
