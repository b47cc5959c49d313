"""The reader of a camera, with cameras made of Python: what waits, what is dropped, what is lost, what ends."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from sal_runtime.errors import InputError
from sal_service.video.frame import Frame
from sal_service.video.sources import live
from sal_service.video.sources.live import LiveReader
from sal_service.video.sources.state import LOSSES_KEPT, Record

IMAGE = np.zeros((2, 2, 3), np.uint8)
DEADLINE = 20.0


def until(is_so: Callable[[], bool]) -> None:
    """Wait for a condition; fails after a long time."""
    deadline = time.monotonic() + DEADLINE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Camera:
    """One connection that gives the frames that are put in, and whatever else is put in: an error, the end, a block."""

    is_live = True
    num_frames: int | None = None
    title = "rtsp://10.0.0.7/1"

    def __init__(self, *script: int | str | Exception | threading.Event) -> None:
        self.troubles = Counter[str]()
        self.is_closed = False
        self._script = script

    def frames(self) -> Iterator[Frame]:
        position = 0
        for step in self._script:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, threading.Event):
                step.wait(DEADLINE)
                continue
            if isinstance(step, str):
                self.troubles[step] += 1
                continue
            for _ in range(step):
                yield Frame(IMAGE, 100.0 + position, position, "arrival")
                position += 1

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(live, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(live, "LONGEST_PAUSE", 0.04)
    before = set(threading.enumerate())
    yield
    until(lambda: not [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("sal ")])


def read(*cameras: Camera, open_seconds: float = DEADLINE, silent_seconds: float = DEADLINE) -> LiveReader:
    """A reader of these connections, one after the other; the last one again and again."""
    waiting = list(cameras)
    return LiveReader(
        lambda: waiting.pop(0) if len(waiting) > 1 else waiting[0],
        title=Camera.title,
        open_seconds=open_seconds,
        silent_seconds=silent_seconds,
    )


def test_two_frames_wait_and_the_others_are_dropped_and_counted() -> None:
    hold = threading.Event()
    reader = read(Camera(7, hold))
    until(lambda: reader.state().received == 7)
    taken = [reader.take(0), reader.take(0), reader.take(0)]
    assert [frame and (frame.position, frame.captured_at) for frame in taken] == [(5, 105.0), (6, 106.0), None]
    state = reader.state()
    assert (state.condition, state.dropped, state.reconnects, state.losses) == ("live", 5, 0, ())
    hold.set()
    assert reader.stop() == ()


def test_a_taker_is_woken_by_a_frame_and_by_the_end() -> None:
    hold, frame = threading.Event(), threading.Event()
    reader = read(Camera(hold, 1, frame))
    taken = list[Frame | None]()
    taker = threading.Thread(target=lambda: [taken.append(reader.take()) for _ in range(2)])
    taker.start()
    hold.set()
    until(lambda: len(taken) == 1)
    frame.set()
    reader.stop()
    taker.join(DEADLINE)
    assert [one is not None for one in taken] == [True, False]
    assert reader.finished
    assert reader.take() is None
    assert reader.state().condition == "stopped"


def test_the_end_of_a_stream_is_a_loss_and_positions_go_on() -> None:
    hold = threading.Event()
    reader = read(Camera(3), Camera(2, hold))
    until(lambda: reader.state().reconnects == 1)
    until(lambda: reader.state().received == 5)
    positions = [frame.position for frame in (reader.take(0), reader.take(0)) if frame]
    assert positions == [3, 4]
    state = reader.state()
    assert state.dropped == 3
    (loss,) = state.losses
    assert (state.condition, loss.reason) == ("live", "the camera ended the stream")
    assert loss.ended_at is not None
    assert 0 < loss.ended_at - loss.began_at == pytest.approx(state.lost_seconds)
    hold.set()
    reader.stop()


def test_frames_that_a_source_skips_are_counted_in_positions() -> None:
    class Skipping(Camera):
        def frames(self) -> Iterator[Frame]:
            yield Frame(IMAGE, 1.0, 4, "arrival")

    hold = threading.Event()
    reader = read(Skipping(), Camera(1, hold))
    until(lambda: reader.state().received == 2)
    assert [frame.position for frame in (reader.take(0), reader.take(0)) if frame] == [5]  # 4 was from before the loss
    hold.set()
    reader.stop()


def test_failures_are_words_and_one_absence_is_one_loss() -> None:
    hold = threading.Event()
    reader = read(
        Camera(InputError(f"{Camera.title}: nobody listens")),
        Camera(InputError("it closed the connection")),
        Camera(ZeroDivisionError("a fault of a library")),
        Camera(1, hold),
    )
    until(lambda: reader.state().condition == "live")
    state = reader.state()
    assert [loss.reason for loss in state.losses] == ["nobody listens"]
    assert state.last_error == "ZeroDivisionError: a fault of a library"
    assert (state.reconnects, state.num_losses) == (0, 1)  # it was never there before
    hold.set()
    reader.stop()


def test_a_camera_that_goes_silent_is_lost_without_the_help_of_the_library() -> None:
    hold, other = threading.Event(), threading.Event()
    silent = Camera(1, hold, 5)
    reader = read(silent, Camera(1, other), silent_seconds=0.2)
    until(lambda: reader.state().received == 2)
    state = reader.state()
    assert state.losses[0].reason == "no frame for 0.2 s"
    assert silent.is_closed
    assert state.stuck == 1
    hold.set()  # the library gives the reader back, and frames from before the loss
    until(lambda: reader.state().stuck == 0)
    assert [frame.position for frame in (reader.take(0), reader.take(0)) if frame] == [1]
    other.set()
    reader.stop()


def test_a_camera_that_never_speaks_is_lost_after_the_time_to_open_it() -> None:
    hold = threading.Event()
    reader = read(Camera(hold), open_seconds=0.05, silent_seconds=0.1)
    assert reader.state().condition == "connecting"
    until(lambda: reader.state().condition == "lost")
    state = reader.state()
    assert (state.age, state.received, state.last_error) == (None, 0, "no frame for 0.15 s")
    hold.set()
    reader.stop()


def test_stuck_readers_are_few_and_said() -> None:
    hold, begun = threading.Event(), list[Camera]()

    def connect() -> Camera:
        begun.append(Camera(hold))
        return begun[-1]

    reader = LiveReader(connect, title=Camera.title, open_seconds=0.01, silent_seconds=0.01)
    until(lambda: "blocked in the library" in reader.state().last_error)
    time.sleep(0.2)
    assert len(begun) == reader.state().stuck == live.MOST_STUCK
    stuck = reader.stop(0.1)
    assert stuck == (f"sal reads {Camera.title}",) * live.MOST_STUCK
    hold.set()


def test_a_reader_goes_on_when_the_library_gives_the_stuck_ones_back() -> None:
    hold, other = threading.Event(), threading.Event()
    cameras = [Camera(hold) for _ in range(live.MOST_STUCK)]
    reader = read(*cameras, Camera(1, other), open_seconds=0.01, silent_seconds=0.2)
    until(lambda: "blocked in the library" in reader.state().last_error)
    assert all(camera.is_closed for camera in cameras)
    hold.set()
    until(lambda: reader.state().received > 0)
    other.set()
    reader.stop()


def test_pauses_grow_and_are_short_again_after_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = list[float]()

    class Stopped(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            pauses.append(timeout or 0.0)
            return super().wait(0.001)

    away = InputError("away")
    hold = threading.Event()
    script = [Camera(hold, away), Camera(away), Camera(away), Camera(away), Camera(2), Camera(away)]
    reader = read(*script)
    reader._stopped = Stopped()
    hold.set()
    until(lambda: len(pauses) >= 7)
    reader.stop()
    assert pauses[:7] == [0.01, 0.02, 0.04, 0.04, 0.01, 0.02, 0.04]


def test_troubles_of_all_connections_are_added() -> None:
    hold = threading.Event()
    reader = read(Camera("damaged", "damaged", 1), Camera("damaged", 1, hold))
    until(lambda: reader.state().received == 2)
    assert reader.state().troubles == {"damaged": 3}
    hold.set()
    reader.stop()


def test_whoever_reads_is_woken_by_frames_and_by_losses() -> None:
    wakers = list[str]()
    reader = LiveReader(
        lambda: Camera(1), title=Camera.title, wake=lambda: wakers.append(threading.current_thread().name)
    )
    until(lambda: len(wakers) >= 4)
    reader.stop()
    assert wakers[:4] == [f"sal reads {Camera.title}", f"sal keeps {Camera.title}"] * 2


def test_losses_are_bounded_and_still_counted() -> None:
    record = Record("rtsp://10.0.0.7/1", "connecting")
    for number in range(LOSSES_KEPT + 20):
        record.note_loss(f"reason {number}")
        record.note_loss("still away")
        record.note_frame()
    state = record.state({})
    assert (len(state.losses), state.num_losses) == (LOSSES_KEPT, LOSSES_KEPT + 20)
    assert state.losses[-1].reason == f"reason {LOSSES_KEPT + 19}"
    assert state.reconnects == LOSSES_KEPT + 19
    assert all(loss.ended_at is not None for loss in state.losses)


def test_stopping_twice_is_stopping_once() -> None:
    reader = read(Camera(InputError("away")))
    assert reader.stop() == ()
    assert reader.stop() == ()
