"""A recording into a gallery of people: frames a second, what each step costs, and how many cameras that is.

    python -m benchmarks.speed.video vtest.avi yolox_nano.onnx

Every frame is detected, tracked, and the best crops are encoded with the shipped bundle in int8. The steps are measured
one after the other in one thread, in seconds of the processor; the whole as `sal ingest` does it, with its threads.
Limit: at least 100 frames a second of vtest.avi (768 x 576) on two cores.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.speed.measurement import write_result
from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.bundle.shipped import default_bundle_path
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.gallery.gallery import Gallery
from sal_service.video.cameras import Camera
from sal_service.video.detector.detector import Detector
from sal_service.video.frame import Frame
from sal_service.video.ingest import LOWEST_SCORE, Ingest
from sal_service.video.intake import Intake
from sal_service.video.people import CameraPeople
from sal_service.video.sources.opening import open_source

LIMIT = 100.0
RATES = (5, 10)
"""Frames a second of a camera, for the number of cameras."""


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("detector", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    bundle = open_bundle(default_bundle_path())
    whole = [_whole(given.video, given.detector, bundle) for _ in range(given.rounds)]
    steps = _steps(given.video, given.detector, bundle)
    cpu = sum(steps["ms_a_frame"].values()) / 1000
    best = max(row["frames_per_second"] for row in whole)
    write_result(
        "video",
        {
            "video": given.video.name,
            "detector": given.detector.name,
            "bundle": f"{bundle.name} ({bundle.fingerprint[:12]})",
            "precision": "int8",
            "limit_frames_per_second": LIMIT,
            "frames_per_second": {
                "best": best,
                "median": statistics.median(row["frames_per_second"] for row in whole),
            },
            "first_picture_seconds": _first_picture(given.video, given.detector),
            "rounds": whole,
            "steps": steps,
            "cameras_a_core": {f"{rate} frames a second": round(1 / (cpu * rate), 1) for rate in RATES},
        },
    )


def _whole(video: Path, detector: Path, bundle: Bundle) -> dict[str, Any]:
    """One ingest as the command does it."""
    with tempfile.TemporaryDirectory() as folder, Gallery.create(Path(folder, "people.sal"), bundle) as gallery:
        opened = Detector(detector, min_score=LOWEST_SCORE, min_height=0, threads=1)
        encoder = ImageEncoder(bundle, precision="int8", threads=1)
        before = _processor_seconds()
        report = Ingest([Camera("yard", str(video))], gallery, encoder, lambda _: opened).run()
        (camera,) = report.cameras
        return {
            "frames": camera.detected,
            "seconds": round(report.seconds, 2),
            "frames_per_second": round(report.frames_per_second, 1),
            "processor_seconds": round(_processor_seconds() - before, 2),
            "tracks": camera.tracks,
            "pictures": camera.kept,
        }


def _first_picture(video: Path, detector: Path) -> float:
    """Seconds from the start of the command until a search of the new gallery has something to find."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "people.sal")
        command = [sys.executable, "-m", "sal_cli", "ingest", video, "--gallery", path, "--detector", detector]
        begun = time.perf_counter()
        process = subprocess.Popen([*map(str, command), "--precision", "int8"], stdout=subprocess.DEVNULL)
        try:
            while not _has_items(path):
                time.sleep(0.05)
            return round(time.perf_counter() - begun, 2)
        finally:
            process.terminate()
            process.wait()


def _has_items(path: Path) -> bool:
    if not path.exists():
        return False
    with Gallery.open(path) as gallery:
        return len(gallery) > 0


def _steps(video: Path, detector: Path, bundle: Bundle) -> dict[str, Any]:
    """What each step costs, in ms of the processor for each frame."""
    spent = dict.fromkeys(("decode", "detect", "track and choose"), 0.0)
    with tempfile.TemporaryDirectory() as folder, Gallery.create(Path(folder, "people.sal"), bundle) as gallery:
        opened = Detector(detector, min_score=LOWEST_SCORE, min_height=0, threads=1)
        with Intake(gallery, ImageEncoder(bundle, precision="int8", threads=1)) as intake:
            people = CameraPeople(Camera("yard", str(video)), intake)
            frames = _decoded(video, spent)
            for frame in frames:
                begun = time.thread_time()
                (detections,) = opened.detect([frame.image])
                detected = time.thread_time()
                people.see(frame, detections)
                spent["detect"] += detected - begun
                spent["track and choose"] += time.thread_time() - detected
            people.finish()
            number = sum(people.clocks.values())
        spent["encode"] = intake.encoded[1]
    return {
        "frames": number,
        "pictures": intake.encoded[0],
        "ms_a_frame": {step: round(1000 * seconds / number, 3) for step, seconds in spent.items()},
    }


def _decoded(video: Path, spent: dict[str, float]) -> Iterator[Frame]:
    frames = open_source(video).frames()
    while True:
        begun = time.thread_time()
        frame = next(frames, None)
        spent["decode"] += time.thread_time() - begun
        if frame is None:
            return
        yield frame


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
