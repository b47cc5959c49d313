"""docs/examples/pipelines/savant.py: a message that savant-rs 0.3.0 wrote as data, and its ZeroMQ where it is there."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from docs.examples.pipelines.savant import people
from sal_runtime.images.pixels import decode_image
from tests.docs.examples.programs import MESSAGES, items_of, pictures_of, running, stop, wait_until

FRAME = (MESSAGES / "savant_frame.json").read_text(encoding="utf-8")
AT = 1_795_874_408.975
NOW = AT + 1
IMAGE = np.full((240, 320, 3), 128, np.uint8)
IMAGE[75:165, 80:120] = COLOUR = (10, 160, 220)
JPEG = cv2.imencode(".jpg", IMAGE, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
OUTSIDE = "door: a person outside of the picture"


def changed(**values: Any) -> str:
    return json.dumps(json.loads(FRAME) | values)


def test_people_are_cut_out_of_the_frame() -> None:
    found, problems = people(FRAME, JPEG, AT, NOW)
    assert [text[: len(OUTSIDE)] for text in problems] == [OUTSIDE]
    first, second = found
    assert first["crop"].shape == (90, 40, 3)
    assert np.abs(first.pop("crop")[5:-5, 5:-5].astype(int) - COLOUR).max() < 8
    assert second.pop("crop").shape == (60, 19, 3)  # what of them is in the picture
    known = {"camera": "door", "captured_at": AT, "metadata": {"clock": "arrival"}}
    assert first == known | {"track": "17", "box": (80, 75, 40, 90)}
    assert second == known | {"track": f"untracked-{AT:.3f}-0-30", "box": (0, 30, 19, 60)}


def test_a_frame_without_people_is_no_problem() -> None:
    assert people(changed(objects=[]), b"", AT, NOW) == ([], [])


@pytest.mark.parametrize(
    ("message", "picture", "problem"),
    [
        (FRAME, b"\x00\x00\x00\x01 H.264", "door: no JPEG of 320 x 240 pixels"),
        (FRAME, b"", "not a frame of Savant"),
        (changed(width=640), JPEG, "door: no JPEG of 640 x 240 pixels"),
        ("{", JPEG, "not a frame of Savant"),
        (changed(objects=[{"label": "person"}]), JPEG, "not a frame of Savant"),
    ],
)
def test_a_frame_that_gives_nobody_says_why(message: str, picture: bytes, problem: str) -> None:
    found, problems = people(message, picture, AT, NOW)
    assert found == []
    assert [text[: len(problem)] for text in problems] == [problem]


def test_a_wrong_clock_is_not_believed() -> None:
    found, problems = people(FRAME, JPEG, 5.5e-8, NOW)
    assert {person["captured_at"] for person in found} == {NOW}
    assert problems[0].endswith("the moment now is recorded instead")


def test_frames_over_zeromq_fill_a_gallery(tmp_path: Path) -> None:
    pytest.importorskip("savant_rs", reason="needs savant-rs, which has wheels for Python 3.11 and 3.12 on x86-64 only")
    from savant_rs import primitives, zmq
    from savant_rs.primitives.geometry import RBBox

    frame = primitives.VideoFrame(
        source_id="door",
        framerate="25/1",
        width=320,
        height=240,
        content=primitives.VideoFrameContent.external("zeromq", None),
        transcoding_method=primitives.VideoFrameTranscodingMethod.Copy,
        codec="jpeg",
        keyframe=True,
        time_base=(1, 1_000_000_000),
        pts=0,
        dts=None,
        duration=None,
    )
    place = RBBox(100, 120, 40, 90, None)
    frame.create_object(
        namespace="peoplenet", label="person", detection_box=place, confidence=0.9, track_id=17, track_box=place
    )
    address = f"ipc://{tmp_path}/socket"
    writer = zmq.BlockingWriter(zmq.WriterConfigBuilder(f"pub+bind:{address}").build())
    writer.start()
    yard = tmp_path / "yard.sal"
    with running("savant.py", yard, f"sub+connect:{address}") as program:
        while not items_of(yard):
            writer.send_message("door", frame.to_message(), JPEG)
            time.sleep(0.1)
        wait_until(lambda: len(pictures_of(yard)) == 1)
        printed, log = stop(program)
    writer.shutdown()
    [item] = items_of(yard)
    assert (item.camera, item.track, item.box) == ("door", "17", (80, 75, 40, 90))
    assert (item.captured_at or 0) == pytest.approx(frame.creation_timestamp_ns / 1e9)
    assert decode_image(pictures_of(yard)[0].read_bytes()).shape == (90, 40, 3)
    assert "kept=" in printed
    assert log == []
