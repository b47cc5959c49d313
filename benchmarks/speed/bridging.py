"""Whether the vectors of the kept crops join the tracks of vtest.avi to people, and to the right ones.

    python -m benchmarks.speed.bridging DETECTIONS.npz vtest.avi

DETECTIONS.npz is that of `benchmarks.speed.tracking`. The crops are those that `BestCrops` keeps, encoded with the
shipped bundle in int8. A join is wrong where the two tracks show different people: each track shows the person of most
of its named detections, and passages of the same person were named alike by looking at their pictures. A short track
may have no named detection.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.speed.measurement import write_result
from benchmarks.speed.tracking import NOBODY, RATE, STEPS, Film, vtest
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.images.pixels import resize_image
from sal_service.video.best_crops import BestCrops
from sal_service.video.bridge import Bridge, BridgeSettings
from sal_service.video.frame import Frame
from sal_service.video.tracker import Tracker

LIKENESSES = (0.8, 0.85, 0.9)
SAME = {10: 1, 15: 1, 19: 1, 11: 2, 9: 3, 16: 4, 17: 5, 14: 6, 13: 12}
"""Passages of `vtest_people.csv` whose person passed before, and the first passage of that person."""


def main() -> None:
    """Measure and write the result."""
    if len(sys.argv) != 3:
        sys.exit("usage: python -m benchmarks.speed.bridging DETECTIONS.npz vtest.avi")
    film, video = vtest(Path(sys.argv[1])), sys.argv[2]
    encoder = ImageEncoder(open_bundle("bundles/edge"), precision="int8")
    result = {
        f"every_{step}": {
            f"min_likeness_{likeness}": joins(film, video, encoder, step, BridgeSettings(min_likeness=likeness))
            for likeness in LIKENESSES
        }
        for step in STEPS
    }
    people = {SAME.get(passage, passage) for passages in film.people for passage in passages.tolist()} - {NOBODY}
    write_result("bridging", {"settings": asdict(BridgeSettings()), "people": len(people), **result})


def frames_of(video: str, step: int) -> Iterator[Frame]:
    """Every `step`-th frame of a file."""
    capture, number = cv2.VideoCapture(video), 0
    while capture.grab():
        if number % step == 0:
            yield Frame(np.asarray(capture.retrieve()[1], np.uint8), number / RATE, number, "file")
        number += 1


def joins(film: Film, video: str, encoder: ImageEncoder, step: int, settings: BridgeSettings) -> dict[str, Any]:
    """Tracks, the people that they are joined to, and how many joins there are and how many are wrong."""
    tracker, best, bridge = Tracker(), BestCrops(), Bridge(settings)
    people: dict[int, int] = {}
    named: dict[int, Counter[int]] = {}
    kept = []
    for frame in frames_of(video, step):
        detections = film.frames[frame.position]
        update = tracker.update(detections, frame.captured_at)
        bridge.follow(detections, update, frame.captured_at)
        for track, passage in zip(update.ids.tolist(), film.people[frame.position].tolist(), strict=True):
            if track >= 0 and passage != NOBODY:
                named.setdefault(track, Counter())[SAME.get(passage, passage)] += 1
        crops = best.update(frame, detections, update)
        if frame.position + step >= len(film.frames):
            crops += best.end(tracker.finish())
        for crop in crops:
            pixels = resize_image(np.ascontiguousarray(crop.image[..., ::-1]), encoder.bundle.image_spec)
            people[crop.track] = bridge.add(crop.track, encoder.encode(pixels[None]))
        kept += crops
    shown = {track: passages.most_common(1)[0][0] for track, passages in named.items()}
    joined = [(track, person) for track, person in people.items() if track != person]
    known = [pair for pair in joined if shown.keys() >= set(pair)]
    return {
        "crops": len(kept),
        "tracks": len(people),
        "people": len(set(people.values())),
        "joins": len(joined),
        "wrong_joins": sum(shown[track] != shown[person] for track, person in known),
        "joins_of_unnamed": len(joined) - len(known),
    }


if __name__ == "__main__":
    main()
