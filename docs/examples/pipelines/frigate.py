"""People whom Frigate tracked, from its events over MQTT and its snapshots over HTTP into a gallery.

    python docs/examples/pipelines/frigate.py yard.sal 127.0.0.1:1883 http://127.0.0.1:5000

Needs paho-mqtt, and in the configuration of Frigate (0.14 or later):

    mqtt: {enabled: true, host: BROKER, qos: 1}
    snapshots: {enabled: true, bounding_box: false, timestamp: false, crop: false}   # and no height

An event is a track of one object. Frigate sends it as `new`, as `update` and as `end`; the crop is taken at the end,
when the snapshot is final and the message says which frame and which place it shows. So people are found some seconds
after they have left. Moments are by the clock of the machine that runs Frigate. Names that it gives to faces
(`sub_label`) are not kept.
"""

import json
import logging
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

import cv2
import numpy as np
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from sal_runtime import Gallery, ImageEncoder, InputError, SalError, open_bundle
from sal_service.video import Intake

Person = dict[str, Any]  # the arguments of Intake.submit
MALFORMED = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
EARLIEST, AHEAD = 1.6e9, 5.0  # no clock is right that is before September 2020, or so many seconds ahead of ours


def people(payload: bytes, snapshot: Callable[[str], bytes], now: float) -> tuple[list[Person], list[str]]:
    """The person of an event that ended, and what is wrong with the message, if anything is."""
    try:
        event = json.loads(payload)
        after = event["after"]
        if event["type"] != "end" or after["label"] != "person":
            return [], []
        if not after["has_snapshot"] or not after.get("snapshot"):
            return [], [f"event {after['id']}: a person without a snapshot; did they move, and enter a required zone?"]
        moment = float(after["snapshot"]["frame_time"])
        left, top, right, bottom = (int(edge) for edge in after["snapshot"]["box"])
        frame = cv2.imdecode(np.frombuffer(snapshot(str(after["id"])), np.uint8), cv2.IMREAD_COLOR)
        if frame is None or not (0 <= left < right <= frame.shape[1] and 0 <= top < bottom <= frame.shape[0]):
            return [], [f"event {after['id']}: the snapshot does not show the place; is it cropped or resized?"]
        crop, box = frame[top:bottom, left:right], (left, top, right - left, bottom - top)
        person = {"crop": crop, "camera": str(after["camera"]), "track": str(after["id"]), "box": box}
    except (OSError, HTTPException) as error:
        return [], [f"event {after['id']}: no snapshot ({error})"]
    except (*MALFORMED, cv2.error) as error:
        return [], [f"not a message of an event ({type(error).__name__}: {error})"]
    if EARLIEST < moment < now + AHEAD:
        return [person | {"captured_at": moment, "metadata": {"clock": "arrival"}}], []
    problem = f"event {after['id']}: Frigate's clock says {moment}; the moment of the message is recorded instead"
    return [person | {"captured_at": now, "metadata": {"clock": "arrival"}}], [problem]


def fetch(frigate: str, event: str, tries: int = 3) -> bytes:
    """The snapshot of an event. Frigate may need a moment to store it after the event's end."""
    address = f"{frigate}/api/events/{quote(event, safe='')}/snapshot.jpg?crop=0&bbox=0&timestamp=0"
    try:
        with urlopen(address, timeout=10) as response:
            return bytes(response.read())
    except HTTPError as error:
        if error.code != 404 or tries == 1:
            raise
    time.sleep(1.0)
    return fetch(frigate, event, tries - 1)


def take(intake: Intake, frigate: str, client: Client, _: object, message: MQTTMessage) -> None:
    """Acknowledge a message when the gallery holds its person, or never will."""
    found, problems = people(bytes(message.payload), partial(fetch, frigate), time.time())
    try:
        for person in found:
            intake.submit(**person).result()
    except InputError as error:
        problems.append(str(error))
    except SalError as error:
        logging.warning("%s: %s; the broker will send it again", message.topic, error)
        return
    for problem in problems:
        logging.warning("%s: %s", message.topic, problem)
    client.ack(message.mid, message.qos)


def subscribe(client: Client, *_: object) -> None:
    """Called at each connection."""
    client.subscribe("frigate/events", qos=1)


def main(path: Path, broker: str, frigate: str) -> None:
    """Fill a gallery until Ctrl-C. What comes while this program does not run waits at the broker."""
    bundle = open_bundle()
    host, _, port = broker.partition(":")
    client = Client(CallbackAPIVersion.VERSION2, "sal-frigate", clean_session=False, manual_ack=True)
    with (
        Gallery.open(path, "w") if path.exists() else Gallery.create(path, bundle) as gallery,
        Intake(gallery, ImageEncoder(bundle)) as intake,
    ):
        client.on_connect = subscribe
        client.on_message = partial(take, intake, frigate)
        client.connect(host, int(port or 1883))
        client.loop_start()
        with suppress(KeyboardInterrupt):
            signal.pause()
        client.on_message = None
    client.loop_stop()
    print(intake.counts)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
