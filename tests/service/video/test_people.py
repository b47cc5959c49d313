"""From detections to items: who is kept, how often, and what is recorded of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.gallery.gallery import Gallery
from sal_service.video.cameras import Camera, Line
from sal_service.video.frame import Frame
from sal_service.video.intake import Intake
from sal_service.video.people import CameraPeople
from tests.runtime.tiny_bundle import make_tiny_bundle
from tests.service.video.drawn_scene import BLUE, GREEN, NOON, RED, find_people, frames, walk

CAMERA = Camera("yard", "drawn")
ACROSS = walk((20, 200), (30, 0), (0, 9))
BACK = walk((380, 150), (-30, 0), (3, 12))


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    bundle = open_bundle(make_tiny_bundle(tmp_path / "tiny.bundle"))
    with Gallery.create(tmp_path / "yard.sal", bundle) as gallery, Intake(gallery, ImageEncoder(bundle)) as opened:
        yield opened


def seen(camera: Camera, intake: Intake, shown: list[Frame]) -> CameraPeople:
    people = CameraPeople(camera, intake)
    for frame in shown:
        people.see(frame, find_people(frame.image))
    people.finish()
    intake.close()
    return people


def test_each_person_is_a_track_with_a_few_pictures_of_it_and_nobody_else(intake: Intake) -> None:
    people = seen(CAMERA, intake, frames([(ACROSS, RED), (BACK, BLUE)], 12))
    items = intake.gallery.all_items()
    by_track: dict[str, list[tuple[int, int, int]]] = {}
    for item in items:
        assert item.camera == "yard"
        assert item.track is not None
        assert item.captured_at is not None
        assert item.box is not None
        assert item.metadata["clock"] == "file"
        assert round(item.captured_at - NOON, 3) == int(item.metadata["frame"]) / 10
        image = cv2.imread(str(intake.gallery.image_path(item)))
        middle = image[image.shape[0] // 2, image.shape[1] // 2]
        by_track.setdefault(item.track, []).append(tuple((middle > 128).tolist()))  # type: ignore[arg-type]
    assert people.tracks == len(by_track) == 2
    assert sorted(by_track.values()) == [[(False, False, True)] * 3, [(True, False, False)] * 3]
    assert people.outcomes == {"kept": 6}


def test_the_same_recording_again_changes_nothing(intake: Intake, tmp_path: Path) -> None:
    shown = frames([(ACROSS, RED)], 10)
    people = CameraPeople(CAMERA, intake)
    for _ in range(2):
        for frame in shown:
            people.see(frame, find_people(frame.image))
        people.finish()
    intake.close()
    items = intake.gallery.all_items()
    assert len(items) == 3
    assert len({item.track for item in items}) == 1
    assert people.outcomes["kept"] == 6


def test_tracks_do_not_go_on_over_a_clock_that_was_set_back(intake: Intake) -> None:
    shown = frames([(ACROSS, RED)], 8)
    later = [replace(frame, captured_at=frame.captured_at - 3600) for frame in shown[40:]]
    people = seen(CAMERA, intake, shown[:40] + later)
    assert people.tracks == 2
    assert people.captured == (later[0].captured_at, later[-1].captured_at)


def test_low_and_masked_people_are_counted_but_not_kept(intake: Intake) -> None:
    left_half = (((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),)
    people = seen(replace(CAMERA, masks=left_half), intake, frames([(walk((60, 200), (5, 0)), RED)], 3))
    assert (people.people, people.masked, people.too_low) == (0, 30, 0)
    assert len(intake.gallery) == 0


def test_a_person_who_is_not_tall_enough_is_counted_but_not_kept(intake: Intake) -> None:
    people = seen(replace(CAMERA, min_height=81), intake, frames([(ACROSS, RED)], 3))
    assert (people.people, people.masked, people.too_low) == (0, 0, 30)
    assert len(intake.gallery) == 0


def test_crossings_are_counted_and_recorded_with_every_picture_of_the_person(intake: Intake) -> None:
    """The red person crosses the line upwards after a first picture was kept; the green one never does."""
    gate = Line("gate", (0.5, 0.0), (0.5, 1.0))  # downwards: its right is the left half of the picture
    people = seen(
        replace(CAMERA, lines=(gate,), zone="north"),
        intake,
        frames([(ACROSS, RED), (walk((40, 100), (5, 0), (0, 9)), GREEN)], 10),
    )
    assert people.crossings.counts == {("gate", "backward"): 1}
    crossed = [item.metadata.get("crossed") for item in intake.gallery.all_items()]
    assert sorted(crossed, key=str) == [None] * 3 + ["gate backward"] * 3
    assert {item.metadata["zone"] for item in intake.gallery.all_items()} == {"north"}


def test_pictures_without_colours_are_marked(intake: Intake) -> None:
    shown = frames([(ACROSS, RED)], 6)
    people = CameraPeople(CAMERA, intake)
    for frame in shown:
        grey = cv2.cvtColor(cv2.cvtColor(frame.image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
        people.see(replace(frame, image=grey), find_people(frame.image))
    people.finish()
    intake.close()
    assert {item.metadata["colourless"] for item in intake.gallery.all_items()} == {"yes"}


def test_a_person_behind_a_pillar_is_one_track_if_tracks_are_joined(intake: Intake) -> None:
    """Red walks behind a pillar for three seconds, longer than a track is kept; blue comes out instead of green."""
    colours = [(RED, RED), (GREEN, BLUE)]
    shown = frames(
        [
            (walk((20, 100 + 110 * row), (20, 0), seconds), pair[part])
            for row, pair in enumerate(colours)
            for part, seconds in enumerate([(0, 5), (8, 13)])
        ],
        15,
    )
    people = seen(replace(CAMERA, join=True), intake, shown)
    assert (people.tracks, people.joined) == (4, 1)
    shown_by: dict[str | None, set[tuple[bool, ...]]] = {}
    for item in intake.gallery.all_items():
        image = cv2.imread(str(intake.gallery.image_path(item)))
        shown_by.setdefault(item.track, set()).add(tuple((image[40, 15] > 128).tolist()))
    assert sorted(map(len, shown_by.values())) == [1, 1, 1]  # each track shows one colour
