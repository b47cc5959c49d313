"""Which crops of a track are kept, and when, in sequences made by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from sal_runtime.arrays import UInt8Array
from sal_runtime.errors import InputError
from sal_service.video.best_crops import BestCrop, BestCrops, CropSettings
from sal_service.video.detections import Detections
from sal_service.video.frame import Frame
from sal_service.video.still import MOST_PLACES, StillPlaces
from sal_service.video.tracker import Update

START = 1_700_000_000.0
RATE = 10
SHARP_PICTURE: UInt8Array = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
BLURRED_PICTURE: UInt8Array = cv2.GaussianBlur(SHARP_PICTURE, (0, 0), 4).astype(np.uint8)
NOBODY = np.empty((0, 4), np.float32)

Seen = tuple[int, float, float]
"""Track, and the left and top of its box, 40 x 100 pixels."""


def look(
    crops: BestCrops, number: int, seen: list[Seen], image: UInt8Array = BLURRED_PICTURE, ended: tuple[int, ...] = ()
) -> list[BestCrop]:
    """Show a frame to it; its number gives the time."""
    boxes = np.array([(left, top, left + 40, top + 100) for _, left, top in seen], np.float32).reshape(-1, 4)
    ids = np.array([track for track, _, _ in seen], np.int64)
    frame = Frame(image, START + number / RATE, number, "file")
    detections = Detections(boxes, np.full(len(boxes), 0.8, np.float32))
    return crops.update(frame, detections, Update(ids, list(ended), NOBODY))


def walk(crops: BestCrops, frames: range, track: int = 1, sharp: tuple[int, ...] = ()) -> list[BestCrop]:
    """A person walks to and fro at 30 pixels a second, in a blurred picture apart from some sharp frames."""
    chosen = []
    for number in frames:
        left = 100 + abs((3 * number) % 800 - 400)
        chosen += look(crops, number, [(track, left, 150)], SHARP_PICTURE if number in sharp else BLURRED_PICTURE)
    return chosen


def test_the_sharpest_is_given_early_and_the_others_at_the_end() -> None:
    crops = BestCrops()
    (early,) = walk(crops, range(100), sharp=(13, 62, 90))
    assert (early.track, early.position) == (1, 13)
    assert early.captured_at == START + 1.3
    rest = crops.end([1])
    assert {crop.position for crop in rest} == {62, 90}
    assert crops.end([1]) == []
    left = 100 + abs(39 - 400)
    assert early.box.tolist() == [left, 150, left + 40, 250]
    assert (early.image == SHARP_PICTURE[150:250, left : left + 40]).all()
    assert early.image.base is None
    assert not early.colourless


def test_a_person_can_be_found_two_seconds_after_the_first_frame() -> None:
    crops = BestCrops()
    assert walk(crops, range(20)) == []
    assert len(walk(crops, range(20, 21))) == 1


def test_a_short_track_gives_what_it_has_when_it_ends() -> None:
    crops = BestCrops()
    assert look(crops, 0, [(1, 100, 100)]) == []
    (crop,) = look(crops, 3, [], ended=(1,))
    assert crop.position == 0


def test_a_body_at_the_border_loses_although_it_is_sharper() -> None:
    crops = BestCrops()
    softer = cv2.GaussianBlur(SHARP_PICTURE, (0, 0), 1).astype(np.uint8)
    for number in range(15):
        if number < 7:
            look(crops, number, [(1, 100, 380)], SHARP_PICTURE)
        else:
            look(crops, number, [(1, 100, 340)], softer)
    crop = crops.end([1])[0]
    assert crop.position >= 7
    assert crop.quality.inside == 1


def test_crops_are_spread_over_the_track() -> None:
    crops = BestCrops()
    chosen = walk(crops, range(120), sharp=tuple(range(40, 60))) + crops.end([1])
    seconds = sorted(crop.captured_at for crop in chosen)
    assert len(seconds) == 3
    assert min(np.diff(seconds)) >= 12 / 6 - 0.1


def test_a_very_long_track_gives_crops_at_growing_ages_and_never_more_than_it_may() -> None:
    crops = BestCrops(CropSettings(keep=4, early_seconds=2, growth=3))
    chosen, ages = 0, []
    for number in range(1200):
        found = walk(crops, range(number, number + 1))
        chosen += len(found)
        ages += [number / RATE] * len(found)
    assert ages == [2, 6, 18, 54]
    assert crops.end([1]) == []


def test_memory_of_a_track_is_bounded() -> None:
    crops = BestCrops(CropSettings(early_seconds=1e6))
    for number in range(3000):
        walk(crops, range(number, number + 1))
        (track,) = crops._tracks.values()
        assert len(track.candidates) <= 6
    assert len(crops.end([1])) == 3
    assert not crops._tracks


def test_a_still_object_gives_one_crop_however_often_it_is_found_again() -> None:
    crops = BestCrops()
    chosen: list[BestCrop] = []
    for number in range(600):
        track = 1 + number // 150
        jitter = number % 3
        chosen += look(crops, number, [(track, 100 + jitter, 150)], SHARP_PICTURE, (track - 1,))
    chosen += crops.end([4])
    assert [(crop.track, crop.position <= 20) for crop in chosen] == [(1, True)]
    assert crops.num_withheld == 3


def test_a_still_object_that_is_lost_after_a_few_seconds_each_time() -> None:
    """Each of the short tracks gives one crop, until their time adds up to a still object's."""
    crops = BestCrops()
    chosen: list[BestCrop] = []
    for number in range(600):
        track = 1 + number // 40
        chosen += look(crops, number, [(track, 100, 150)], SHARP_PICTURE, (track - 1,))
    assert [crop.track for crop in chosen] == [1, 2, 3]
    assert crops.num_withheld == 12


def test_who_stood_still_and_walks_on_gives_crops_as_others_do() -> None:
    crops = BestCrops()
    chosen: list[BestCrop] = []
    for number in range(300):
        chosen += look(crops, number, [(1, 100 + max(0, number - 200) * 4, 150)])
    assert [crop.position < 200 for crop in chosen] == [True, False]
    assert [crop.position >= 200 for crop in crops.end([1])] == [True]
    # the place is free again
    look(crops, 310, [(2, 100, 150)])
    assert crops.num_withheld == 0


def test_who_appears_in_front_of_a_signpost_is_found_after_the_first_steps() -> None:
    crops = BestCrops()
    for number in range(120):
        look(crops, number, [(1, 100, 150)])
    chosen = crops.end([1])
    for number in range(130, 180):
        chosen += look(crops, number, [(2, 100 + 5 * (number - 130), 150)])
    assert [crop.track for crop in chosen] == [2]


def test_a_passer_by_who_draws_the_box_of_a_signpost_along_does_not_wake_it() -> None:
    crops = BestCrops()
    for number in range(300):
        passes = 200 <= number < 208
        look(crops, number, [(1, 160 if passes else 100, 150)])
    assert crops.end([1]) == []


def test_who_runs_past_in_less_than_a_second_is_no_still_object() -> None:
    """Neither do many who pass the same door make it one, nor does a signpost at the door hide them."""
    crops = BestCrops()
    for number in range(120):
        look(crops, number, [(1, 100, 150)])
    crops.end([1])
    chosen: list[BestCrop] = []
    for track in range(2, 42):
        for step in range(8):
            chosen += look(crops, 20 * track + 100 + step, [(track, 100 + 20 * step, 150)])
        chosen += crops.end([track])
    assert {crop.track for crop in chosen} == set(range(2, 42))
    assert not crops._places.know(np.array([240, 150, 280, 250], np.float32), START + 100)


def test_pictures_without_colour_are_marked() -> None:
    grey = cv2.cvtColor(cv2.cvtColor(SHARP_PICTURE, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR).astype(np.uint8)
    coat_in_colour = SHARP_PICTURE.copy()
    coat_in_colour[150:250, 100:140] = 90
    for picture, expected in ((grey, True), (coat_in_colour, False)):
        crops = BestCrops()
        look(crops, 0, [(1, 100, 150)], picture)
        (crop,) = crops.end([1])
        assert crop.colourless is expected


def test_unconfirmed_detections_give_nothing() -> None:
    crops = BestCrops()
    for number in range(40):
        assert look(crops, number, [(-1, 100, 150)]) == []
    assert not crops._tracks


def test_ids_of_other_detections_are_refused() -> None:
    frame = Frame(SHARP_PICTURE, START, 0, "file")
    with pytest.raises(InputError, match="0 detections, but 1 ids"):
        BestCrops().update(frame, Detections.none(), Update(np.array([1]), [], NOBODY))


def test_places_are_forgotten_after_a_while_and_are_few() -> None:
    places = StillPlaces(seconds=10, memory=60)
    box = np.array([0, 0, 40, 100], np.float32)
    places.remember(box, 10, 100)
    assert places.know(box + 2, 160)
    assert not places.know(box + 60, 160)
    assert not places.know(box, 161)
    for number in range(2 * MOST_PLACES):
        places.remember(box + 1000 * number, 10, 200 + number / 10)
    assert len(places._places) == MOST_PLACES
    assert not places.know(box, 220)
    assert places.know(box + 1000 * (2 * MOST_PLACES - 1), 220)
