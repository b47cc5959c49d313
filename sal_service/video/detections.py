"""Where people are in a frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sal_runtime.arrays import BoolArray, Float32Array


@dataclass(frozen=True, slots=True)
class Detections:
    """The people that a detector saw in one frame.

    Attributes:
        boxes: float32 `[n, 4]`: left, top, right, bottom in pixels of the frame; within the frame.
        scores: float32 `[n]` in 0..1, how sure the detector is.
    """

    boxes: Float32Array
    scores: Float32Array

    def __len__(self) -> int:
        """Number of people."""
        return len(self.boxes)

    def where(self, chosen: BoolArray) -> Detections:
        """Some of them, by a mask bool `[n]`."""
        return Detections(self.boxes[chosen], self.scores[chosen])

    @staticmethod
    def none() -> Detections:
        """Nobody."""
        return Detections(np.empty((0, 4), np.float32), np.empty(0, np.float32))
