"""What a detector sees, drawn."""

from __future__ import annotations

from sal_runtime.arrays import UInt8Array
from sal_runtime.images.pixels import import_opencv
from sal_service.video.detections import Detections

KEPT = (0, 200, 0)
LEFT_OUT = (150, 150, 150)
TEXT = (0, 0, 0)
TEXT_SIZE = 0.45


def draw_detections(
    image: UInt8Array, detections: Detections, *, min_score: float = 0.0, min_height: float = 0.0
) -> UInt8Array:
    """A copy of a frame with a box and a score for everybody.

    To show also whom the limits of a detector leave out, detect with lower limits, and give the real ones here.

    Args:
        image: uint8 BGR `[H, W, 3]`.
        detections: who was found in it.
        min_score: people with a lower score are drawn in grey.
        min_height: people lower than this, in pixels, are drawn in grey.
    """
    cv2 = import_opencv()
    drawn: UInt8Array = image.copy()
    for (left, top, right, bottom), score in zip(detections.boxes, detections.scores, strict=True):
        is_kept = score >= min_score and bottom - top >= min_height
        colour, label = (KEPT if is_kept else LEFT_OUT), f"{score:.2f}"
        corner, opposite = (round(left), round(top)), (round(right), round(bottom))
        cv2.rectangle(drawn, corner, opposite, colour, 2 if is_kept else 1)
        (width, height), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, TEXT_SIZE, 1)
        bottom_of_text = max(corner[1], height + 4)
        cv2.rectangle(drawn, (corner[0], bottom_of_text - height - 4), (corner[0] + width, bottom_of_text), colour, -1)
        place = (corner[0], bottom_of_text - 3)
        cv2.putText(drawn, label, place, cv2.FONT_HERSHEY_SIMPLEX, TEXT_SIZE, TEXT, 1, cv2.LINE_AA)
    return drawn
