"""The reader of a file: it reads ahead, waits for whoever takes the frames, and leaves none out."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sal_runtime.errors import InputError
from sal_service.video.frame import Frame
from sal_service.video.sources.reading import open_reader
from sal_service.video.sources.recorded import WAITING, RecordedReader
from tests.service.video.sources.pictures import draw_video, number_of
from tests.service.video.sources.test_live import DEADLINE, IMAGE, until


class Film:
    is_live = False
    title = "yard.avi"

    def __init__(self, frames: int, error: Exception | None = None) -> None:
        self.num_frames: int | None = frames
        self.troubles = Counter[str]()
        self.given, self._error, self.is_closed = 0, error, False

    def frames(self) -> Iterator[Frame]:
        for position in range(self.num_frames or 0):
            self.given += 1
            yield Frame(IMAGE, float(position), position, "file")
        if self._error:
            raise self._error

    def close(self) -> None:
        self.is_closed = True


def test_every_frame_of_a_file_and_then_the_end(tmp_path: Path) -> None:
    reader = open_reader(draw_video(tmp_path / "yard.avi", 30))
    numbers = list[int]()
    while not reader.finished:
        frame = reader.take(DEADLINE)
        if frame is not None:
            numbers.append(number_of(frame.image))
    assert numbers == [number % 11 for number in range(30)]
    state = reader.state()
    assert (state.condition, state.received, state.dropped, state.last_error) == ("ended", 30, 0, "")
    assert reader.stop() == ()
    assert reader.state().condition == "ended"


def test_it_reads_no_further_than_the_taker_can_follow() -> None:
    film = Film(100)
    reader = RecordedReader(film)
    until(lambda: film.given == WAITING + 1)
    assert [frame.position for frame in (reader.take(), reader.take()) if frame] == [0, 1]
    until(lambda: film.given == WAITING + 3)
    assert reader.stop() == ()
    assert film.given == WAITING + 3
    assert film.is_closed
    assert reader.finished
    assert reader.take() is None
    assert reader.state().condition == "stopped"


def test_an_error_comes_after_the_frames_before_it_and_once() -> None:
    reader = RecordedReader(Film(2, InputError("yard.avi: is damaged")))
    until(lambda: reader.state().condition == "ended")
    assert reader.state().last_error == "yard.avi: is damaged"
    assert [frame.position for frame in (reader.take(), reader.take()) if frame] == [0, 1]
    assert not reader.finished
    with pytest.raises(InputError, match="is damaged"):
        reader.take()
    assert reader.finished
    assert reader.take() is None
    reader.stop()


def test_whoever_takes_is_woken_at_the_end_and_after_each_frame() -> None:
    woken, gate = list[None](), threading.Event()

    class Gated(Film):
        def frames(self) -> Iterator[Frame]:
            yield from super().frames()
            gate.wait(DEADLINE)

    reader = RecordedReader(Gated(3), wake=lambda: woken.append(None))
    until(lambda: len(woken) == 3)
    gate.set()
    until(lambda: len(woken) == 4)
    assert reader.take(0) is not None
    reader.stop()
