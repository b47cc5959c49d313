"""Where still objects are that a detector takes for people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sal_runtime.arrays import Float32Array

SAME_PLACE = 0.5
"""Intersection over union from which two boxes are one place."""
MOST_PLACES = 100
"""Of one camera; the one that was not seen for longest is forgotten."""


@dataclass(slots=True)
class _Place:
    box: Float32Array
    rested: float
    seen: float


class StillPlaces:
    """The still objects of one camera.

    Args:
        seconds: how long something has to rest in a place, in all, to be a still object.
        memory: how many seconds a place is remembered after something rested there.
    """

    def __init__(self, seconds: float, memory: float) -> None:
        self._seconds = seconds
        self._memory = memory
        self._places: list[_Place] = []

    def remember(self, box: Float32Array, rested: float, now: float) -> None:
        """Something has rested in a box for some seconds until now; the times of one place add up."""
        for place in self._places:
            if _overlap(box, place.box) >= SAME_PLACE:
                place.rested, place.seen = place.rested + rested, now
                return
        self._places = sorted(self._places, key=lambda place: place.seen)[-(MOST_PLACES - 1) :]
        self._places.append(_Place(box, rested, now))

    def know(self, box: Float32Array, now: float) -> bool:
        """Whether there is a still object in a box."""
        self._places = [place for place in self._places if now - place.seen <= self._memory]
        return any(place.rested >= self._seconds and _overlap(box, place.box) >= SAME_PLACE for place in self._places)

    def forget(self, box: Float32Array) -> None:
        """What rested in a box has moved away."""
        self._places = [place for place in self._places if _overlap(box, place.box) < SAME_PLACE]


def _overlap(box: Float32Array, other: Float32Array) -> float:
    """Intersection over union of two boxes, in 0..1."""
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    shared = float(np.maximum(sides, 0).prod())
    areas = float((box[2:] - box[:2]).prod() + (other[2:] - other[:2]).prod())
    return shared / max(areas - shared, 1e-6)
