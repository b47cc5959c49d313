"""Make demo/gallery from the pedestrian video that OpenCV ships. It was run once; the result is committed.

    apt-get install opencv-doc
    python scripts/make_demo_gallery.py /usr/share/doc/opencv-doc/examples/data/vtest.avi yolox_nano.onnx demo/gallery

The detector is YOLOX-nano (Ge et al., 2021; Apache-2.0) as ONNX, 416 x 416. Boxes are tracked from frame to frame by
their overlap, and a few crops of each person are kept, spread over the time in view.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sal_runtime.engines.installed import import_onnxruntime

INPUT_SIZE = 416
STRIDES = (8, 16, 32)
MIN_SCORE = 0.45
MAX_OVERLAP = 0.5
FRAME_STEP = 2
SAME_PERSON_OVERLAP = 0.3
LOST_AFTER = 6
MIN_HEIGHT, MIN_ASPECT, MAX_ASPECT = 68, 1.5, 4.0
BORDER = 3
MAX_HIDDEN = 0.12
MARGIN = 0.04
CROPS_PER_PERSON = 4
MIN_SIGHTINGS = 4

Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Sighting:
    """One person in one frame; the box is x, y, width, height in pixels."""

    frame: int
    track: int
    box: tuple[int, int, int, int]
    score: float


def detect(session: Any, image: NDArray[np.uint8]) -> tuple[Boxes, NDArray[np.float64]]:
    """People in a frame: boxes [N, 4] as x0, y0, x1, y1, and scores [N]."""
    scale = INPUT_SIZE / max(image.shape[:2])
    resized = cv2.resize(image, None, fx=scale, fy=scale)
    canvas = np.full((INPUT_SIZE, INPUT_SIZE, 3), 114, dtype=np.float32)
    canvas[: resized.shape[0], : resized.shape[1]] = resized
    name = session.get_inputs()[0].name
    output = session.run(None, {name: canvas.transpose(2, 0, 1)[None]})[0][0]
    cells, steps = [], []
    for stride in STRIDES:
        side = INPUT_SIZE // stride
        x, y = np.meshgrid(np.arange(side), np.arange(side))
        cells.append(np.stack([x, y], axis=2).reshape(-1, 2))
        steps.append(np.full((side * side, 1), stride))
    grid, step = np.concatenate(cells), np.concatenate(steps)
    centre, size = (output[:, :2] + grid) * step / scale, np.exp(output[:, 2:4]) * step / scale
    scores = (output[:, 4] * output[:, 5]).astype(np.float64)  # objectness x probability of class 0, person
    boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    corner_and_size = np.concatenate([centre - size / 2, size], axis=1)
    kept = np.asarray(
        cv2.dnn.NMSBoxes(corner_and_size.tolist(), scores.tolist(), MIN_SCORE, MAX_OVERLAP), dtype=np.int64
    ).reshape(-1)
    return boxes[kept], scores[kept]


def overlap(box: Boxes, others: Boxes) -> NDArray[np.float64]:
    """Intersection over union of a box [4] with boxes [N, 4], float64 [N]."""
    inner = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.clip(inner, 0, None).prod(axis=1)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    union: NDArray[np.float64] = (box[2:] - box[:2]).prod() + areas - shared
    return np.asarray(shared / union)


def follow(video: Path, detector: Path) -> tuple[list[Sighting], float]:
    """Sightings of people who are fully visible, and the frames a second of the video."""
    session = import_onnxruntime().InferenceSession(str(detector), providers=["CPUExecutionProvider"])
    capture = cv2.VideoCapture(str(video))
    last_seen: dict[int, tuple[int, Boxes]] = {}
    sightings: list[Sighting] = []
    number_of_tracks = 0
    for frame in range(int(capture.get(cv2.CAP_PROP_FRAME_COUNT))):
        is_read, image = capture.read()
        if not is_read:
            break
        if frame % FRAME_STEP:
            continue
        boxes, scores = detect(session, np.asarray(image, dtype=np.uint8))
        last_seen = {t: seen for t, seen in last_seen.items() if frame - seen[0] <= LOST_AFTER * FRAME_STEP}
        free = dict(last_seen)
        for index in np.argsort(-scores):
            near = {t: float(overlap(boxes[index], box[None])[0]) for t, (_, box) in free.items()}
            track = max(near, key=lambda t: near[t], default=-1)
            if track < 0 or near[track] < SAME_PERSON_OVERLAP:
                track, number_of_tracks = number_of_tracks, number_of_tracks + 1
            free.pop(track, None)
            last_seen[track] = (frame, boxes[index])
            if is_whole(boxes[index], np.delete(boxes, index, axis=0), image.shape):
                sightings.append(Sighting(frame, track, _with_margin(boxes[index], image.shape), float(scores[index])))
    return sightings, float(capture.get(cv2.CAP_PROP_FPS))


def is_whole(box: Boxes, others: Boxes, shape: tuple[int, ...]) -> bool:
    """Whether a person is large enough, inside the frame, and not hidden by someone else."""
    width, height = box[2:] - box[:2]
    inside = box[0] > BORDER and box[1] > BORDER and box[2] < shape[1] - BORDER and box[3] < shape[0] - BORDER
    upright = MIN_ASPECT < height / width < MAX_ASPECT
    hidden = len(others) > 0 and overlap(box, others).max() > MAX_HIDDEN
    return bool(inside and upright and height >= MIN_HEIGHT and not hidden)


def _with_margin(box: Boxes, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    margin = MARGIN * (box[3] - box[1])
    x0, y0 = np.maximum(box[:2] - margin, 0).astype(int)
    x1, y1 = np.minimum(box[2:] + margin, (shape[1], shape[0])).astype(int)
    return int(x0), int(y0), int(x1 - x0), int(y1 - y0)


def choose(sightings: list[Sighting]) -> list[Sighting]:
    """A few sightings of each person, the most certain of each stretch of time."""
    by_track: dict[int, list[Sighting]] = defaultdict(list)
    for sighting in sightings:
        by_track[sighting.track].append(sighting)
    chosen = []
    for seen in by_track.values():
        if len(seen) >= MIN_SIGHTINGS:
            for part in np.array_split(np.arange(len(seen)), CROPS_PER_PERSON):
                chosen.append(max((seen[index] for index in part), key=lambda sighting: sighting.score))
    return sorted(chosen, key=lambda sighting: (sighting.frame, sighting.track))


def write(video: Path, chosen: list[Sighting], frames_per_second: float, folder: Path) -> None:
    """Write the crops as JPEG files, and a table of their places in the video."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted: dict[int, list[Sighting]] = defaultdict(list)
    for sighting in chosen:
        wanted[sighting.frame].append(sighting)
    capture = cv2.VideoCapture(str(video))
    with (folder / "crops.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("image", "frame", "seconds", "track", "x", "y", "width", "height", "score"))
        for frame in range(max(wanted) + 1):
            _, image = capture.read()
            for sighting in wanted.get(frame, []):
                x, y, width, height = sighting.box
                name = f"person{sighting.track:03d}_{frame:04d}.jpg"
                crop = image[y : y + height, x : x + width]
                cv2.imwrite(str(folder / name), crop, (cv2.IMWRITE_JPEG_QUALITY, 90))
                seconds = f"{frame / frames_per_second:.1f}"
                table.writerow((name, frame, seconds, sighting.track, x, y, width, height, f"{sighting.score:.2f}"))


def main() -> None:
    """Make the gallery from the video and the detector named on the command line."""
    if len(sys.argv) != 4:
        sys.exit("usage: make_demo_gallery.py VIDEO YOLOX.onnx FOLDER")
    video, detector, folder = (Path(argument) for argument in sys.argv[1:])
    sightings, frames_per_second = follow(video, detector)
    chosen = choose(sightings)
    write(video, chosen, frames_per_second, folder)
    people = len({sighting.track for sighting in chosen})
    print(f"{len(chosen)} crops of {people} tracks in {folder}")


if __name__ == "__main__":
    main()
