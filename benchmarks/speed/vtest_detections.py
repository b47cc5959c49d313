"""What a detector sees in a recording, kept for the benchmarks of the tracker: `tracking`, `bridging`.

    python -m benchmarks.speed.vtest_detections vtest.avi yolox_nano.onnx vtest_yolox_nano.npz

The file holds boxes float32 `[n, 4]` of all frames one after the other (left, top, right, bottom), scores float32 `[n]`
from `LOWEST_SCORE` on, and counts `[frames]`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from sal_runtime.files import whole_file
from sal_service.video.detector.detector import Detector
from sal_service.video.ingest import LOWEST_SCORE
from sal_service.video.sources.opening import open_source


def main() -> None:
    """Detect, and write the file."""
    video, model, out = map(Path, sys.argv[1:])
    detector = Detector(model, min_score=LOWEST_SCORE, min_height=0)
    seen = [detector.detect([frame.image])[0] for frame in open_source(video).frames()]
    with whole_file(out) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            boxes=np.concatenate([detections.boxes for detections in seen]),
            scores=np.concatenate([detections.scores for detections in seen]),
            counts=np.array([len(detections) for detections in seen]),
        )


if __name__ == "__main__":
    main()
