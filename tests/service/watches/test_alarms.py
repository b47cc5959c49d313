"""The alarms that a likelihood would have meant, counted again with loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.errors import ConfigError, SchemaError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import COLOURLESS, YES, GalleryItem
from sal_runtime.matching.person_search import PersonSearch
from sal_service.watches.alarms import THRESHOLDS, Preview, preview
from sal_service.watches.board import WatchBoard
from sal_service.watches.store import WatchStore
from tests.runtime.made_up_items import unit_vectors
from tests.runtime.tiny_bundle import make_tiny_bundle
from tests.service.watches.watched import DAY, NOON, keep, likelihoods, watch_for

HOUR = 3600.0


def items_of_three_days() -> list[GalleryItem]:
    """An image every ten minutes, in tracks of three; the gate's end half a day earlier than the door's."""
    items = []
    for number in range(432):
        for camera, first in (("door", 0.0), ("gate", -12 * HOUR)):
            items.append(
                GalleryItem(
                    f"{camera}/{number}.jpg",
                    camera=camera,
                    captured_at=NOON + first + 600 * number,
                    track=None if number % 4 == 0 else str(number // 3),
                    metadata={COLOURLESS: YES} if number % 7 == 0 else {},
                )
            )
    return items


ITEMS = items_of_three_days()
VECTORS = unit_vectors(len(ITEMS), seed=31)


@pytest.fixture(scope="module")
def search(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> PersonSearch:
    gallery = Gallery.create(tmp_path_factory.mktemp("alarms") / "yard.sal", bundle)
    gallery.add(ITEMS, VECTORS)
    return PersonSearch(bundle, gallery)


def by_loops(told: np.ndarray, cameras: list[str], asks_for_colour: bool) -> tuple[int, dict[float, tuple[int, float]]]:
    rows = [row for row, item in enumerate(ITEMS) if not cameras or item.camera in cameras]
    newest = max(ITEMS[row].captured_at or 0 for row in rows)
    best: dict[object, float] = {}
    for row in rows:
        item = ITEMS[row]
        if (item.captured_at or 0) >= newest - DAY:
            key = item.uri if item.track is None else (item.camera, item.track)
            hidden = asks_for_colour and item.metadata.get(COLOURLESS) == YES
            best[key] = max(best.get(key, 0.0), 0.0 if hidden else told[row])
    firing = {at: [value for value in best.values() if value >= at] for at in THRESHOLDS}
    return len(best), {at: (len(found), sum(1 - value for value in found)) for at, found in firing.items()}


@pytest.mark.parametrize("cameras", [[], ["door"], ["gate"], ["gate", "door"]], ids=str)
@pytest.mark.parametrize("description", ["hat", "male,!backpack", "upper=red|blue"])
def test_alarms_and_wrong_ones_are_those_of_a_count_with_loops(
    cameras: list[str], description: str, search: PersonSearch, bundle: Bundle, tmp_path: Path
) -> None:
    told = likelihoods(bundle, description, VECTORS, tmp_path)
    tracks, expected = by_loops(told, cameras, "upper" in description)
    found = preview(search, description, cameras)
    assert found.tracks == tracks
    assert found.hours == pytest.approx(24.0)
    assert [alarms.min_likelihood for alarms in found.thresholds] == [n / 100 for n in range(10, 100, 5)]
    for alarms in found.thresholds:
        count, wrong = expected[alarms.min_likelihood]
        assert alarms.alarms == count
        assert alarms.wrong == pytest.approx(wrong, abs=1e-4)
    assert [a.alarms for a in found.thresholds] == sorted((a.alarms for a in found.thresholds), reverse=True)
    assert found.thresholds[0].alarms > found.thresholds[-1].alarms


def test_a_watch_that_lives_through_the_day_fires_as_often(bundle: Bundle, tmp_path: Path) -> None:
    """The preview of a day afterwards counts what a board told during it."""
    with (
        Gallery.create(tmp_path / "yard.sal", bundle) as gallery,
        WatchStore(tmp_path / "watches.db") as store,
    ):
        board = WatchBoard(store, lambda _: None, clock=lambda: NOON)
        board.register_gallery("yard", bundle, gallery)
        watches = {at: watch_for(min_likelihood=at) for at in (0.1, 0.5, 0.75, 0.95)}
        for watch in watches.values():
            board.add(watch)
        for number, vector in enumerate(unit_vectors(200, seed=32)):
            track = str(number // 4) if number < 150 else None
            board.see("yard", keep(gallery, 400 * number, vector, track=track))
        found = {
            alarms.min_likelihood: alarms.alarms for alarms in preview(PersonSearch(bundle, gallery), "hat").thresholds
        }
        for at, watch in watches.items():
            assert store.counts(watch.id).fired == found[at]


def test_less_than_a_day_is_said(bundle: Bundle, tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "yard.sal", bundle) as gallery:
        gallery.add(ITEMS[:12:2], VECTORS[:12:2])
        found = preview(PersonSearch(bundle, gallery), "hat", ["door"])
    assert found.hours == pytest.approx(50 / 60)
    assert "the cameras have 0.8 hours, not a day; expect more alarms in a whole one" in found.notes


def test_cameras_without_images_are_said(search: PersonSearch) -> None:
    found = preview(search, "hat", ["cellar"])
    assert (found.hours, found.tracks) == (0.0, 0)
    assert {(alarms.alarms, alarms.wrong) for alarms in found.thresholds} == {(0, 0.0)}
    assert found.notes == ("no camera 'cellar'; there are: door, gate",)
    assert "no camera 'cellar'; there are: door, gate" in preview(search, "hat", ["door", "cellar"]).notes


def test_an_empty_gallery_and_one_without_moments(bundle: Bundle, tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "yard.sal", bundle) as gallery:
        search = PersonSearch(bundle, gallery)
        empty = preview(search, "hat")
        gallery.add([GalleryItem("a.jpg", camera="door")], VECTORS[:1])
        assert preview(search, "hat") == empty == Preview(0.0, 0, empty.thresholds, empty.notes)
    assert empty.notes == ("no image says when it was captured",)


def test_what_cannot_be_asked_is_refused(search: PersonSearch, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="zebra"):
        preview(search, "zebra")
    plain = open_bundle(make_tiny_bundle(tmp_path / "plain"))
    with Gallery.create(tmp_path / "plain.sal", plain) as gallery, pytest.raises(ConfigError, match="not calibrated"):
        preview(PersonSearch(plain, gallery), "hat")
