"""A live camera into a gallery: people are found while it runs, a cut line is a loss and not an end, a stop is soon."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import cv2
import pytest

from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.gallery.gallery import Gallery
from sal_service.video.cameras import Camera
from sal_service.video.detector.detector import Detector
from sal_service.video.ingest import Ingest
from sal_service.video.report import IngestReport
from tests.runtime.tiny_bundle import make_tiny_bundle
from tests.service.video.drawn_scene import HEIGHT, RED, WIDTH, DrawnDetector, frames, walk
from tests.service.video.simulated_camera import Line, SimulatedCamera, missing

LONG = 60
RATE = 10


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedCamera]:
    """It sees somebody in red walk past, again and again."""
    if reason := missing():
        pytest.skip(reason)
    clip = tmp_path_factory.mktemp("clip") / "red.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), RATE, (WIDTH, HEIGHT))
    for frame in frames([(walk((20, 200), (70, 0), (0, 4)), RED)], 6, RATE):
        writer.write(frame.image)
    writer.release()
    with SimulatedCamera(clip, rate=RATE) as simulated:
        yield simulated


def until(is_so: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + LONG
    while not is_so():
        assert time.monotonic() < give_up_at, "waited in vain"
        time.sleep(0.02)


def test_people_are_found_over_a_cut_line_until_it_is_stopped(camera: SimulatedCamera, tmp_path: Path) -> None:
    bundle = open_bundle(make_tiny_bundle(tmp_path / "tiny.bundle"))
    reports: list[IngestReport] = []
    before = threading.active_count()
    with Line(camera.port) as line, Gallery.create(tmp_path / "people.sal", bundle) as gallery:
        address = camera.address.replace(str(camera.port), str(line.port))
        ingest = Ingest(
            [Camera("door", address)], gallery, ImageEncoder(bundle), lambda _: cast(Detector, DrawnDetector())
        )
        working = threading.Thread(target=lambda: reports.append(ingest.run()))
        working.start()
        until(lambda: len(gallery) >= 1)
        line.cut()
        until(lambda: ingest.report().cameras[0].reconnects == 1)
        kept = len(gallery)
        until(lambda: len(gallery) > kept)
        ingest.stop()
        working.join(LONG)
        assert not working.is_alive()
        (report,) = reports
        (of_door,) = report.cameras
        assert of_door.condition == "stopped"
        assert of_door.clocks == {"arrival": of_door.detected}
        assert [loss.reason for loss in of_door.losses] == ["the camera ended the stream"]
        assert of_door.kept == len(gallery)
        assert of_door.given_up == of_door.refused == 0
        now = time.time()
        for item in gallery.all_items():
            assert item.captured_at is not None
            assert now - 2 * LONG < item.captured_at < now
    until(lambda: threading.active_count() <= before)
