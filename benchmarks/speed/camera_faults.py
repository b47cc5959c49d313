"""What can happen to a camera: when it is noticed, and how long after the camera's return its frames come again.

    python -m benchmarks.speed.camera_faults

A simulated camera (GStreamer, RTSP over TCP on the loopback interface, 5 frames a second) is killed, frozen, cut off
and so on for some seconds, and read with the default settings by both libraries. At the end many cameras are switched
off and on together. Limit: two new frames within 10 s of the return; many cameras at once with PyAV.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from benchmarks.speed.measurement import write_result
from sal_service.video.sources.exits import stop_all
from sal_service.video.sources.reading import Reader, open_reader
from sal_service.video.sources.settings import Library, SourceSettings
from tests.service.video.simulated_camera import Line, SimulatedCamera

LIMIT_SECONDS = 10.0
LIBRARIES: tuple[Library, ...] = ("opencv", "pyav")
AWAY_SECONDS = (6.0, 14.0)
GIVE_UP_SECONDS = 60.0

Fault = Callable[[SimulatedCamera, Line], tuple[Callable[[], None], Callable[[], None]]]
"""Gives what begins it, and what ends it."""

FAULTS: dict[str, Fault] = {
    "the camera is killed": lambda camera, _: (camera.kill, camera.start),
    "the camera freezes": lambda camera, _: (camera.freeze, camera.thaw),
    "the line freezes": lambda _, line: (lambda: line.set("freeze"), lambda: line.set("pass")),
    "garbage on the line": lambda _, line: (lambda: line.set("damage"), lambda: line.set("pass")),
    "the line is cut": lambda _, line: (line.cut, lambda: None),
}
MOMENTARY = ("the line is cut",)


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cameras", type=int, default=16)
    given = parser.parse_args()
    rows = [
        _suffer(name, fault, library, away)
        for name, fault in FAULTS.items()
        for library in LIBRARIES
        for away in ((0.0,) if name in MOMENTARY else AWAY_SECONDS)
    ]
    together = [_together(library, given.cameras) for library in LIBRARIES]
    write_result("camera_faults", {"limit_seconds": LIMIT_SECONDS, "rows": rows, "many_at_once": together})


def _suffer(name: str, fault: Fault, library: Library, away: float) -> dict[str, Any]:
    """One fault, from its begin to the second frame after it."""
    with SimulatedCamera() as camera, Line(camera.port) as line:
        address = camera.address.replace(str(camera.port), str(line.port))
        with _readers([address], library) as (reader,):
            _wait(lambda: reader.state().received >= 10)
            begin, end = fault(camera, line)
            begun = time.monotonic()
            begin()
            noticed = None
            while time.monotonic() < begun + away:
                if noticed is None and reader.state().condition == "lost":
                    noticed = time.monotonic() - begun
                time.sleep(0.02)
            end()
            seconds = _until_frames([reader])
            state = reader.state()
    print(f"{name}, {library}, away {away:g} s: {seconds:.1f} s", file=sys.stderr)
    return {
        "fault": name,
        "library": library,
        "away_seconds": away,
        "noticed_after_seconds": None if noticed is None else round(noticed, 1),
        "seconds_to_recover": round(seconds, 1),
        "losses": [loss.reason for loss in state.losses],
    }


def _together(library: Library, count: int) -> dict[str, Any]:
    """Many cameras behind one switch, which is off for some seconds."""
    with ExitStack() as stack:
        camera = stack.enter_context(SimulatedCamera(rate=15))
        readers = stack.enter_context(_readers([camera.address] * count, library))
        _wait(lambda: all(reader.state().received >= 10 for reader in readers))
        camera.kill()
        time.sleep(AWAY_SECONDS[0])
        camera.start()
        seconds = _until_frames(readers)
    print(f"{count} cameras at once, {library}: {seconds:.1f} s until the last", file=sys.stderr)
    return {"library": library, "cameras": count, "seconds_to_recover_all": round(seconds, 1)}


@contextmanager
def _readers(addresses: list[str], library: Library) -> Iterator[list[Reader]]:
    readers = [open_reader(address, SourceSettings(library=library)) for address in addresses]
    try:
        yield readers
    finally:
        stop_all(readers, 10.0)


def _until_frames(readers: list[Reader]) -> float:
    """Seconds until each of them is live and has two more frames than now."""
    begun = time.monotonic()
    before = [reader.state().received for reader in readers]

    def all_have() -> bool:
        states = [reader.state() for reader in readers]
        pairs = zip(states, before, strict=True)
        return all(state.condition == "live" and state.received >= count + 2 for state, count in pairs)

    _wait(all_have)
    return time.monotonic() - begun


def _wait(is_so: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + GIVE_UP_SECONDS
    while not is_so():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"waited {GIVE_UP_SECONDS:g} s in vain")
        time.sleep(0.02)


if __name__ == "__main__":
    main()
