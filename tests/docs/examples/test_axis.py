"""docs/examples/pipelines/axis.py: messages as data, and cameras that publish to a broker."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client

from docs.examples.pipelines.axis import people
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

TRACK = (MESSAGES / "axis_object_track_v1.json").read_bytes()
BETA = (MESSAGES / "axis_consolidated_track_v1_beta.json").read_bytes()
DOOR = "sal/axis/door"
SIZE = (1920, 1080)
AT = datetime(2026, 11, 23, 14, 2, 7, 551914, UTC).timestamp()
NOW = AT + 30


def changed(message: bytes, **values: Any) -> bytes:
    return json.dumps(json.loads(message) | values).encode()


def test_a_track_is_a_person_with_its_best_picture() -> None:
    [person], problems = people(TRACK, DOOR, SIZE, NOW)
    assert problems == []
    assert decode_image(person.pop("crop")).shape[0] > 50
    assert person == {
        "camera": "door",
        "track": "ad57dd04-cbe5-44df-8de3-222d1d33c3e9",
        "captured_at": AT,
        "box": (480, 490, 57, 100),
        "metadata": {"clock": "camera"},
    }


def test_a_message_of_older_cameras() -> None:
    [person], problems = people(BETA, DOOR, None, NOW + 3600)
    assert problems == []
    assert person["captured_at"] == datetime(2026, 11, 23, 14, 3, 0, 19111, UTC).timestamp()  # when the track began
    assert person["box"] is None


def test_what_is_no_person_is_no_problem() -> None:
    assert people(changed(TRACK, classes=[{"type": "Car", "score": 0.9}]), DOOR, SIZE, NOW) == ([], [])
    assert people(changed(TRACK, classes=[]), DOOR, SIZE, NOW) == ([], [])


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        (changed(TRACK, image=None), "a person without a picture"),
        (b"\xff\xfe", "not a message of a track"),
        (b"[1, 2]", "not a message of a track"),
        (b'{"frame": ', "not a message of a track"),
        (changed(TRACK, image={"data": "no base64!"}), "not a message of a track"),
        (changed(TRACK, image={"data": "", "timestamp": "yesterday"}), "not a message of a track"),
        (changed(TRACK, classes=[{"type": "Human"}]), "not a message of a track"),
        (TRACK.replace(b"0.25", b"1e999"), "not a message of a track"),
        (b"[" * 100_000, "not a message of a track"),
    ],
)
def test_a_message_that_gives_nobody_says_why(message: bytes, problem: str) -> None:
    found, problems = people(message, DOOR, SIZE, NOW)
    assert found == []
    assert [text[: len(problem)] for text in problems] == [problem]


@pytest.mark.parametrize("stamp", ["1984-02-06T20:17:41.551914Z", "2026-11-23T14:03:07Z", "2026-11-23T14:02:07.551914"])
def test_a_wrong_clock_is_not_believed(stamp: str) -> None:
    image = json.loads(TRACK)["image"] | {"timestamp": stamp}
    [person], [problem] = people(changed(TRACK, image=image), DOOR, SIZE, NOW)
    assert (person["captured_at"], person["metadata"]) == (NOW, {"clock": "arrival"})
    assert problem.endswith("the moment of arrival is recorded instead")


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[tuple[Client, str]]:
    """A camera that publishes, and the address of a broker that keeps its messages for the program."""
    with publisher_for(tmp_path, "sal-axis", "sal/axis/+") as found:
        yield found


@needs_broker
def test_cameras_fill_a_gallery_and_a_message_that_comes_twice_gives_one_item(
    camera: tuple[Client, str], tmp_path: Path
) -> None:
    client, address = camera
    yard = tmp_path / "yard.sal"
    publish(client, DOOR, TRACK, TRACK, b"no JSON", changed(TRACK, image=None))  # while the program does not run
    publish(client, "sal/axis/no name", TRACK)
    with running("axis.py", yard, address, "1920x1080") as program:
        publish(client, "sal/axis/gate", BETA)
        wait_until(lambda: len(items_of(yard)) == 2)
        printed, log = stop(program)
    door, gate = sorted(items_of(yard), key=lambda item: item.captured_at or 0)
    assert (door.camera, door.captured_at, door.box) == ("door", AT, (480, 490, 57, 100))
    assert (gate.camera, gate.track) == ("gate", json.loads(BETA)["id"])
    assert pictures_of(yard)[0].read_bytes() == base64.b64decode(json.loads(TRACK)["image"]["data"])
    assert "kept=3" in printed
    expected = ("door: not a message of a track", "door: a person without a picture", "no name: camera name 'no name'")
    for line, beginning in zip(log, expected, strict=True):
        assert line.startswith(f"WARNING:root:sal/axis/{beginning}")


@needs_broker
@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_a_message_is_acknowledged_only_when_the_gallery_holds_its_person(
    end: str, camera: tuple[Client, str], tmp_path: Path
) -> None:
    client, address = camera
    yard = tmp_path / "yard.sal"
    with running("axis.py", yard, address) as program:
        publish(client, DOOR, BETA)
        wait_until(lambda: len(items_of(yard)) == 1)
        writer = sqlite3.connect(yard, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")  # nobody else can add now
        publish(client, DOOR, TRACK)
        wait_until(lambda: len(pictures_of(yard)) == 2)
        if end == "stopped":
            _, log = stop(program)
            assert log[-1].endswith("the broker will send it again")
        else:
            program.kill()
            program.wait()
        writer.execute("ROLLBACK")
        writer.close()
    assert len(items_of(yard)) == 1
    with running("axis.py", yard, address) as program:
        wait_until(lambda: len(items_of(yard)) == 2)
        stop(program)
    assert len(pictures_of(yard)) == 2
