"""When a watch fires: on the first image of a track that fits, once, whatever happens meanwhile."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.errors import ConfigError, InputError, SalError, SchemaError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import COLOURLESS, YES
from sal_runtime.gallery.reindex import reindex
from sal_runtime.matching.person_search import PersonSearch
from sal_service.video.intake import Intake, KeptCrop
from sal_service.watches.board import QUIET_SECONDS, SAME_TRACK_SECONDS, WatchBoard
from sal_service.watches.store import Counts
from sal_service.watches.watch import MqttTarget
from tests.runtime.made_up_items import unit_vectors
from tests.runtime.tiny_bundle import make_tiny_bundle
from tests.service.watches.receiver import outbox
from tests.service.watches.watched import DAY, NOON, Yard, calibrated_bundle, watch_for

QUIET = QUIET_SECONDS + 1


def test_a_track_fires_with_its_first_image_that_fits(yard: Yard) -> None:
    watch = watch_for()
    yard.board.add(watch)
    for number, vector in enumerate([yard.bad[0], yard.good[3], yard.good[0], yard.good[9], yard.bad[1]]):
        yard.see(number, vector, box=(number, 2, 3, 4))
    (message,) = yard.told
    (hit,) = [hit for hit in PersonSearch(yard.bundle, yard.gallery).ask("hat") if hit.uri == "crop:door/1.jpg"]
    assert message.type == "new"
    assert (message.watch, message.name, message.gallery) == (watch.id, "somebody", "yard")
    assert (message.camera, message.track, message.uri) == ("door", "1", "crop:door/1.jpg")
    assert (message.captured_at, message.box) == (NOON + 1, (1, 2, 3, 4))
    assert message.likelihood == pytest.approx(hit.likelihood, abs=2e-6)
    assert message.evidence == pytest.approx(hit.evidence, abs=2e-6)
    assert message.bundle == f"tiny0@{yard.bundle.fingerprint[:12]}"
    assert message.crop_url is None


def test_the_end_of_a_track_tells_of_its_best_image(yard: Yard) -> None:
    yard.board.add(watch_for())
    for number, vector in enumerate([yard.good[3], yard.good[9], yard.good[4]]):
        yard.see(number, vector)
    yard.now += QUIET_SECONDS - 1
    assert yard.board.tick(yard.now) == []
    assert yard.kinds() == ["new"]
    yard.now += 2
    yard.board.tick(yard.now)
    assert yard.kinds() == ["new", "end"]
    assert yard.told[1].uri == "crop:door/1.jpg"
    assert yard.told[1].likelihood > yard.told[0].likelihood
    yard.now += DAY
    yard.board.tick(yard.now)
    assert len(yard.told) == 2


def test_better_images_are_told_where_a_watch_asks_for_them(yard: Yard) -> None:
    yard.board.add(watch_for(once_per_track=False))
    for number, row in enumerate([3, 2, 5, 4, 5, 9]):
        yard.see(number, yard.good[row])
    assert yard.kinds() == ["new", "update", "update"]
    assert [message.uri[-5] for message in yard.told] == ["0", "2", "5"]
    assert [message.likelihood for message in yard.told] == sorted(message.likelihood for message in yard.told)
    yard.board.tick(yard.now + QUIET)
    assert yard.kinds() == ["new", "update", "update", "end"]
    assert yard.told[3].uri == "crop:door/5.jpg"
    assert len({message.id for message in yard.told}) == 4


def test_any_image_of_a_track_keeps_it_from_ending(yard: Yard) -> None:
    yard.board.add(watch_for())
    yard.see(0, yard.good[0])
    for number in range(1, 5):
        yard.now += QUIET_SECONDS - 1
        yard.see(number, yard.bad[number])
        yard.board.tick(yard.now)
    assert yard.kinds() == ["new"]
    yard.board.tick(yard.now + QUIET)
    assert yard.kinds() == ["new", "end"]


def test_an_image_without_a_track_is_its_own(yard: Yard) -> None:
    yard.board.add(watch_for(once_per_track=False))
    for number in range(4):
        yard.see(number, yard.good[number], track=None)
    yard.board.tick(yard.now + QUIET)
    assert yard.kinds() == ["new"] * 4


def test_tracks_of_two_cameras_and_of_two_watches_are_different(yard: Yard) -> None:
    first, second = watch_for(), watch_for(cameras=("gate",))
    yard.board.add(first)
    yard.board.add(second)
    for number in range(3):
        yard.see(number, yard.good[number], camera="door")
        yard.see(10 + number, yard.good[number], camera="gate")
    fired = sorted((message.watch, message.camera) for message in yard.told)
    assert fired == sorted([(first.id, "door"), (first.id, "gate"), (second.id, "gate")])


def test_an_image_without_colours_never_fires_a_watch_that_names_one(yard: Yard, tmp_path: Path) -> None:
    """Not even where it fits anything: the threshold is 0."""
    for description in ("upper=red", "!upper=red", "male,lower=blue", "hat"):
        yard.board.add(watch_for(description, min_likelihood=0.0, name=description))
    for number, vector in enumerate(unit_vectors(30)):
        yard.see(number, vector, track=str(number), metadata={COLOURLESS: YES})
    assert {message.name for message in yard.told} == {"hat"}
    assert len(yard.told) == 30
    yard.see(99, yard.good[0], track="99", metadata={COLOURLESS: "no"})
    assert len(yard.told) == 34


def test_it_fires_exactly_where_a_search_says_so(yard: Yard) -> None:
    """Random images in tracks of three and without tracks; the search and `by_track` decide what must have fired."""
    watches = [watch_for(text, min_likelihood=at) for text in ("hat", "!backpack,male") for at in (0.2, 0.5, 0.8)]
    for watch in watches:
        yard.board.add(watch)
    for number, vector in enumerate(unit_vectors(120, seed=8)):
        yard.see(number, vector, track=str(number // 3) if number < 90 else None)
    for watch in watches:
        result = PersonSearch(yard.bundle, yard.gallery).ask(watch.description, 120).by_track()
        expected = {(hit.item.track or hit.uri) for hit in result if (hit.likelihood or 0) >= watch.min_likelihood}
        fired = [message.track or message.uri for message in yard.told if message.watch == watch.id]
        assert len(fired) == len(set(fired))
        assert set(fired) == expected
        assert 0 < len(expected) < 60


def test_a_late_image_of_a_track_that_ended_is_no_new_track(yard: Yard) -> None:
    yard.board.add(watch_for())
    yard.see(0, yard.good[0])
    yard.board.tick(yard.now + QUIET)
    yard.now += QUIET
    yard.see(SAME_TRACK_SECONDS, yard.good[5])
    yard.see(-100, yard.good[6])
    assert yard.kinds() == ["new", "end"]
    yard.see(SAME_TRACK_SECONDS + 1, yard.good[7])  # a camera that counts its tracks anew
    assert yard.kinds() == ["new", "end", "new"]


def test_what_a_gallery_held_before_a_watch_was_made_is_none_of_its_business(yard: Yard) -> None:
    yard.add(0, yard.good[0])
    yard.board.add(watch_for())
    yard.add(1, yard.good[1], track="2")
    yard.board.tick(yard.now)
    assert [message.uri for message in yard.told] == ["crop:door/1.jpg"]


def test_what_was_kept_and_not_evaluated_is_found(yard: Yard) -> None:
    yard.board.add(watch_for())
    yard.see(0, yard.good[0], track="0")
    for number in range(1, 1200):
        yard.add(number, yard.good[number % 9], track=str(number // 2))
    yard.begin()
    assert yard.board.catch_up("yard") == 1200
    assert yard.kinds() == ["new"] * 600
    assert len({message.track for message in yard.told}) == 600
    assert yard.board.catch_up("yard") == 0
    yard.begin()
    yard.board.tick(yard.now)
    assert len(yard.told) == 600


def test_a_picture_that_replaced_another_is_found_after_a_crash(yard: Yard) -> None:
    yard.board.add(watch_for())
    yard.see(0, yard.bad[0])
    yard.board.tick(yard.now)
    yard.add(0, yard.good[0])
    yard.begin()
    yard.board.catch_up("yard")
    assert yard.kinds() == ["new"]


def test_an_image_whose_track_got_another_name_is_told_once(yard: Yard) -> None:
    """A camera finds out that two tracks are one person, and then the process is killed."""
    yard.board.add(watch_for())
    kept = yard.add(0, yard.good[0], track="7")
    yard.board.see("yard", kept)
    yard.gallery.update([replace(kept.item, track="3")])
    yard.begin()
    yard.board.catch_up("yard")
    yard.board.tick(yard.now + QUIET)
    assert [(message.type, message.track) for message in yard.told] == [("new", "7"), ("end", "7")]


def test_tracks_that_were_open_at_a_crash_end_later(yard: Yard) -> None:
    yard.board.add(watch_for())
    yard.see(0, yard.good[0])
    yard.now += DAY
    yard.begin()
    yard.board.tick(yard.now)
    yard.see(1, yard.good[1])
    assert yard.kinds() == ["new"]
    yard.board.tick(yard.now + QUIET)
    assert yard.kinds() == ["new", "end"]


def test_a_watch_expires(yard: Yard) -> None:
    watch = watch_for(expires_at=NOON + 60)
    yard.board.add(watch)
    yard.see(0, yard.good[0])
    yard.now = NOON + 60
    yard.see(1, yard.good[1], track="2")
    assert yard.kinds() == ["new"]
    yard.board.tick(yard.now)
    assert yard.kinds() == ["new", "end"]
    yard.see(2, yard.good[2], track="3")
    assert len(yard.told) == 2
    assert yard.store.watches() == [watch]


def test_a_watch_that_is_removed_tells_nothing_more(yard: Yard) -> None:
    watch = watch_for()
    yard.board.add(watch)
    yard.see(0, yard.good[0])
    assert yard.board.remove(watch.id)
    assert not yard.board.remove(watch.id)
    yard.see(1, yard.good[1], track="2")
    yard.board.tick(yard.now + QUIET)
    assert yard.kinds() == ["new"]
    assert yard.store.messages(watch.id) == []
    assert yard.store.watches() == []
    assert not any(b"case 17" in path.read_bytes() for path in yard.folder.glob("watches.db*"))


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"reason": " "}, InputError),
        ({"gallery": "garden"}, InputError),
        ({"description": "zebra"}, SchemaError),
        ({"expires_at": NOON + 31 * DAY}, InputError),
    ],
)
def test_what_cannot_be_watched_is_refused_and_not_kept(
    yard: Yard, changes: dict[str, Any], error: type[SalError]
) -> None:
    with pytest.raises(error):
        yard.board.add(watch_for(**changes))
    assert yard.store.watches() == []


def test_the_number_of_watches_has_a_limit(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sal_service.watches.board.MOST_WATCHES", 2)
    yard.board.add(watch_for())
    yard.board.add(watch_for(expires_at=NOON + 5))
    with pytest.raises(InputError, match="2 watches are active"):
        yard.board.add(watch_for())
    yard.now += 5
    yard.board.add(watch_for())


def test_a_gallery_without_likelihoods_cannot_be_watched(tmp_path: Path) -> None:
    plain = open_bundle(make_tiny_bundle(tmp_path / "plain.bundle"))
    calibrated = replace(calibrated_bundle(tmp_path / "tiny.bundle"))
    yard = Yard(tmp_path, calibrated)
    yard.board.register_gallery("yard", replace(plain, fingerprint=calibrated.fingerprint), yard.gallery)
    with pytest.raises(ConfigError, match="is not calibrated"):
        yard.board.add(watch_for())
    yard.close()


def test_a_message_that_cannot_be_kept_is_not_told_and_comes_later(yard: Yard) -> None:
    yard.board.add(watch_for())
    other = sqlite3.connect(yard.folder / "watches.db", isolation_level=None)
    yard.store._connection.execute("PRAGMA busy_timeout = 1")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(SalError, match="locked"):
        yard.see(0, yard.good[0])
    assert yard.board.tick(yard.now + QUIET) == [f"watches {yard.folder / 'watches.db'}: database is locked"]
    assert yard.told == []
    other.execute("ROLLBACK")
    other.close()
    assert yard.board.tick(yard.now) == []
    assert yard.kinds() == ["new"]


def test_whoever_is_told_may_fail_and_is_told_again(yard: Yard) -> None:
    watch = watch_for()
    yard.board.add(watch)
    told: list[str] = []

    def fail(message: Any) -> None:
        told.append(message.id)
        if len(told) == 1:
            raise OSError("no space left for the audit log")

    yard.board = WatchBoard(yard.store, fail, clock=lambda: yard.now)
    yard.board.register_gallery("yard", yard.bundle, yard.gallery)
    with pytest.raises(OSError, match="no space"):
        yard.see(0, yard.good[0])
    yard.see(1, yard.good[0], track="2")
    assert told[0] == told[1]
    assert sorted(told[1:]) == sorted(message.id for message in yard.store.messages(watch.id))


def test_however_many_messages_wait_to_be_told_all_are(yard: Yard) -> None:
    messages = outbox(yard.store, 1200)
    yard.board.tick(yard.now)
    assert yard.told == messages
    yard.board.tick(yard.now)
    assert len(yard.told) == 1200


def test_removed_images_are_told_of_no_more(yard: Yard) -> None:
    watch = watch_for()
    yard.board.add(watch)
    for number in range(3):
        yard.see(number, yard.good[number], track=str(number))
    yard.board.forget_images("yard", ["crop:door/1.jpg", "crop:nothing.jpg"])
    newest_first = yard.store.messages(watch.id)
    assert [message.uri for message in newest_first] == ["crop:door/2.jpg", "crop:door/0.jpg"]
    assert yard.store.messages(watch.id, limit=1) == newest_first[:1]
    assert yard.store.messages(watch.id, before=newest_first[0].id) == newest_first[1:]
    yard.board.tick(yard.now + QUIET)
    assert sorted(message.uri[-5] for message in yard.told if message.type == "end") == ["0", "2"]
    assert sorted(yard.store.images("yard")) == ["crop:door/0.jpg", "crop:door/2.jpg"]
    files = list(yard.folder.glob("watches.db*"))
    assert any(b"crop:door/0.jpg" in file.read_bytes() for file in files)
    assert not any(b"crop:door/1.jpg" in file.read_bytes() for file in files)
    yard.begin()
    yard.see(1, yard.good[1], track="1")
    assert yard.store.counts(watch.id).fired == 3


def test_the_best_image_of_a_track_is_forgotten_although_no_message_told_of_it(yard: Yard) -> None:
    """The process was killed after that image was removed, and before the board was told of it."""
    yard.board.add(watch_for())
    yard.see(0, yard.good[3])
    yard.see(1, yard.good[9])
    assert [message.uri for message in yard.told] == ["crop:door/0.jpg"]
    yard.gallery.remove(["crop:door/1.jpg"])
    yard.begin()
    yard.board.tick(yard.now + QUIET)
    assert [message.uri for message in yard.told if message.uri.endswith("1.jpg")] == []
    assert not any(b"crop:door/1.jpg" in file.read_bytes() for file in yard.folder.glob("watches.db*"))


def test_images_that_were_removed_while_nobody_looked_are_forgotten(yard: Yard) -> None:
    """The process was killed after an image was removed, and before the board was told of it."""
    watch = watch_for(deliver=(MqttTarget("sal/a"),))
    yard.board.add(watch)
    for number in range(3):
        yard.see(number, yard.good[number], track=str(number))
    yard.gallery.remove(["crop:door/1.jpg"])
    yard.begin()
    assert [message.track for message in yard.store.messages(watch.id)] == ["2", "0"]
    assert yard.store.counts() == Counts(fired=3, waiting=2, withdrawn=1)
    yard.board.tick(yard.now + QUIET)
    assert sorted(message.track for message in yard.told if message.type == "end") == ["0", "2"]


def test_images_of_a_path_are_given_an_address(yard: Yard) -> None:
    yard.settings = {"crop_url": lambda gallery, uri: f"/{gallery}/{uri}"}
    yard.begin()
    yard.board.add(watch_for())
    yard.see(0, yard.good[0])
    assert yard.told[0].crop_url == "/yard/crop:door/0.jpg"


def test_an_unknown_gallery_is_an_error_that_names_those_there_are(yard: Yard) -> None:
    with pytest.raises(InputError, match="got gallery 'garden', expected one of those that are served: yard"):
        yard.board.see("garden", KeptCrop(yard.add(0, yard.good[0]).item, yard.good[0]))
    with pytest.raises(InputError, match="garden"):
        yard.board.catch_up("garden")


def swapped(tmp_path: Path, bundle: Bundle) -> tuple[Yard, Bundle, Any]:
    """A yard of pictures, the next bundle, and what encodes the yard anew."""
    yard = Yard(tmp_path, bundle)
    new = calibrated_bundle(tmp_path / "new.bundle", seed=3)
    return yard, new, lambda: reindex(yard.gallery, new, ImageEncoder(new).encode, "fp32")


def keep(yard: Yard, bundle: Bundle, numbers: range, evaluate: bool) -> None:
    """Random pictures with tracks of their own, which are seen if they are to be evaluated."""
    rng = np.random.default_rng(numbers.start)
    with Intake(yard.gallery, ImageEncoder(bundle)) as intake:
        for number in numbers:
            colour = rng.integers(0, 256, 3)
            picture = np.full((64, 32, 3), colour, np.uint8)
            kept = intake.submit(picture, camera="door", captured_at=NOON + number, track=str(number)).result(60)
            if evaluate:
                yard.board.see("yard", kept)


def test_after_a_swap_only_what_came_later_is_evaluated_with_the_new_bundle(tmp_path: Path, bundle: Bundle) -> None:
    yard, new, swap = swapped(tmp_path, bundle)
    yard.board.add(watch_for(min_likelihood=0.0))
    keep(yard, bundle, range(5), evaluate=True)
    yard.board.tick(yard.now)
    keep(yard, bundle, range(5, 8), evaluate=False)  # the process was killed
    swap()
    assert "register it again" in yard.board.tick(yard.now)[0]
    (item,) = yard.gallery.all_items()[:1]
    yard.board.see("yard", KeptCrop(replace(item, track="x"), yard.good[0]))  # of the wrong bundle: not evaluated
    assert len(yard.told) == 5
    yard.board.register_gallery("yard", new, yard.gallery)
    yard.board.catch_up("yard")
    keep(yard, new, range(8, 10), evaluate=True)
    yard.board.tick(yard.now)
    assert [message.track for message in yard.told] == [str(number) for number in range(10)]
    by_bundle = [message.bundle.partition("@")[0] for message in yard.told]
    assert by_bundle == ["tiny0"] * 5 + ["tiny3"] * 5
    told = {hit.uri: hit.likelihood for hit in PersonSearch(new, yard.gallery).ask("hat")}
    for message in yard.told[5:]:
        assert message.likelihood == pytest.approx(told[message.uri], abs=2e-6)
    yard.close()


def test_a_watch_whose_words_the_new_bundle_lacks_says_so(tmp_path: Path, bundle: Bundle) -> None:
    yard, new, swap = swapped(tmp_path, bundle)
    watch = watch_for()
    yard.board.add(watch)
    keep(yard, bundle, range(2), evaluate=False)
    swap()
    yard.board.register_gallery("yard", replace(new, calibration=None), yard.gallery)
    assert "is not calibrated" in yard.board.problems[watch.id]
    yard.board.register_gallery("yard", new, yard.gallery)
    assert yard.board.problems == {}
    yard.close()


def test_a_gallery_of_another_bundle_is_not_served(yard: Yard, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="was made by bundle"):
        yard.board.register_gallery("yard", calibrated_bundle(tmp_path / "other.bundle", seed=9), yard.gallery)


def test_a_gallery_that_is_there_when_it_is_served_for_the_first_time_fires_nothing(
    tmp_path: Path, bundle: Bundle
) -> None:
    with Gallery.create(tmp_path / "yard.sal", bundle) as gallery:
        gallery.add([], np.empty((0, bundle.embedding_dim), np.float32))
    yard = Yard(tmp_path, bundle)
    assert yard.board.catch_up("yard") == 0
    yard.close()
