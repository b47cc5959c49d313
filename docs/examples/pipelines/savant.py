"""People whom a module of Savant tracked, from its frames over ZeroMQ into a gallery.

    python docs/examples/pipelines/savant.py yard.sal sub+connect:tcp://127.0.0.1:5556

Needs savant-rs, in the version of your Savant (tried: 0.3.0). The module publishes its frames with their objects, and
encodes them as JPEG: `ZMQ_SINK_ENDPOINT=pub+bind:tcp://0.0.0.0:5556`, and in module.yml

    parameters: {output_frame: {codec: jpeg}}

People have the label `person`. One frame a second of each source is looked at, so that a person gives some crops and
not hundreds. ZeroMQ acknowledges nothing: what comes while this program does not run, or cannot keep up, is lost.

Moments are by the clock of the machine that made the frame a message, such as that of the RTSP adapter.
"""

import json
import logging
import sys
import time
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sal_runtime import Gallery, ImageEncoder, InputError, open_bundle
from sal_service.video import Intake, KeptCrop

Person = dict[str, Any]  # the arguments of Intake.submit
MALFORMED = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
EARLIEST, AHEAD = 1.6e9, 5.0  # no clock is right that is before September 2020, or so many seconds ahead of ours
EVERY = 1.0  # seconds


def people(text: str, picture: bytes, moment: float, now: float) -> tuple[list[Person], list[str]]:
    """The people of a frame: `VideoFrame.json`, its JPEG and its moment; and what is wrong with it, if anything is."""
    found: list[Person] = []
    problems: list[str] = []
    try:
        message = json.loads(text)
        seen = [person for person in message["objects"] if person["label"] == "person"]
        if not seen:
            return [], []
        frame = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)
        if frame is None or frame.shape[:2] != (message["height"], message["width"]):
            return [], [f"{message['source_id']}: no JPEG of {message['width']} x {message['height']} pixels"]
        if not EARLIEST < moment < now + AHEAD:
            problems.append(f"{message['source_id']}: the clock says {moment}; the moment now is recorded instead")
            moment = now
        for person in seen:
            place = person["track_box"] or person["detection_box"]
            left, top, right, bottom = _corners(place)
            crop = frame[top:bottom, left:right]
            if crop.size == 0:
                problems.append(f"{message['source_id']}: a person outside of the picture, at {place}")
                continue
            track = f"untracked-{moment:.3f}-{left}-{top}" if person["track_id"] is None else str(person["track_id"])
            known = {"camera": message["source_id"], "track": track, "captured_at": moment}
            box = (left, top, crop.shape[1], crop.shape[0])
            found.append(known | {"crop": crop, "box": box, "metadata": {"clock": "arrival"}})
    except (*MALFORMED, cv2.error) as error:
        return [], [f"not a frame of Savant ({type(error).__name__}: {error})"]
    return found, problems


def _corners(place: dict[str, float]) -> list[int]:
    across, down = place["width"] / 2, place["height"] / 2
    edges = place["xc"] - across, place["yc"] - down, place["xc"] + across, place["yc"] + down
    return [max(0, round(edge)) for edge in edges]


def report(answer: Future[KeptCrop]) -> None:
    """Called when the gallery holds a crop, or is not going to."""
    if (error := answer.exception()) is not None:
        logging.warning("%s", error)


def listen(intake: Intake, reader: Any) -> None:
    """Hand over whom the frames show."""
    last: dict[str, float] = {}
    while True:
        if (received := reader.try_receive()) is None:
            time.sleep(0.01)
        if (message := getattr(received, "message", None)) is None or not message.is_video_frame():
            continue
        frame, now = message.as_video_frame(), time.time()
        if now - last.get(frame.source_id, 0.0) < EVERY:
            continue
        last[frame.source_id] = now
        content = frame.content
        picture = content.get_data() if content.is_internal() else received.data(0) if received.data_len() else b""
        found, problems = people(frame.json, picture, frame.creation_timestamp_ns / 1e9, now)
        for person in found:
            try:
                intake.submit(**person).add_done_callback(report)
            except InputError as error:
                problems.append(str(error))
        for problem in problems:
            logging.warning("%s", problem)


def main(path: Path, address: str) -> None:
    """Fill a gallery until Ctrl-C."""
    from savant_rs.zmq import NonBlockingReader, ReaderConfigBuilder

    bundle, reader = open_bundle(), NonBlockingReader(ReaderConfigBuilder(address).build(), 16)
    with (
        Gallery.open(path, "w") if path.exists() else Gallery.create(path, bundle) as gallery,
        Intake(gallery, ImageEncoder(bundle)) as intake,
        suppress(KeyboardInterrupt),
    ):
        reader.start()
        listen(intake, reader)
    reader.shutdown()
    print(intake.counts)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
