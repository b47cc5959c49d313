"""Live encoding: every crop that is submitted is answered exactly once, by its own embedding or its own error.

The encoder of these tests is a fake that waits for the test where time matters; no test depends on how long anything
takes.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sal_runtime.arrays import Float32Array, UInt8Array
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.errors import BackendError, BusyError, InputError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.live import LiveEncoder
from sal_runtime.images.sources import Crop, ImageSource
from sal_runtime.images.spec import ImageSpec
from tests.runtime.gallery.test_gallery import fake_bundle

SPEC = ImageSpec(8, 4)
LONG = 60.0
"""Seconds that nothing takes."""
REPOSITORY = Path(__file__).parents[3]


class FakeEncoder:
    """Each embedding is the unit vector at the angle that the first pixel of its image says."""

    def __init__(self, batch_size: int = 4, before: Callable[[], None] = lambda: None) -> None:
        self.bundle = SimpleNamespace(image_spec=SPEC, fingerprint="0" * 64, name="fake")
        self.batch_size = batch_size
        self.batches: list[int] = []
        self._before = before

    def encode(self, images: UInt8Array) -> Float32Array:
        self._before()
        self.batches.append(len(images))
        return unit(images[:, 0, 0, 0])


def unit(value: Any) -> Float32Array:
    angle = np.asarray(value, np.float32)
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1).astype(np.float32)


def image(value: int) -> UInt8Array:
    return np.full((SPEC.height, SPEC.width, 3), value, np.uint8)


def live_encoder(encoder: FakeEncoder, gallery: Gallery | None = None, **options: Any) -> LiveEncoder:
    return LiveEncoder(cast(ImageEncoder, encoder), gallery, **options)


class Gate:
    """A call of `wait` is seen by `entered`, and ends when the test calls `open`."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self._opened = threading.Semaphore(0)

    def wait(self) -> None:
        self.entered.release()
        assert self._opened.acquire(timeout=LONG)

    def open(self) -> None:
        self._opened.release()


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 300), max_size=12), min_size=1, max_size=4),
    st.integers(1, 5),
    st.sampled_from([0.0, 1e-3, LONG]),
    st.integers(1, 6),
)
def test_everything_submitted_is_answered_once(
    threads: list[list[int]], batch_size: int, max_delay: float, max_waiting: int
) -> None:
    """Numbers above 255 stand for sources that cannot be read."""
    if max_waiting < batch_size and max_delay == LONG:
        max_waiting = batch_size  # else a full queue waits for the delay
    encoder, answers = FakeEncoder(batch_size), dict[int, list[Future[Float32Array]]]()

    def source(value: int) -> ImageSource:
        return image(value) if value < 256 else b"no image"

    with live_encoder(encoder, max_delay=max_delay, max_waiting=max_waiting) as live:

        def submit(number: int) -> None:
            answers[number] = [live.submit(source(value)) for value in threads[number]]

        workers = [threading.Thread(target=submit, args=(number,)) for number in range(len(threads))]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    for number, values in enumerate(threads):
        for value, answer in zip(values, answers[number], strict=True):
            assert answer.done()  # closing has answered everything
            if value < 256:
                np.testing.assert_array_equal(answer.result(), unit(value))
            else:
                assert isinstance(answer.exception(), InputError)
    assert sum(encoder.batches) == sum(value < 256 for values in threads for value in values)
    assert max(encoder.batches, default=0) <= batch_size


def test_a_crop_alone_does_not_wait_for_others() -> None:
    with live_encoder(FakeEncoder(batch_size=1000), max_delay=0.001) as live:
        np.testing.assert_array_equal(live.submit(image(7)).result(LONG), unit(7))


def test_a_full_batch_does_not_wait_for_the_delay() -> None:
    encoder = FakeEncoder(batch_size=3)
    with live_encoder(encoder, max_delay=LONG) as live:
        answers = [live.submit(image(value)) for value in range(3)]
        for value, answer in enumerate(answers):
            np.testing.assert_array_equal(answer.result(LONG), unit(value))
    assert encoder.batches == [3]


def test_what_arrives_while_a_batch_is_encoded_is_encoded_together() -> None:
    gate = Gate()
    encoder = FakeEncoder(batch_size=10, before=gate.wait)
    with live_encoder(encoder, max_delay=0) as live:
        live.submit(image(0))
        assert gate.entered.acquire(timeout=LONG)
        for value in range(5):
            live.submit(image(value))
        gate.open()
        gate.open()
    assert encoder.batches == [1, 5]


def test_a_full_queue_holds_back_or_is_an_error() -> None:
    gate = Gate()
    encoder = FakeEncoder(batch_size=1, before=gate.wait)
    with live_encoder(encoder, max_delay=0, max_waiting=2) as live:
        live.submit(image(0))
        assert gate.entered.acquire(timeout=LONG)
        live.submit(image(1))
        live.submit(image(2))
        with pytest.raises(BusyError, match="2 crops are waiting"):
            live.submit(image(3), timeout=0)
        waiting = threading.Thread(target=live.submit, args=(image(3),))
        waiting.start()
        for _ in range(4):
            gate.open()
        waiting.join(LONG)
        assert not waiting.is_alive()
    assert encoder.batches == [1, 1, 1, 1]


def test_a_callback_that_submits_does_not_wait_for_itself() -> None:
    gate, refused = Gate(), threading.Event()
    encoder = FakeEncoder(batch_size=1, before=gate.wait)
    with live_encoder(encoder, max_delay=0, max_waiting=1) as live:

        def submit_more(_: Future[Float32Array]) -> None:
            try:
                live.submit(image(9))
            except BusyError:
                refused.set()

        first = live.submit(image(0))
        first.add_done_callback(submit_more)
        assert gate.entered.acquire(timeout=LONG)
        live.submit(image(1))
        gate.open()
        assert refused.wait(LONG)
        gate.open()


def test_the_frame_may_be_reused_at_once() -> None:
    frame = image(3)
    with live_encoder(FakeEncoder(), max_delay=LONG) as live:
        answers = [live.submit(frame), live.submit(Crop(frame, (0, 0, SPEC.width, SPEC.height)))]
        frame[:] = 200
    for answer in answers:
        np.testing.assert_array_equal(answer.result(), unit(3))


def test_an_error_of_the_device_reaches_its_batch_only() -> None:
    failing = iter([True, False])

    def fail_once() -> None:
        if next(failing):
            raise BackendError("the device failed")

    with live_encoder(FakeEncoder(batch_size=2, before=fail_once), max_delay=LONG) as live:
        first = [live.submit(image(value)) for value in range(2)]
        for answer in first:
            with pytest.raises(BackendError, match="the device failed"):
                answer.result(LONG)
        second = [live.submit(image(value)) for value in range(2)]
    np.testing.assert_array_equal([answer.result() for answer in second], unit([0, 1]))


def test_a_cancelled_crop_is_not_encoded() -> None:
    encoder = FakeEncoder(batch_size=10)
    with live_encoder(encoder, max_delay=LONG) as live:
        answers = [live.submit(image(value)) for value in range(3)]
        assert answers[1].cancel()
    assert encoder.batches == [2]
    with pytest.raises(CancelledError):
        answers[1].result()


def test_all_cancelled_crops_do_not_end_the_thread() -> None:
    with live_encoder(FakeEncoder(batch_size=2), max_delay=LONG) as live:
        first = live.submit(image(0))
        assert first.cancel()
        second = live.submit(image(1))
        second.cancel()
        answers = [live.submit(image(value)) for value in range(2)]
        np.testing.assert_array_equal([answer.result(LONG) for answer in answers], unit([0, 1]))


def test_asyncio_awaits_it() -> None:
    async def ask(live: LiveEncoder) -> Float32Array:
        return await asyncio.wrap_future(live.submit(image(5)))

    with live_encoder(FakeEncoder(), max_delay=0) as live:
        np.testing.assert_array_equal(asyncio.run(ask(live)), unit(5))


def test_closing_ends_the_thread_and_refuses_more() -> None:
    live = live_encoder(FakeEncoder(), max_delay=LONG)
    answer = live.submit(image(1))
    live.close()
    live.close()
    assert answer.done()
    assert not [thread for thread in threading.enumerate() if thread.name == "sal-live"]
    with pytest.raises(InputError, match="is closed"):
        live.submit(image(2))


@pytest.mark.parametrize("options", [{"max_delay": -1}, {"max_delay": float("nan")}, {"max_waiting": 0}])
def test_impossible_arguments_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected at least 0 seconds and 1 crop"):
        live_encoder(FakeEncoder(), **options)
    with pytest.raises(InputError, match="expected RGB or BGR"):
        live_encoder(FakeEncoder(), colour="GRB")


def fake_gallery(path: Path) -> Gallery:
    return Gallery.create(path, fake_bundle(embedding_dim=2))


def test_crops_are_in_the_gallery_when_they_are_answered(tmp_path: Path) -> None:
    encoder = FakeEncoder(batch_size=2)
    with fake_gallery(tmp_path / "yard.sal") as gallery:
        encoder.bundle.fingerprint = gallery.fingerprint
        with live_encoder(encoder, gallery, max_delay=0) as live:
            for number in range(5):
                item = GalleryItem(f"{number}.jpg", camera="door", captured_at=float(number), track="7")
                live.submit(image(number), item).result(LONG)
                with Gallery.open(tmp_path / "yard.sal") as reader:
                    (found,) = reader.nearest(unit([number]), 1)
                    assert found.items == (item,)


def test_an_item_that_the_gallery_refuses_is_its_own_error(tmp_path: Path) -> None:
    encoder = FakeEncoder(batch_size=3)
    with fake_gallery(tmp_path / "yard.sal") as gallery:
        encoder.bundle.fingerprint = gallery.fingerprint
        with live_encoder(encoder, gallery, max_delay=LONG) as live:
            wrong = GalleryItem("b.jpg", captured_at=cast(float, "yesterday"))
            answers = [live.submit(image(1), item) for item in (GalleryItem("a.jpg"), wrong, GalleryItem("c.jpg"))]
        assert [answer.exception() is None for answer in answers] == [True, False, True]
        assert [item.uri for item in gallery.all_items()] == ["a.jpg", "c.jpg"]


def test_a_gallery_that_cannot_be_added_to_is_refused_at_once(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    with fake_gallery(tmp_path / "yard.sal") as gallery, pytest.raises(InputError, match="was made by bundle"):
        live_encoder(encoder, gallery)
    with Gallery.open(tmp_path / "yard.sal") as gallery:
        encoder.bundle.fingerprint = gallery.fingerprint
        with pytest.raises(InputError, match="is not open for writing"):
            live_encoder(encoder, gallery)
    with (
        Gallery.open(tmp_path / "yard.sal", "w") as gallery,
        live_encoder(encoder, gallery) as live,
        pytest.raises(InputError, match="give both or neither"),
    ):
        live.submit(image(1))
    with live_encoder(encoder) as live, pytest.raises(InputError, match="give both or neither"):
        live.submit(image(1), GalleryItem("a.jpg"))


IN_A_PROCESS = """
import os, sys
from tests.runtime.gallery.test_live import FakeEncoder, image, live_encoder
live = live_encoder(FakeEncoder(batch_size=100), max_delay=3600)
answer = live.submit(image(1))
answer.add_done_callback(lambda answer: print("answered", answer.result().shape, flush=True))
if sys.argv[1] == "fork":
    child = os.fork()
    if child == 0:
        try:
            live.submit(image(1))
        except ValueError as error:
            print(error, flush=True)
        sys.exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("exit", ["answered (2,)"]),
        ("fork", ["the live encoder is closed, or was made by the parent process; make another one", "answered (2,)"]),
    ],
)
def test_a_process_that_ends_without_closing_answers_all(way: str, expected: Sequence[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_PROCESS, way],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=LONG,
    )
    assert (done.stdout.splitlines(), done.stderr, done.returncode) == (list(expected), "", 0)
