"""The public way to encode in bulk: every kind of source in one run, positions, sharing, stopping."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.encoding.bulk import EncodedImages, encode_images
from sal_runtime.encoding.encoders import CPU_BATCH_SIZE, ImageEncoder, bulk_image_encoder
from sal_runtime.encoding.pipeline import QUEUED_BATCHES
from sal_runtime.errors import BackendError, InputError
from sal_runtime.images.sources import Crop, ImageSource, read_source
from tests.runtime.gallery_images import IMAGE_URIS, add_unreadable, make_folder
from tests.runtime.tiny_bundle import SPEC, embed_image, make_tiny_bundle

FRAME = np.random.default_rng(5).integers(0, 256, (120, 200, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> ImageEncoder:
    return bulk_image_encoder(open_bundle(make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")))


def boxes(count: int) -> list[Crop]:
    rng = np.random.default_rng(count)
    return [
        Crop(FRAME, (int(rng.integers(0, 170)), int(rng.integers(0, 80)), int(rng.integers(4, 30)), 40))
        for _ in range(count)
    ]


def expected(sources: list[Crop]) -> np.ndarray:
    """In closed form, one image at a time."""
    return np.concatenate([embed_image(read_source(source, SPEC)[None]) for source in sources])


def rows(batches: list[EncodedImages]) -> np.ndarray:
    return np.concatenate([batch.embeddings for batch in batches])


def test_every_kind_of_source_in_one_run(encoder: ImageEncoder, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "crops")
    data = (folder / "green.PNG").read_bytes()
    pixels = np.full((40, 20, 3), (10, 10, 250), dtype=np.uint8)
    sources: list[ImageSource] = [
        folder / "green.PNG",
        Crop(FRAME, (500, 0, 10, 10)),
        data,
        tmp_path / "missing.jpg",
        pixels,
        b"no image",
        Crop(FRAME, (-5, -5, 30, 60)),
    ]
    batches = list(encode_images(encoder, sources, batch_size=3))
    assert [position for batch in batches for position in batch.positions] == [0, 2, 4, 6]
    assert [source for batch in batches for source in batch.sources] == [sources[i] for i in (0, 2, 4, 6)]
    failed = [one for batch in batches for one in batch.failed]
    assert [one.position for one in failed] == [1, 3, 5]
    assert [one.source for one in failed] == [sources[i] for i in (1, 3, 5)]
    assert "is empty inside of the frame" in failed[0].reason
    assert failed[1].reason == "No such file or directory"
    assert "not a JPEG" in failed[2].reason
    images = [read_source(sources[i], SPEC) for i in (0, 2, 4, 6)]
    np.testing.assert_allclose(rows(batches), embed_image(np.stack(images)), atol=1e-5)


def test_a_folder_gives_its_images_and_what_cannot_be_read(encoder: ImageEncoder, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "crops")
    names = add_unreadable(folder)
    batches = list(encode_images(encoder, folder))
    found = [str(Path(str(source)).relative_to(folder)) for batch in batches for source in batch.sources]
    assert sorted(found) == sorted(IMAGE_URIS)
    failed = [one for batch in batches for one in batch.failed]
    assert sorted(Path(str(one.source)).name for one in failed) == sorted(names)
    assert [one.source for one in failed if one.position is None] == [str(folder / "dangling.jpg")]
    positions = [position for batch in batches for position in batch.positions]
    assert sorted([*positions, *(one.position for one in failed if one.position is not None)]) == list(range(11))
    with pytest.raises(InputError, match="no such folder"):
        encode_images(encoder, tmp_path / "missing")


def test_bgr_frames_give_what_rgb_frames_give(encoder: ImageEncoder) -> None:
    bgr = np.ascontiguousarray(FRAME[:, :, ::-1])
    sources = boxes(20)
    swapped = [Crop(bgr, crop.box) for crop in sources]
    assert np.array_equal(
        rows(list(encode_images(encoder, swapped, colour="BGR"))), rows(list(encode_images(encoder, sources)))
    )
    with pytest.raises(InputError, match="expected RGB or BGR"):
        encode_images(encoder, sources, colour="bgr")  # type: ignore[arg-type]


def test_eight_threads_share_an_encoder(encoder: ImageEncoder) -> None:
    jobs = [boxes(50 + number) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda sources: rows(list(encode_images(encoder, sources))), jobs))
    for sources, embeddings in zip(jobs, results, strict=True):
        np.testing.assert_allclose(embeddings, expected(sources), atol=1e-5)


def test_progress_is_told_of_failures_too_and_of_the_total_where_it_is_known(encoder: ImageEncoder) -> None:
    sources: list[ImageSource] = [*boxes(10), b"", *boxes(3)]
    told: list[tuple[int, int | None]] = []
    list(encode_images(encoder, sources, batch_size=5, progress=lambda done, total: told.append((done, total))))
    assert told == [(5, 14), (10, 14), (14, 14)]
    told.clear()
    list(encode_images(encoder, iter(sources), progress=lambda done, total: told.append((done, total))))
    assert told == [(14, None)]


def test_frames_are_let_go_when_their_batch_is(encoder: ImageEncoder) -> None:
    """A generator of frames takes the memory of a few batches, not of the video."""
    alive: weakref.WeakSet[np.ndarray] = weakref.WeakSet()
    most = 0

    def video() -> Iterator[Crop]:
        nonlocal most
        for _ in range(300):
            frame = np.zeros((40, 40, 3), dtype=np.uint8).view(_Hashable)
            alive.add(frame)
            most = max(most, len(alive))
            yield Crop(frame, (0, 0, 20, 30))

    for _ in encode_images(encoder, video(), batch_size=4, threads=2):
        pass
    assert 4 <= most <= 4 * (2 + QUEUED_BATCHES + 2)  # those ahead, the one that is read, the one in the caller's hands


class _Hashable(np.ndarray):
    """An array that can be hashed, by identity, so that a weak set can count it."""

    __hash__ = object.__hash__


def test_closing_and_cancelling_leave_no_thread(encoder: ImageEncoder) -> None:
    before = threading.active_count()
    stream = encode_images(encoder, boxes(500), batch_size=4)
    assert next(stream).positions == (0, 1, 2, 3)
    stream.close()
    assert threading.active_count() == before

    cancel = threading.Event()
    given = []
    for batch in encode_images(encoder, boxes(500), batch_size=4, cancel=cancel):
        given.append(batch.positions[0])
        if len(given) == 3:
            cancel.set()
    assert given == [0, 4, 8]
    assert threading.active_count() == before


def test_errors_of_progress_and_of_the_encoder_are_raised(
    encoder: ImageEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = threading.active_count()

    def progress(done: int, total: int | None) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(encode_images(encoder, boxes(100), progress=progress))

    def encode(images: np.ndarray) -> np.ndarray:
        raise BackendError("the device is gone")

    monkeypatch.setattr(encoder, "encode", encode)
    with pytest.raises(BackendError, match="the device is gone"):
        list(encode_images(encoder, boxes(100)))
    assert threading.active_count() == before


def test_batches_are_those_of_the_encoder_unless_asked_otherwise(encoder: ImageEncoder) -> None:
    assert encoder.batch_size == ImageEncoder(encoder.bundle).batch_size == CPU_BATCH_SIZE
    assert ImageEncoder(encoder.bundle, batch_size=5).batch_size == 5
    assert [len(batch.positions) for batch in encode_images(encoder, boxes(40))] == [16, 16, 8]
    assert [len(batch.positions) for batch in encode_images(encoder, boxes(40), batch_size=40)] == [40]
    with pytest.raises(InputError, match="at least 1"):
        encode_images(encoder, boxes(1), batch_size=0)
    with pytest.raises(InputError, match="at least 1"):
        encode_images(encoder, boxes(1), threads=0)
