"""Many live cameras into one gallery: how old the newest frame is, what is dropped, and how long a search waits.

    python -m benchmarks.speed.live_cameras yolox_nano.onnx --video vtest.avi --cameras 16 --seconds 60
    python -m benchmarks.speed.live_cameras yolox_nano.onnx --video vtest.avi --cameras 2 --seconds 1200 --flap 20 \
        --retain 120 --name live_soak

Simulated cameras (GStreamer, RTSP over TCP on the loopback interface) send 5 frames a second of 320 x 240 without end.
An ingest looks at all of them; one thread searches its gallery twice a second. With `--flap`, the lines to the cameras
are cut every so many seconds, and with `--retain` older pictures are removed, as a service does. Limits: the newest
frame that was looked at is at most 1 s old; 95 of 100 searches take at most 100 ms; memory does not grow.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed.measurement import write_result
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.bundle.shipped import default_bundle_path
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.matching.person_search import PersonSearch
from sal_service.video.cameras import Camera
from sal_service.video.detector.detector import Detector
from sal_service.video.ingest import LOWEST_SCORE, Ingest
from tests.service.video.simulated_camera import Line, SimulatedCamera

AGE_LIMIT_SECONDS = 1.0
SEARCH_LIMIT_MS = 100.0
SETTLING_SECONDS = 15.0
"""Left out at the beginning: the cameras are connected one after the other, and memory is allocated."""
PURGE_SECONDS = 10.0
MIN_HEIGHT = 20
RATE = 5
"""Frames a second of each camera."""


@dataclass
class Samples:
    """What was seen while it ran."""

    ages: list[float] = field(default_factory=list)
    searches_ms: list[float] = field(default_factory=list)
    memory_mb: list[float] = field(default_factory=list)


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("detector", type=Path)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--cameras", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--flap", type=float, default=0)
    parser.add_argument("--retain", type=float, default=0)
    parser.add_argument("--name", default="live_cameras")
    given = parser.parse_args()
    bundle = open_bundle(default_bundle_path())
    with ExitStack() as stack:
        simulated = stack.enter_context(SimulatedCamera(given.video, rate=RATE))
        lines = [stack.enter_context(Line(simulated.port)) for _ in range(given.cameras)]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        gallery = stack.enter_context(Gallery.create(folder / "people.sal", bundle))
        detector = Detector(given.detector, min_score=LOWEST_SCORE, min_height=0, threads=1)
        cameras = [
            Camera(
                f"c{number}",
                simulated.address.replace(str(simulated.port), str(line.port)),
                library="pyav",  # opens many cameras at once
                min_height=MIN_HEIGHT,
            )
            for number, line in enumerate(lines)
        ]
        encoder = ImageEncoder(bundle, precision="int8", threads=1)
        ingest = Ingest(cameras, gallery, encoder, lambda _: detector)
        samples = _watch(ingest, lines, PersonSearch(bundle, gallery), given)
        write_result(given.name, _result(ingest, samples, given))


def _watch(ingest: Ingest, lines: Sequence[Line], people: PersonSearch, given: argparse.Namespace) -> Samples:
    """Let it run, and look at it."""
    samples, gallery = Samples(), people.gallery
    assert isinstance(gallery, Gallery)
    working = threading.Thread(target=ingest.run)
    working.start()
    began = time.monotonic()
    next_cut, next_purge = began + given.flap, began + PURGE_SECONDS
    while (now := time.monotonic()) < began + SETTLING_SECONDS + given.seconds:
        if given.flap and now >= next_cut:
            for line in lines:
                line.cut()
            next_cut += given.flap
        if given.retain and now >= next_purge:
            gallery.purge(before=time.time() - given.retain)
            next_purge += PURGE_SECONDS
        if now > began + SETTLING_SECONDS:
            samples.ages += [time.time() - lane.people.captured[1] for lane in ingest.lanes if lane.people.captured]
            samples.memory_mb.append(_resident_mb())
            if len(gallery):
                begun = time.perf_counter()
                people.ask("person with a backpack", k=10)
                samples.searches_ms.append(1000 * (time.perf_counter() - begun))
        time.sleep(0.5)
    ingest.stop()
    working.join()
    return samples


def _result(ingest: Ingest, samples: Samples, given: argparse.Namespace) -> dict[str, Any]:
    report = ingest.report()
    received, dropped, detected, reconnects, pictures = (
        sum(getattr(camera, name) for camera in report.cameras)
        for name in ("received", "dropped", "detected", "reconnects", "kept")
    )
    quarter = max(1, len(samples.memory_mb) // 4)
    return {
        "cameras": given.cameras,
        "frames_a_second_each": RATE,
        "seconds": given.seconds,
        "cut_every_seconds": given.flap or None,
        "retained_seconds": given.retain or None,
        "age_limit_seconds": AGE_LIMIT_SECONDS,
        "age_seconds": _spread(samples.ages),
        "search_limit_ms": SEARCH_LIMIT_MS,
        "search_ms": _spread(samples.searches_ms),
        "memory_mb": {
            "first_quarter": round(statistics.median(samples.memory_mb[:quarter]), 1),
            "last_quarter": round(statistics.median(samples.memory_mb[-quarter:]), 1),
        },
        "received": received,
        "dropped": dropped,
        "detected": detected,
        "reconnects": reconnects,
        "pictures": pictures,
        "pictures_left": len(ingest.gallery),
        "given_up": sum(camera.given_up for camera in report.cameras),
        "threads_left": [thread.name for thread in threading.enumerate() if thread.name.startswith("sal")],
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    parts = dict(zip(("p50", "p95", "p99", "max"), np.percentile(values, (50, 95, 99, 100)).tolist(), strict=True))
    return {name: round(value, 3) for name, value in parts.items()}


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


if __name__ == "__main__":
    main()
