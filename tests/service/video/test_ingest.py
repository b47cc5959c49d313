"""Sources into a gallery: every frame of a recording, several cameras through one detector, an end in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.errors import InputError
from sal_runtime.gallery.gallery import Gallery
from sal_service.video.cameras import Camera
from sal_service.video.detections import Detections
from sal_service.video.detector.detector import Detector
from sal_service.video.ingest import Ingest, Lane
from sal_service.video.report import IngestReport
from tests.runtime.tiny_bundle import make_tiny_bundle
from tests.service.video.drawn_scene import BLUE, GREEN, NOON, RED, DrawnDetector, frames, walk, write_folder

ACROSS = walk((20, 200), (60, 0), (0, 4.5))
Make = Callable[..., Ingest]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return open_bundle(make_tiny_bundle(tmp_path / "tiny.bundle"))


@pytest.fixture
def gallery(tmp_path: Path, bundle: Bundle) -> Iterator[Gallery]:
    with Gallery.create(tmp_path / "people.sal", bundle) as opened:
        yield opened


@pytest.fixture
def make(bundle: Bundle, gallery: Gallery) -> Make:
    def ingest(*cameras: Camera, detector: Any = None, **given: Any) -> Ingest:
        shared = detector or DrawnDetector()
        return Ingest(cameras, gallery, ImageEncoder(bundle), lambda _: cast(Detector, shared), **given)

    return ingest


@pytest.fixture
def yard(tmp_path: Path) -> Camera:
    return Camera("yard", str(write_folder(tmp_path / "yard", frames([(ACROSS, RED)], 5))))


@pytest.fixture
def door(tmp_path: Path) -> Camera:
    walks = [(walk((300, 220), (-60, 0), (0, 4.5)), GREEN), (walk((20, 100), (55, 0), (0, 4.5)), BLUE)]
    return Camera("door", str(write_folder(tmp_path / "door", frames(walks, 5, began=NOON + 60))))


def test_every_frame_of_recordings_is_looked_at_and_every_person_kept(
    make: Make, yard: Camera, door: Camera, gallery: Gallery
) -> None:
    before = threading.active_count()
    report = make(yard, door).run()
    assert threading.active_count() == before
    of_yard, of_door = report.cameras
    for camera in report.cameras:
        assert (camera.received, camera.detected, camera.dropped, camera.passed_over) == (50, 50, 0, 0)
        assert camera.expected == 50
        assert camera.condition == "ended"
        assert camera.clocks == {"file": 50}
    assert of_yard.captured == pytest.approx((NOON, NOON + 4.9))
    assert (of_yard.people, of_door.people) == (45, 90)
    assert (of_yard.tracks, of_door.tracks) == (1, 2)
    assert (of_yard.kept, of_door.kept) == (3, 6)
    assert {(item.camera, item.track) for item in gallery.all_items()} == {
        ("yard", "20251128T120000-1"),
        ("door", "20251128T120100-1"),
        ("door", "20251128T120100-2"),
    }
    assert report.is_complete
    assert report.encoded == len(gallery) == 9


def test_the_report_is_json(make: Make, yard: Camera) -> None:
    document = make(yard).run().to_json()
    assert document["cameras"][0]["detected"] == 50
    assert document["is_complete"] is True


@pytest.mark.parametrize(("rate", "detected"), [(10.0, 50), (5.0, 25), (2.0, 10), (3.0, 15), (100.0, 50)])
def test_a_rate_passes_frames_over_evenly(make: Make, yard: Camera, rate: float, detected: int) -> None:
    (camera,) = make(replace(yard, rate=rate)).run().cameras
    assert abs(camera.detected - detected) <= 1
    assert camera.detected + camera.passed_over == camera.received == 50
    assert any("frames a second are few" in note for note in camera.notes) == (rate < 5)


def test_a_detector_that_takes_many_gets_frames_together_and_finds_the_same(
    make: Make, yard: Camera, door: Camera, gallery: Gallery
) -> None:
    detector = DrawnDetector(batch=8)
    report = make(yard, door, detector=detector).run()
    assert max(detector.runs) > 1
    assert sum(detector.runs) == 100
    assert [camera.tracks for camera in report.cameras] == [1, 2]


def test_cameras_with_the_same_detector_share_it_and_others_have_their_own(
    bundle: Bundle, gallery: Gallery, yard: Camera, door: Camera
) -> None:
    detectors = {"yard": DrawnDetector(), "door": DrawnDetector()}
    ingest = Ingest(
        [yard, door, replace(yard, source=door.source)],
        gallery,
        ImageEncoder(bundle),
        lambda camera: cast(Detector, detectors[camera.name]),
    )
    ingest.run()
    assert [sum(detector.runs) for detector in detectors.values()] == [100, 50]


def test_stop_ends_it_soon_and_what_was_seen_is_kept(make: Make, yard: Camera, gallery: Gallery) -> None:
    ingest = make(yard, detector=Stopping(after=30))
    cast(Stopping, ingest.lanes[0].detector).stop = ingest.stop
    (camera,) = ingest.run().cameras
    assert camera.condition == "stopped"
    assert 30 <= camera.detected <= 32
    assert camera.kept == len(gallery) > 0


class Stopping(DrawnDetector):
    """Stops an ingest while it looks at a frame."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after
        self.stop: Callable[[], None] = lambda: None

    def detect(self, images: Any) -> list[Detections]:
        if len(self.runs) + 1 == self.after:
            self.stop()
        return super().detect(images)


def test_a_detector_that_fails_ends_it_with_its_error_and_no_thread(make: Make, yard: Camera) -> None:
    class Failing(DrawnDetector):
        def detect(self, images: Any) -> list[Detections]:
            raise InputError("the outputs are of another family")

    before = threading.active_count()
    with pytest.raises(InputError, match="another family"):
        make(yard, detector=Failing()).run()
    assert threading.active_count() == before


def test_a_source_that_cannot_be_opened_leaves_no_thread(make: Make, yard: Camera, tmp_path: Path) -> None:
    before = threading.active_count()
    with pytest.raises(InputError, match="No such file"):
        make(yard, Camera("gone", str(tmp_path / "gone.avi")))
    assert threading.active_count() == before


def test_nobody_although_the_picture_moves_is_said(make: Make, tmp_path: Path) -> None:
    class Blind(DrawnDetector):
        def detect(self, images: Any) -> list[Detections]:
            return [Detections.none() for _ in images]

    crowd = [(walk((20, 200), (20, 0)), RED), (walk((300, 120), (-20, 0)), BLUE)]
    source = write_folder(tmp_path / "crowd", frames(crowd, 12))
    (camera,) = make(Camera("yard", str(source)), detector=Blind()).run().cameras
    assert any("found nobody in" in note for note in camera.notes)


def test_small_people_alone_are_said(make: Make, yard: Camera) -> None:
    (camera,) = make(replace(yard, min_height=100)).run().cameras
    assert camera.tracks == 0
    assert camera.notes == ("everybody who was found is lower than 100 pixels: nobody counts",)


def test_progress_is_told(make: Make, yard: Camera, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sal_service.video.ingest.TELL_SECONDS", 0)
    told: list[IngestReport] = []
    make(yard).run(told.append)
    detected = [report.cameras[0].detected for report in told]
    assert detected == sorted(detected)
    assert detected[-1] == 50


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_the_rate_goes_on_after_the_clock_was_set(jump: float) -> None:
    """By hand: at 2 frames a second of 10, each fifth frame is looked at, before and after the jump."""
    lane = Lane(Camera("a", "b", rate=2), cast(Any, None), cast(Any, None), cast(Any, None), cast(Any, None))
    moments = [NOON + number / 10 for number in range(20)] + [NOON + jump + number / 10 for number in range(20)]
    due = [number for number, moment in enumerate(moments) if lane._is_due(moment)]
    assert due == [0, 5, 10, 15, 20, 25, 30, 35]


def test_cameras_come_and_go_while_it_runs(make: Make, gallery: Gallery, yard: Camera, door: Camera) -> None:
    ingest = make()
    reports: list[IngestReport] = []
    runner = threading.Thread(target=lambda: reports.append(ingest.run(stay=True)), daemon=True)
    runner.start()
    ingest.add(yard)
    wait_until(lambda: [report.kept for report in ingest.report().cameras] == [3])  # the track has ended, too
    ingest.add(door)
    wait_until(lambda: sum(lane.is_ended for lane in ingest.lanes) == 2)
    ingest.remove("yard")
    wait_until(lambda: len(ingest.lanes) == 1)
    assert runner.is_alive()
    ingest.stop()
    runner.join(60)
    assert [report.camera for report in reports[0].cameras] == ["door"]
    assert gallery.recorded().tracks == 3


def test_the_people_of_a_camera_that_is_removed_are_kept(make: Make, gallery: Gallery, yard: Camera) -> None:
    ingest = make(yard)
    runner = threading.Thread(target=ingest.run, kwargs={"stay": True}, daemon=True)
    runner.start()
    wait_until(lambda: ingest.lanes[0].detected >= 10)
    ingest.remove("yard")
    wait_until(lambda: not ingest.lanes)
    ingest.stop()
    runner.join(60)
    assert len(gallery) >= 1


def wait_until(is_so: Callable[[], bool]) -> None:
    for _ in range(3000):
        if is_so():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within 30 seconds")
