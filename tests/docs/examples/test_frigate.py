"""docs/examples/pipelines/frigate.py: messages as data, and a Frigate of a broker and a server of snapshots."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from docs.examples.pipelines.frigate import people
from sal_runtime.images.pixels import decode_image
from tests.docs.examples.programs import (
    MESSAGES,
    items_of,
    needs_broker,
    pictures_of,
    publish,
    publisher_for,
    running,
    stop,
    wait_until,
)

END = json.loads((MESSAGES / "frigate_event_end.json").read_bytes())
EVENT = END["after"]["id"]
AT = END["after"]["snapshot"]["frame_time"]
NOW = AT + 30
COLOUR = (10, 160, 220)
"""Of the person in the snapshot, BGR; the rest of it is grey."""


def snapshot(_: str, height: int = 720, width: int = 1280) -> bytes:
    frame = np.full((height, width, 3), 128, np.uint8)
    left, top, right, bottom = END["after"]["snapshot"]["box"]
    frame[top:bottom, left:right] = COLOUR
    return cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def changed(*, kind: str = "end", **after: Any) -> bytes:
    return json.dumps(END | {"type": kind, "after": END["after"] | after}).encode()


def test_an_event_that_ended_is_a_person_cut_out_of_its_snapshot() -> None:
    [person], problems = people(changed(), snapshot, NOW)
    assert problems == []
    crop = person.pop("crop")
    assert crop.shape == (211, 113, 3)
    assert np.abs(crop[5:-5, 5:-5].astype(int) - COLOUR).max() < 8
    assert person == {
        "camera": "front_door",
        "track": EVENT,
        "captured_at": AT,
        "box": (415, 489, 113, 211),
        "metadata": {"clock": "arrival"},
    }


@pytest.mark.parametrize("message", [changed(kind="new"), changed(kind="update"), changed(label="car")])
def test_what_is_not_the_end_of_a_person_is_no_problem(message: bytes) -> None:
    assert people(message, lambda event: pytest.fail("no snapshot is needed"), NOW) == ([], [])


def no_answer(_: str) -> bytes:
    raise ConnectionRefusedError("refused")


@pytest.mark.parametrize(
    ("message", "picture", "problem"),
    [
        (changed(has_snapshot=False), snapshot, f"event {EVENT}: a person without a snapshot"),
        (changed(snapshot=None), snapshot, f"event {EVENT}: a person without a snapshot"),
        (changed(), no_answer, f"event {EVENT}: no snapshot (refused)"),
        (changed(), lambda event: snapshot(event, 701, 500), f"event {EVENT}: the snapshot does not show the place"),
        (changed(), lambda event: b"no picture", f"event {EVENT}: the snapshot does not show the place"),
        (changed(), lambda event: b"", "not a message of an event"),
        (b"online", snapshot, "not a message of an event"),
        (b"[]", snapshot, "not a message of an event"),
        (b'{"type": "end", "after": "soon"}', snapshot, "not a message of an event"),
        (changed().replace(b"415", b"1e999"), snapshot, "not a message of an event"),
        (b"[" * 100_000, snapshot, "not a message of an event"),
    ],
)
def test_a_message_that_gives_nobody_says_why(message: bytes, picture: Callable[[str], bytes], problem: str) -> None:
    found, problems = people(message, picture, NOW)
    assert found == []
    assert [text[: len(problem)] for text in problems] == [problem]


@pytest.mark.parametrize("now", [AT - 3600, AT - 5.1])
def test_a_wrong_clock_is_not_believed(now: float) -> None:
    [person], [problem] = people(changed(), snapshot, now)
    assert person["captured_at"] == now
    assert problem.endswith("the moment of the message is recorded instead")


class Snapshots(BaseHTTPRequestHandler):
    """Gives the snapshot of one event at the second time that it is asked for it: Frigate stores it after the event."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        is_there = EVENT in self.path and len(self.asked) > 1
        self.send_response(200 if is_there else 404)
        self.end_headers()
        if is_there:
            self.wfile.write(snapshot(EVENT))

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    Snapshots.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Snapshots) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@needs_broker
def test_events_fill_a_gallery_and_one_that_comes_twice_gives_one_item(
    server: ThreadingHTTPServer, tmp_path: Path
) -> None:
    yard, address = tmp_path / "yard.sal", f"http://127.0.0.1:{server.server_port}"
    with publisher_for(tmp_path, "sal-frigate", "frigate/events") as (client, broker):
        publish(client, "frigate/events", changed(kind="new"), changed(kind="update"), changed(), changed())
        publish(client, "frigate/events", b"online", changed(id="1.2-gone"), changed(camera="gate"))
        with running("frigate.py", yard, broker, address) as program:
            wait_until(lambda: len(items_of(yard)) == 2)
            printed, log = stop(program)
    item = next(item for item in items_of(yard) if item.camera == "front_door")
    assert (item.track, item.captured_at, item.box) == (EVENT, AT, (415, 489, 113, 211))
    assert decode_image(pictures_of(yard)[0].read_bytes()).shape == (211, 113, 3)
    assert "kept=3" in printed
    assert Snapshots.asked[0] == f"/api/events/{EVENT}/snapshot.jpg?crop=0&bbox=0&timestamp=0"
    assert len(log) == 2
    assert log[0].startswith("WARNING:root:frigate/events: not a message of an event")
    assert log[1] == "WARNING:root:frigate/events: event 1.2-gone: no snapshot (HTTP Error 404: Not Found)"
