"""The file of watches: made where there is none, refused where it is something else, the same after it was closed."""

from __future__ import annotations

import random
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from sal_runtime.bundle.bundle import Bundle
from sal_runtime.errors import InputError, SalError
from sal_runtime.gallery.gallery import Gallery
from sal_service.watches.following import Cursor
from sal_service.watches.store import Counts, FittingTrack, WatchStore
from sal_service.watches.watch import MqttTarget, WebhookTarget
from tests.service.watches.receiver import outbox
from tests.service.watches.test_watch import MESSAGE
from tests.service.watches.watched import NOON, watch_for


def test_everything_is_there_after_it_was_closed(tmp_path: Path) -> None:
    targets = (WebhookTarget("https://a.example/x"), MqttTarget("sal/x"))
    watches = [watch_for(), watch_for("male")]
    key = (watches[0].id, "door", "1")
    with WatchStore(tmp_path / "watches.db") as store:
        for watch in watches:
            store.add(watch)
        messages = outbox(store, 3, *targets)
        store.set_cursor("yard", Cursor(7, NOON, "ab"))
        store.record([], {key: FittingTrack(MESSAGE, NOON), (*key[:2], "2"): FittingTrack(MESSAGE, 5.0, True)}, NOON)
    with WatchStore(tmp_path / "watches.db") as store:
        assert store.watches()[:2] == watches
        assert store.messages(messages[0].watch) == messages[::-1]
        assert store.untold() == messages
        assert store.cursor("yard") == Cursor(7, NOON, "ab")
        assert store.cursor("garden") is None
        assert store.open_tracks() == {key: FittingTrack(MESSAGE, NOON)}
        assert store.ended_track((*key[:2], "2")) == (5.0,)
        assert store.ended_track(key) is None
        assert sorted(store.lanes_due(NOON)) == ["https://a.example", "mqtt"]
        assert store.lanes_due(NOON - 1) == []
        assert store.counts(messages[0].watch) == Counts(fired=3, waiting=6)
        assert store.counts() == Counts(fired=3, waiting=6)


def test_a_message_is_kept_once_and_only_for_a_watch_that_is_there(tmp_path: Path) -> None:
    with WatchStore(tmp_path / "watches.db") as store:
        (message,) = outbox(store, 1, MqttTarget("sal/x"))
        store.record([(message, (MqttTarget("sal/y"),))], {}, NOON + 1)
        assert store.counts() == Counts(fired=1, waiting=1)
        store.remove(message.watch)
        store.record([(message, ())], {(message.watch, "a", "b"): FittingTrack(MESSAGE, None)}, NOON)
        assert store.counts() == Counts()
        assert store.open_tracks() == {}
        assert not store.has_message(message.id)


def test_an_id_names_one_watch(tmp_path: Path) -> None:
    with WatchStore(tmp_path / "watches.db") as store:
        watch = watch_for()
        store.add(watch)
        with pytest.raises(InputError, match="there is a watch"):
            store.add(watch)
        assert store.watches() == [watch]


def test_other_files_are_refused_and_left_as_they_are(tmp_path: Path, bundle: Bundle) -> None:
    Gallery.create(tmp_path / "yard.sal", bundle).close()
    (tmp_path / "text").write_text("no database, but longer than the head of one would be" * 10)
    with sqlite3.connect(tmp_path / "newer.db") as newer:
        newer.execute("CREATE TABLE watch (id)")
        newer.execute("PRAGMA user_version = 2")
    for name, problem in (("yard.sal", "no file of watches"), ("text", "not a database"), ("newer.db", "no file of")):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(SalError, match=problem):
            WatchStore(tmp_path / name)
        assert (tmp_path / name).read_bytes() == before


def test_a_folder_that_is_not_there_is_an_error_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SalError, match="No such file or directory"):
        WatchStore(tmp_path / "none" / "watches.db")
    store = WatchStore(tmp_path / "watches.db")
    store.close()
    with pytest.raises(SalError, match="closed"):
        store.watches()


def test_nothing_is_left_of_images_that_were_removed(tmp_path: Path) -> None:
    """Not even what SQLite leaves behind when it moves rows from page to page."""
    chance, path, target = random.Random(3), tmp_path / "watches.db", WebhookTarget("http://127.0.0.1:1234/x")
    watches: list[str] = []
    there, gone = set[str](), set[str]()
    with WatchStore(path) as store:
        for turn in range(100):
            if turn % 5 == 0:
                watches.append(watch_for().id)
                store.add(watch_for(id=watches[-1]))
            for watch in [*watches] * 3:
                key = (watch, "c", chance.randbytes(6).hex())
                for image in range(3):  # of which each is better than the one before
                    uri = f"crop:c/{chance.randbytes(12).hex()}.jpg"
                    evidence = {f"term {number}": 0.5 for number in range(chance.randrange(6))}
                    best = replace(MESSAGE, id=chance.randbytes(16).hex(), watch=watch, uri=uri, evidence=evidence)
                    store.record([] if image else [(best, (target,))], {key: FittingTrack(best, NOON)}, NOON)
                    there.add(uri)
            for message in store.untold():
                store.mark_told(message.id)
            removed = chance.sample(sorted(there), 8)
            tracks = store.open_tracks().items()
            ended = {key: replace(track, ended=True) for key, track in tracks if track.best.uri in removed}
            store.record([], ended, NOON)
            store.forget_images(MESSAGE.gallery, removed)
            there -= {*removed}
            gone |= {*removed}
            if len(watches) > 4:
                store.remove(watches.pop(chance.randrange(3)))
            if turn % 10 == 9:
                content = b"".join(file.read_bytes() for file in tmp_path.iterdir())
                assert [uri for uri in sorted(gone) if uri.encode() in content] == []
                assert any(uri.encode() in content for uri in there)
