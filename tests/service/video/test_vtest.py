"""A real recording with a real detector and the shipped bundle: its people are found, and the signpost is one thing."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.matching.person_search import PersonSearch
from sal_runtime.matching.tracks import ask_by_track
from sal_service.video.cameras import Camera
from sal_service.video.detector.detector import Detector
from sal_service.video.ingest import LOWEST_SCORE, Ingest
from sal_service.video.report import CameraReport
from tests.research_weights import find_weights
from tests.service.video.recorded import find_vtest

BUNDLE = Path(__file__).parents[3] / "bundles" / "edge"
FRAMES = 795
SIGNPOST = (39, 126)
"""Its middle, in pixels. It is 33 pixels high, and the detector takes it for a person in nearly every frame."""


def ingested(path: Path, camera: Camera) -> CameraReport:
    detector = Detector(find_weights("yolox_nano.onnx"), min_score=LOWEST_SCORE, min_height=0, threads=1)
    bundle = open_bundle(BUNDLE)
    with Gallery.create(path, bundle, precision="int8") as gallery:
        encoder = ImageEncoder(bundle, precision="int8", threads=1)
        return Ingest([camera], gallery, encoder, lambda _: detector).run().cameras[0]


def redness(path: Path) -> float:
    """Share of the upper half of a picture that is strongly red."""
    image = cv2.imread(str(path)).astype(int)
    blue, green, red = (image[: len(image) // 2, :, channel] for channel in range(3))
    return float(((red > 120) & (red > 2 * green) & (red > 2 * blue)).mean())


@pytest.mark.slow
def test_the_people_of_the_recording_and_the_woman_in_red(tmp_path: Path) -> None:
    report = ingested(tmp_path / "yard.sal", Camera("yard", str(find_vtest())))
    assert report.detected == report.received == FRAMES
    assert report.dropped == 0
    assert 19 <= report.tracks <= 28  # 19 passages of 10 people were counted by eye
    assert report.kept <= 3 * report.tracks
    with Gallery.open(tmp_path / "yard.sal") as gallery:
        tracks: dict[str | None, list[float]] = {}
        for item in gallery.all_items():
            tracks.setdefault(item.track, []).append(redness(gallery.image_path(item)))
        in_red = {track for track, shares in tracks.items() if np.median(shares) > 0.15}
        people = ask_by_track(PersonSearch(open_bundle(BUNDLE), gallery), "woman in a red top", k=3)
    assert len(in_red) == 2  # she comes back
    assert {hit.item.track for hit in list(people)[:2]} == in_red


@pytest.mark.slow
def test_the_signpost_is_kept_once(tmp_path: Path) -> None:
    report = ingested(tmp_path / "yard.sal", Camera("yard", str(find_vtest()), min_height=24, rate=5))
    with Gallery.open(tmp_path / "yard.sal") as gallery:
        items = gallery.all_items()
    middles = [(box[0] + box[2] / 2, box[1] + box[3] / 2) for box in (item.box for item in items) if box is not None]
    near = [middle for middle in middles if np.hypot(middle[0] - SIGNPOST[0], middle[1] - SIGNPOST[1]) < 6]
    assert len(near) == 1
    assert report.kept == len(items)
