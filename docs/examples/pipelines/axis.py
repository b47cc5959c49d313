"""People whom Axis cameras saw, from their scene metadata over MQTT into a gallery.

    python docs/examples/pipelines/axis.py yard.sal 127.0.0.1:1883 1920x1080

Needs paho-mqtt, and cameras with AXIS OS 12.8 that are connected to the broker. Ask each camera for its tracks with
pictures; the last part of the topic is its name here:

    PATCH /config/rest/object-snapshot/v1           {"data": {"enabled": true, "margin": false}}
    POST /config/rest/analytics-mqtt/v1/publishers  {"data": {"id": "sal", "mqtt_topic": "sal/axis/door", "qos": 1,
        "data_source_key": "com.axis.scene.object_track.v1#1", "retain": false, "use_topic_prefix": false}}

It sends one message for each object that has left, with the best picture of it (older cameras send such a message as
`com.axis.consolidated_track.v1.beta#1`). Places are shares of the picture; without its size none is recorded. Moments
are by the camera's clock, so give it a time server. What it says of clothes is not kept: sal looks at the picture.
"""

import base64
import json
import logging
import signal
import sys
import time
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from sal_runtime import Gallery, ImageEncoder, InputError, SalError, open_bundle
from sal_service.video import Intake

Person = dict[str, Any]  # the arguments of Intake.submit
MALFORMED = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
Size = tuple[int, int] | None  # width and height of the cameras' pictures
EARLIEST, AHEAD = 1.6e9, 5.0  # no clock is right that is before September 2020, or so many seconds ahead of ours


def people(payload: bytes, topic: str, size: Size, now: float) -> tuple[list[Person], list[str]]:
    """The person that a message tells of, if it is one, and what is wrong with the message, if anything is."""
    try:
        track = json.loads(payload)
        kinds = sorted(track.get("classes", []), key=lambda kind: float(kind["score"]))
        if not kinds or kinds[-1]["type"] != "Human":
            return [], []
        if not (image := track.get("image")):
            return [], ["a person without a picture; are snapshots enabled?"]
        crop = base64.b64decode(image["data"], validate=True)
        moment = datetime.fromisoformat(image.get("timestamp") or track["start_time"])
        place = image.get("crop_box") or image.get("bounding_box")
        box = _in_pixels(place, *size) if place and size else None
        person = {"crop": crop, "camera": topic.rpartition("/")[2], "track": str(track["id"]), "box": box}
    except MALFORMED as error:
        return [], [f"not a message of a track ({type(error).__name__}: {error})"]
    if moment.tzinfo and EARLIEST < moment.timestamp() < now + AHEAD:
        return [person | {"captured_at": moment.timestamp(), "metadata": {"clock": "camera"}}], []
    problem = f"the camera's clock says {moment}; the moment of arrival is recorded instead"
    return [person | {"captured_at": now, "metadata": {"clock": "arrival"}}], [problem]


def _in_pixels(place: dict[str, float], width: int, height: int) -> tuple[int, int, int, int]:
    left, right = round(place["left"] * width), round(place["right"] * width)
    top, bottom = round(place["top"] * height), round(place["bottom"] * height)
    return left, top, right - left, bottom - top


def take(intake: Intake, size: Size, client: Client, _: object, message: MQTTMessage) -> None:
    """Acknowledge a message when the gallery holds its person, or never will."""
    found, problems = people(bytes(message.payload), message.topic, size, time.time())
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
    client.subscribe("sal/axis/+", qos=1)


def main(path: Path, broker: str, size: str = "") -> None:
    """Fill a gallery until Ctrl-C. What comes while this program does not run waits at the broker."""
    bundle = open_bundle()
    (host, _, port), (width, _, height) = broker.partition(":"), size.partition("x")
    client = Client(CallbackAPIVersion.VERSION2, "sal-axis", clean_session=False, manual_ack=True)
    with (
        Gallery.open(path, "w") if path.exists() else Gallery.create(path, bundle) as gallery,
        Intake(gallery, ImageEncoder(bundle)) as intake,
    ):
        client.on_connect = subscribe
        client.on_message = partial(take, intake, (int(width), int(height)) if size else None)
        client.connect(host, int(port or 1883))
        client.loop_start()
        with suppress(KeyboardInterrupt):
            signal.pause()
        client.on_message = None
    client.loop_stop()
    print(intake.counts)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
