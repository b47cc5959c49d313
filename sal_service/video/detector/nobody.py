"""The watch on a detector that finds nobody."""

from __future__ import annotations

import numpy as np

from sal_runtime.arrays import UInt8Array
from sal_runtime.images.pixels import import_opencv
from sal_service.video.detections import Detections
from sal_service.video.detector.detector import Detector

MOVING_FRAMES = 100
"""After so many frames in which the picture moved, somebody should have been seen."""
NOISE = 2
"""Differences of a pixel of the small grey picture, in 0..255, that the sensor makes."""
MOVEMENT = 0.3
"""Mean of the larger differences from which on the picture moves. People on a square give 0.5 to 3, noise 0.06."""
SMALL = (64, 48)


class NobodyWatch:
    """Warns once if a detector has found nobody in the first hundred frames in which the picture of a camera moved.

    A detector that is fed in a wrong way raises no error: it finds nobody.

    Args:
        detector: whose detections are shown to `see`.

    Attributes:
        frames: frames seen.
        moving: frames that differed from the one before.
        people: detections in all frames.
    """

    def __init__(self, detector: Detector) -> None:
        self.frames, self.moving, self.people = 0, 0, 0
        self._detector = detector
        self._before: UInt8Array | None = None
        self._is_done = False

    def see(self, image: UInt8Array, detections: Detections) -> str | None:
        """Count a frame of one camera; returns the warning when it is due, else None.

        Args:
            image: the frame, uint8 BGR `[H, W, 3]`.
            detections: who was found in it.
        """
        self.frames += 1
        self.people += len(detections)
        self._is_done = self._is_done or self.people > 0
        if self._is_done:
            return None
        self.moving += self._moves(image)
        if self.moving < MOVING_FRAMES:
            return None
        self._is_done = True
        detector = self._detector
        return (
            f"{detector.title} found nobody in {self.frames} frames, in {self.moving} of which the picture moved: "
            f"either nobody was there, or everybody was lower than {detector.min_height:g} pixels or less sure than "
            f"{detector.min_score:g}, or it is not fed as it was trained ({detector.description.in_words()}); "
            "draw what it sees in a frame with people, and correct its sidecar"
        )

    def _moves(self, image: UInt8Array) -> bool:
        cv2 = import_opencv()
        small = cv2.cvtColor(cv2.resize(image, SMALL, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY)
        before, self._before = self._before, small
        if before is None:
            return False
        difference = np.abs(small.astype(np.int16) - before)
        return float(np.where(difference > NOISE, difference, 0).mean()) >= MOVEMENT
