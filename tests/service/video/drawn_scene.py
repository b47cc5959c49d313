"""Drawn people: coloured rectangles that walk over a grey ground, and a detector that finds them without a network."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np

from sal_runtime.arrays import UInt8Array
from sal_service.video.detections import Detections
from sal_service.video.frame import Frame

HEIGHT, WIDTH = 240, 320
PERSON = (80, 30)
"""Height and width of a person in pixels."""
NOON = 1_764_331_200.0
RED, GREEN, BLUE = (30, 30, 220), (30, 200, 30), (220, 60, 30)

Walk = Callable[[float], tuple[float, float] | None]
"""Where a person's feet are at a second, in pixels; None while the person is not there."""


def walk(start: tuple[float, float], speed: tuple[float, float], seconds: tuple[float, float] = (0, 1e9)) -> Walk:
    """A straight walk at a constant speed in pixels a second, between two seconds."""

    def place(second: float) -> tuple[float, float] | None:
        if not seconds[0] <= second < seconds[1]:
            return None
        return start[0] + speed[0] * second, start[1] + speed[1] * second

    return place


def scene(second: float, people: Sequence[tuple[Walk, tuple[int, int, int]]]) -> UInt8Array:
    """The picture of a second, uint8 BGR `[HEIGHT, WIDTH, 3]`."""
    image = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    for path, colour in people:
        if (place := path(second)) is not None:
            left, bottom = round(place[0] - PERSON[1] / 2), round(place[1])
            cv2.rectangle(image, (left, bottom - PERSON[0]), (left + PERSON[1] - 1, bottom - 1), colour, -1)
    return image


def frames(
    people: Sequence[tuple[Walk, tuple[int, int, int]]], seconds: float, rate: float = 10.0, began: float = NOON
) -> list[Frame]:
    """The pictures of some seconds."""
    return [
        Frame(scene(number / rate, people), began + number / rate, number, "file")
        for number in range(round(seconds * rate))
    ]


def find_people(image: UInt8Array) -> Detections:
    """Everybody in a drawn picture, also one that was compressed; each colour is a person."""
    found = []
    for colour in (RED, GREEN, BLUE):
        is_close = (np.abs(image.astype(int) - colour).max(axis=2) < 60).astype(np.uint8)
        count, _, areas, _ = cv2.connectedComponentsWithStats(is_close)
        found += [areas[number] for number in range(1, count) if areas[number][4] > 100]
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in found], np.float32).reshape(-1, 4)
    return Detections(boxes, np.full(len(boxes), 0.9, np.float32))


class DrawnDetector(SimpleNamespace):
    """Stands for a `Detector`."""

    def __init__(self, batch: int = 1) -> None:
        super().__init__(batch=batch, title="drawn", device="cpu", license="", min_height=0, min_score=0.1)
        self.description = SimpleNamespace(in_words=lambda: "colours")
        self.runs: list[int] = []

    __hash__ = object.__hash__

    def detect(self, images: Sequence[UInt8Array]) -> list[Detections]:
        self.runs.append(len(images))
        return [find_people(image) for image in images]


def write_folder(folder: Path, pictures: Sequence[Frame]) -> Path:
    """The pictures as a folder of frames; their files are as old as the frames."""
    folder.mkdir()
    for frame in pictures:
        path = folder / f"{frame.position:05}.png"
        cv2.imwrite(str(path), frame.image)
        os.utime(path, (frame.captured_at, frame.captured_at))
    return folder
