"""Crops into a gallery: acknowledged when the gallery holds them, tried again while it cannot, never lost unseen."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.errors import InputError, SalError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.store.file import crops_folder
from sal_runtime.images.pixels import decode_image, load_image
from sal_service.video import intake as module
from sal_service.video.intake import THUMBNAIL_HEIGHT, HeldBackError, Intake, encode_jpeg
from tests.runtime.gallery_contents import stored_vectors
from tests.runtime.tiny_bundle import SPEC, embed_image, make_tiny_bundle

NOON = 1_764_331_200.5
RED = np.full((120, 50, 3), (0, 0, 200), np.uint8)
LONG = 60


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return open_bundle(make_tiny_bundle(tmp_path / "tiny.bundle"))


@pytest.fixture
def gallery(tmp_path: Path, bundle: Bundle) -> Iterator[Gallery]:
    with Gallery.create(tmp_path / "yard.sal", bundle) as opened:
        yield opened


def test_a_crop_is_an_item_with_its_picture_and_the_vector_of_that_picture(bundle: Bundle, gallery: Gallery) -> None:
    with Intake(gallery, ImageEncoder(bundle)) as intake:
        kept = intake.submit(
            RED, camera="door", captured_at=NOON, track="17", box=(1, 2, 50, 120), metadata={"zone": "n"}
        ).result(LONG)
    item = kept.item
    assert item.uri == "crop:door/2025-11-28/120000.500-17.jpg"
    (stored,) = gallery.all_items()
    assert stored == item
    assert (stored.camera, stored.track, stored.captured_at, stored.box) == ("door", "17", NOON, (1, 2, 50, 120))
    picture = gallery.image_path(stored)
    assert stored.size == picture.stat().st_size
    expected = embed_image(load_image(picture, SPEC)[None])
    assert np.allclose(stored_vectors(gallery)[1], expected, atol=1e-5)
    assert np.array_equal(stored_vectors(gallery)[1][0], kept.vector)
    assert intake.counts.kept == intake.counts.submitted == 1


def test_the_same_crop_again_replaces_itself(bundle: Bundle, gallery: Gallery) -> None:
    with Intake(gallery, ImageEncoder(bundle)) as intake:
        for _ in range(3):
            intake.submit(RED, camera="door", captured_at=NOON, track="17")
    assert len(gallery) == 1
    assert len(list(crops_folder(gallery.path).rglob("*.jpg"))) == 1


@pytest.mark.parametrize(("pictures", "height"), [("full", 120), ("thumbnail", THUMBNAIL_HEIGHT), ("none", None)])
def test_what_is_kept_of_a_picture(bundle: Bundle, gallery: Gallery, pictures: Any, height: int | None) -> None:
    with Intake(gallery, ImageEncoder(bundle), pictures=pictures) as intake:
        item = intake.submit(encode_jpeg(RED), camera="door", captured_at=NOON).result(LONG).item
    path = gallery.image_path(item)
    assert (decode_image(path.read_bytes()).shape[0] if path.exists() else None) == height
    expected = embed_image(cv2.resize(decode_image(encode_jpeg(RED)), (SPEC.width, SPEC.height))[None])
    assert np.allclose(stored_vectors(gallery)[1], expected, atol=1e-2)


def test_what_was_removed_does_not_come_back(bundle: Bundle, gallery: Gallery) -> None:
    with Intake(gallery, ImageEncoder(bundle)) as intake:
        item = intake.submit(RED, camera="door", captured_at=NOON).result(LONG).item
        gallery.remove([item.uri])
        assert not gallery.image_path(item).exists()
        with pytest.raises(HeldBackError, match="removed from the gallery before"):
            intake.submit(RED, camera="door", captured_at=NOON).result(LONG)
    assert len(gallery) == 0
    assert (intake.counts.kept, intake.counts.held_back) == (1, 1)


@pytest.mark.parametrize("crop", [b"no picture", b"", RED[:0], RED.astype(np.float32)])
def test_what_is_no_picture_is_refused_and_leaves_nothing(bundle: Bundle, gallery: Gallery, crop: Any) -> None:
    with Intake(gallery, ImageEncoder(bundle)) as intake, pytest.raises(InputError):
        intake.submit(crop, camera="door", captured_at=NOON).result(LONG)
    assert intake.counts.refused == 1
    assert not crops_folder(gallery.path).exists()


@pytest.mark.parametrize(
    ("camera", "moment"), [("../x", NOON), ("", NOON), ("a b", NOON), ("door", float("nan")), ("door", 1e300)]
)
def test_names_and_moments_that_are_none(bundle: Bundle, gallery: Gallery, camera: str, moment: float) -> None:
    with Intake(gallery, ImageEncoder(bundle)) as intake, pytest.raises(InputError):
        intake.submit(RED, camera=camera, captured_at=moment)


def test_a_locked_gallery_is_waited_for(bundle: Bundle, gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.05)
    gallery._connection.execute("PRAGMA busy_timeout = 50")  # so that the test need not wait for the usual ten seconds
    other = sqlite3.connect(gallery.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with Intake(gallery, ImageEncoder(bundle)) as intake:
        answers = [intake.submit(RED, camera="door", captured_at=NOON + number) for number in range(5)]
        while intake.counts.retried < 10:
            threading.Event().wait(0.01)
        assert not any(answer.done() for answer in answers)
        other.execute("ROLLBACK")
        wait(answers, LONG)
    other.close()
    assert [answer.result().item.captured_at for answer in answers] == [NOON + number for number in range(5)]
    assert len(gallery) == 5
    assert "locked" in intake.counts.last_problem


def test_more_than_may_wait_are_given_up_oldest_first_and_counted(
    bundle: Bundle, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAST_TRIES_SECONDS", 0.2)
    full = OSError(28, "No space left on device")
    monkeypatch.setattr(module, "write_crop", lambda *_: (_ for _ in ()).throw(full))
    answers: list[Future[Any]] = []
    with Intake(gallery, ImageEncoder(bundle), max_waiting=3) as intake:
        answers += [intake.submit(RED, camera="door", captured_at=NOON + number) for number in range(5)]
        assert [answer.done() for answer in answers] == [True, True, False, False, False]
    for answer in answers:
        with pytest.raises(SalError, match="No space left"):
            answer.result(0)
    assert (intake.counts.given_up, intake.counts.kept, intake.counts.unsettled) == (5, 0, 0)


def test_pictures_of_a_killed_process_are_swept(bundle: Bundle, gallery: Gallery) -> None:
    orphan = crops_folder(gallery.path) / "door" / "2025-11-28" / "x.jpg"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"x")
    with Intake(gallery, ImageEncoder(bundle)) as intake:
        assert intake.swept == 1
    assert not orphan.exists()


def test_a_closed_intake_takes_nothing(bundle: Bundle, gallery: Gallery) -> None:
    before = threading.active_count()
    intake = Intake(gallery, ImageEncoder(bundle))
    intake.close()
    assert threading.active_count() == before
    with pytest.raises(InputError, match="closed"):
        intake.submit(RED, camera="door", captured_at=NOON)


def test_people_without_a_track_are_told_apart_by_their_pictures(bundle: Bundle, gallery: Gallery) -> None:
    with Intake(gallery, ImageEncoder(bundle)) as intake:
        for crop in (RED, RED[:60], RED):
            intake.submit(crop, camera="door", captured_at=NOON).result(LONG)
    assert len(gallery) == 2


def test_a_track_may_have_any_name(bundle: Bundle, gallery: Gallery) -> None:
    names = ["x" * 100_000, "x" * 99_999 + "y", "ä/ö\n..", "ä/ö\n.,"]
    with Intake(gallery, ImageEncoder(bundle)) as intake:
        for name in names:
            intake.submit(RED, camera="door", captured_at=NOON, track=name).result(LONG)
    assert sorted(item.track or "" for item in gallery.all_items()) == sorted(names)
    assert all(gallery.image_path(item).is_file() for item in gallery.all_items())


@pytest.mark.parametrize("box", [(0, 0, 0, 5), (0, 0, 5, -1), (0, 0, 2**40, 5), (2**40, 0, 5, 5), (0, 0, 5), "box"])
def test_a_box_that_is_none_is_refused(bundle: Bundle, gallery: Gallery, box: Any) -> None:
    with Intake(gallery, ImageEncoder(bundle)) as intake, pytest.raises(InputError, match="box"):
        intake.submit(RED, camera="door", captured_at=NOON, box=box).result(LONG)
    assert intake.counts.refused == 1


def test_a_crop_that_comes_again_and_is_given_up_leaves_the_picture_of_the_first(
    bundle: Bundle, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAST_TRIES_SECONDS", 0.1)
    with Intake(gallery, ImageEncoder(bundle)) as intake:
        item = intake.submit(RED, camera="door", captured_at=NOON, track="1").result(LONG).item
        monkeypatch.setattr(module, "write_crop", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        intake.submit(RED, camera="door", captured_at=NOON, track="1")
    assert intake.counts.given_up == 1
    assert gallery.image_path(item).is_file()


def test_whoever_asks_is_told_of_each_crop_before_its_future_is_done(bundle: Bundle, gallery: Gallery) -> None:
    told: list[tuple[str, int]] = []
    with Intake(
        gallery, ImageEncoder(bundle), on_kept=lambda kept: told.append((kept.item.uri, len(gallery)))
    ) as intake:
        first = intake.submit(RED, camera="door", captured_at=NOON, track="1").result(LONG)
        assert told == [(first.item.uri, 1)]
        intake.submit(b"no picture", camera="door", captured_at=NOON, track="2").exception(LONG)
    assert len(told) == 1


def test_a_crop_is_kept_even_if_what_was_to_be_done_then_fails(bundle: Bundle, gallery: Gallery) -> None:
    def fail(_: Any) -> None:
        raise ValueError("no")

    with Intake(gallery, ImageEncoder(bundle), on_kept=fail) as intake:
        intake.submit(RED, camera="door", captured_at=NOON).result(LONG)
    assert len(gallery) == intake.counts.kept == 1


def test_an_exchange_waits_for_what_was_submitted_and_holds_back_what_comes(bundle: Bundle, gallery: Gallery) -> None:
    entered, released = threading.Event(), threading.Event()
    held_at_entry: list[int] = []

    with Intake(gallery, ImageEncoder(bundle)) as intake:

        def change() -> ImageEncoder:
            held_at_entry.append(len(gallery))
            entered.set()
            assert released.wait(LONG)
            assert len(gallery) == held_at_entry[0]
            return ImageEncoder(bundle)

        for number in range(5):
            intake.submit(RED, camera="door", captured_at=NOON + number)
        exchanging = threading.Thread(target=intake.exchange, args=(change,))
        exchanging.start()
        assert entered.wait(LONG)
        late: list[Future[Any]] = []
        submitting = threading.Thread(
            target=lambda: late.append(intake.submit(RED, camera="door", captured_at=NOON + 9, track="9"))
        )
        submitting.start()
        released.set()
        exchanging.join(LONG)
        submitting.join(LONG)
        late[0].result(LONG)
    assert held_at_entry == [5]
    assert len(gallery) == 6
    assert intake.encoded[0] == 6


def test_an_exchange_that_fails_leaves_the_encoder(bundle: Bundle, gallery: Gallery) -> None:
    def fail() -> ImageEncoder:
        raise SalError("no such bundle")

    with Intake(gallery, ImageEncoder(bundle)) as intake:
        with pytest.raises(SalError, match="no such bundle"):
            intake.exchange(fail)
        intake.submit(RED, camera="door", captured_at=NOON).result(LONG)
    assert len(gallery) == 1
