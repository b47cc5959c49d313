"""Everything that can happen to a camera and to the line to it: reading goes on by itself, soon after it is over."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sal_service.video.sources.exits import stop_all
from sal_service.video.sources.reading import Reader, open_reader
from sal_service.video.sources.settings import Library, SourceSettings
from sal_service.video.sources.state import SourceState
from tests.service.video.simulated_camera import Line, SimulatedCamera, free_port, silent_port, stalling_port
from tests.service.video.sources.test_live import until

RECOVERY_SECONDS = 10.0
"""From the return of a camera to its next frames."""
OPENCV = SourceSettings(open_seconds=4, silent_seconds=1.5)
PYAV = SourceSettings(open_seconds=4, silent_seconds=1.5, clock="camera", library="pyav")
CONNECTIONS = {"opencv": 2, "pyav": 1}
"""Until the library waits: before OpenCV, the camera is asked whether it is there."""
LIBRARIES = pytest.mark.parametrize("settings", [OPENCV, PYAV], ids=["opencv", "pyav"])


@pytest.fixture(autouse=True)
def pyav_is_there(request: pytest.FixtureRequest) -> None:
    if "pyav" in request.node.name:
        pytest.importorskip("av", reason="needs PyAV, which the extra `video` installs")


@pytest.fixture
def reading() -> Iterator[Callable[[str, SourceSettings], Reader]]:
    """Opens readers, waits for their first frames, and stops them at the end, which takes about a second at most."""
    readers = list[Reader]()

    def read(address: str, settings: SourceSettings) -> Reader:
        readers.append(open_reader(address, settings))
        until(lambda: readers[-1].state().received >= 3)
        return readers[-1]

    yield read
    for reader in readers:
        reader.stop()


def lost(reader: Reader) -> SourceState:
    """The state of a camera that is lost."""
    until(lambda: reader.state().condition == "lost")
    return reader.state()


def recovered(reader: Reader) -> SourceState:
    """The state after a loss that is over, and some frames after it; fails if this takes long."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    while reader.state().condition != "live":
        assert time.monotonic() < deadline, reader.state()
        time.sleep(0.01)
    received = reader.state().received
    until(lambda: reader.state().received >= received + 2)
    state = reader.state()
    assert state.reconnects >= 1
    assert all(loss.ended_at is not None for loss in state.losses)
    frame = reader.take(0)
    assert frame is not None
    assert frame.position >= received
    return state


@LIBRARIES
def test_a_camera_is_killed_and_comes_back(
    camera: SimulatedCamera, reading: Callable[[str, SourceSettings], Reader], settings: SourceSettings
) -> None:
    reader = reading(camera.address, settings)
    camera.kill()
    assert lost(reader).losses[0].reason == "the camera ended the stream"
    until(lambda: "nobody listens" in reader.state().last_error)
    camera.start()
    recovered(reader)


@LIBRARIES
def test_a_camera_freezes_and_goes_on(
    camera: SimulatedCamera, reading: Callable[[str, SourceSettings], Reader], settings: SourceSettings
) -> None:
    reader = reading(camera.address, settings)
    camera.freeze()
    try:
        state = lost(reader)
        assert state.losses[0].reason == "no frame for 1.5 s"
        assert state.stuck == 1
    finally:
        camera.thaw()
    recovered(reader)


def test_a_connection_is_cut(line: Line, reading: Callable[[str, SourceSettings], Reader]) -> None:
    reader = reading(f"rtsp://127.0.0.1:{line.port}/cam", OPENCV)
    line.cut()
    until(lambda: reader.state().num_losses == 1)
    assert recovered(reader).losses[0].reason == "the camera ended the stream"


def test_a_line_freezes_and_goes_on(line: Line, reading: Callable[[str, SourceSettings], Reader]) -> None:
    reader = reading(f"rtsp://127.0.0.1:{line.port}/cam", OPENCV)
    line.mode = "freeze"
    assert lost(reader).losses[0].reason == "no frame for 1.5 s"
    line.mode = "pass"
    recovered(reader)


@LIBRARIES
def test_garbage_in_the_stream(
    line: Line, reading: Callable[[str, SourceSettings], Reader], settings: SourceSettings
) -> None:
    """Decoders pass over it, or the connection breaks; frames come again either way."""
    reader = reading(f"rtsp://127.0.0.1:{line.port}/cam", settings)
    line.mode = "damage"
    begun = line.carried
    until(lambda: line.carried > begun + 6_000)
    line.mode = "pass"
    deadline = time.monotonic() + RECOVERY_SECONDS
    received = reader.state().received
    while reader.state().received < received + 5:
        assert time.monotonic() < deadline, reader.state()
        time.sleep(0.01)
    assert reader.state().condition == "live"


def test_a_stream_that_ends_is_a_loss(
    camera: SimulatedCamera, reading: Callable[[str, SourceSettings], Reader]
) -> None:
    reader = reading(f"{camera.address}/once", OPENCV)
    assert lost(reader).last_error == "the camera ended the stream"
    assert not reader.finished
    recovered(reader)


def test_nobody_listens_and_then_somebody_does(camera: SimulatedCamera) -> None:
    camera.kill()
    reader = open_reader(f"rtsp://user:secret@127.0.0.1:{camera.port}/cam", OPENCV)
    state = lost(reader)
    assert state.last_error == f"nobody listens at port {camera.port} of 127.0.0.1"
    assert "secret" not in repr(state)
    camera.start()
    until(lambda: reader.state().condition == "live")
    reader.stop()


@LIBRARIES
def test_a_port_that_accepts_and_says_nothing(settings: SourceSettings) -> None:
    with silent_port() as port:
        reader = open_reader(
            f"rtsp://127.0.0.1:{port}/cam", SourceSettings(open_seconds=1, silent_seconds=5, clock=settings.clock)
        )
        assert lost(reader).last_error == "it does not answer"
    reader.stop()


@LIBRARIES
def test_stopping_while_the_library_is_blocked_does_not_wait_for_it(settings: SourceSettings) -> None:
    with stalling_port() as (port, accepted):
        reader = open_reader(f"rtsp://127.0.0.1:{port}/cam", replace(settings, open_seconds=2))
        until(lambda: len(accepted) == CONNECTIONS[settings.library])
        assert reader.stop(0.2) == (f"sal reads rtsp://127.0.0.1:{port}/cam",)
        assert reader.state().condition == "stopped"
        until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("sal ")])


@LIBRARIES
def test_a_process_ends_well_around_a_blocked_reader(settings: SourceSettings) -> None:
    """OpenCV would abort it when its thread comes back while the interpreter ends."""
    program = (
        "import sys, time\n"
        "from sal_service.video.sources.reading import open_reader\n"
        "from sal_service.video.sources.settings import SourceSettings\n"
        "from tests.service.video.simulated_camera import stalling_port\n"
        "class Slow:\n"
        "    def __del__(self, sleep=time.sleep):\n"
        "        sleep(3)  # the interpreter is still ending when the library gives the thread back\n"
        "slow = Slow()\n"
        "with stalling_port() as (port, accepted):\n"
        "    settings = SourceSettings(open_seconds=1, clock=sys.argv[1])\n"
        "    reader = open_reader(f'rtsp://127.0.0.1:{port}/cam', settings)\n"
        "    while len(accepted) < int(sys.argv[2]):\n"
        "        time.sleep(0.01)\n"
        "    print(*reader.stop(0.1))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, settings.clock, str(CONNECTIONS[settings.library])],
        cwd=Path(__file__).parents[4],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("sal reads rtsp://127.0.0.1:")


def test_a_camera_that_stalls_keeps_the_others_waiting_no_longer_than_its_own_opening(camera: SimulatedCamera) -> None:
    with stalling_port() as (port, accepted):
        stalling = open_reader(f"rtsp://127.0.0.1:{port}/cam", replace(OPENCV, open_seconds=1))
        until(lambda: len(accepted) >= CONNECTIONS["opencv"])
        reader = open_reader(camera.address, OPENCV)
        until(lambda: reader.state().received >= 3)
        state = reader.state()
        assert (state.condition, state.num_losses) == ("live", 0)
        stalling.stop(5)
        reader.stop()


def test_nothing_is_printed_about_a_camera_that_is_away(capfd: pytest.CaptureFixture[str]) -> None:
    reader = open_reader(f"rtsp://user:secret@127.0.0.1:{free_port()}/cam", OPENCV)
    lost(reader)
    reader.stop()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("library", "number"), [("opencv", 4), ("pyav", 16)])
def test_many_readers_of_one_camera_and_a_slow_taker(camera: SimulatedCamera, library: Library, number: int) -> None:
    """Each has its newest frames, however seldom they are taken; what was not taken is counted."""
    readers = [open_reader(camera.address, SourceSettings(library=library)) for _ in range(number)]
    until(lambda: all(reader.state().received >= 5 for reader in readers))
    ages = list[float]()
    for reader in readers * 2:
        frame = reader.take(5)
        assert frame is not None
        ages.append(time.time() - frame.captured_at)
    states = [reader.state() for reader in readers]
    assert stop_all(readers, 5) == ()
    assert max(ages) < 3  # two periods of 0.2 s and the patience of a busy machine
    assert all(state.received - 4 <= state.dropped <= state.received - 2 for state in states)


def test_no_process_and_no_file_is_left_behind(camera: SimulatedCamera) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        reader = open_reader(camera.address, OPENCV)
        until(lambda reader=reader: reader.state().received > 0)  # type: ignore[misc]
        assert reader.stop(5) == ()
    until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors)
