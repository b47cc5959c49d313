"""Cameras inside of a program of yours: one thread looks at them while another one asks for somebody.

python docs/examples/cameras.py cameras.toml yolox.onnx yard.sal 'man with a backpack'
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from sal_runtime import Gallery, ImageEncoder, PersonSearch, open_bundle
from sal_service.video import Camera, Detector, Ingest, read_cameras


def ask(people: PersonSearch, description: str, ended: threading.Event) -> None:
    """Say who fits best whenever it is somebody else; each answer knows all that was added before it."""
    last = None
    while not ended.wait(1.0):
        if len(people.gallery) == 0:
            continue
        for hit in people.ask(description, k=1):
            if hit.item.track != last:
                last = hit.item.track
                print(f"{hit.likelihood:.0%} {hit.item.camera}, track {last}: {hit.path}", flush=True)


def main(cameras: Path, detector: Path, path: Path, description: str) -> None:
    """Look at the cameras until they end, or for ever."""
    bundle = open_bundle()
    shared = Detector(detector, min_score=0.1, min_height=0, threads=1)  # each camera has limits of its own

    def detector_for(_: Camera) -> Detector:
        return shared

    with Gallery.open(path, "w") if path.exists() else Gallery.create(path, bundle) as gallery:
        ended = threading.Event()
        asking = threading.Thread(target=ask, args=(PersonSearch(bundle, gallery), description, ended))
        asking.start()
        try:
            report = Ingest(read_cameras(cameras), gallery, ImageEncoder(bundle, threads=1), detector_for).run()
        finally:
            ended.set()
            asking.join()
    for camera in report.cameras:
        print(f"{camera.camera}: {camera.detected} frames, {camera.tracks} people, {camera.dropped} frames dropped")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4])
