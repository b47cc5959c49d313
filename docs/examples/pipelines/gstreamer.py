"""People whom a GStreamer pipeline detected, into a gallery.

    python docs/examples/pipelines/gstreamer.py yard.sal door COMMAND...

COMMAND is a pipeline in a process of its own, whose Python need not be sal's:

    /usr/bin/python3 docs/examples/pipelines/gstreamer_branch.py 'rtspsrc location=rtsp://... ! decodebin !
        videoconvert ! video/x-raw,format=BGRx ! gvadetect model=... ! gvatrack ! tee name=t ! queue ! ...
        t. ! queue leaky=downstream max-size-buffers=2 ! appsink name=people'

Its detector attaches a GstVideoRegionOfInterestMeta with the label `person`, such as `gvadetect` of Intel's DL Streamer
or an element of your own; `gvatrack` adds the tracks. Convert to BGRx before the detector: a `videoconvert` behind it
drops the tracks (seen with GStreamer 1.22). Any other program may write such lines, too, whatever its language.

Moments are by the clock of the machine on which the pipeline runs, when the frame came to the branch.
"""

import base64
import json
import logging
import math
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from sal_runtime import Gallery, ImageEncoder, open_bundle
from sal_service.video import Intake

Person = dict[str, Any]  # the arguments of Intake.submit
MALFORMED = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)
AHEAD = 5.0  # seconds that a moment may be ahead of this machine's clock
MOST_WAITING = 64


def people(line: bytes, camera: str, now: float) -> tuple[list[Person], list[str]]:
    """The person of a line, if it is one, and what is wrong with the line, if anything is."""
    try:
        message = json.loads(line)
        if message["label"] != "person":
            return [], []
        left, top, width, height = (int(number) for number in message["box"])
        pixels = np.frombuffer(base64.b64decode(message["pixels"], validate=True), np.uint8)
        moment = float(message["captured_at"])
        own = f"untracked-{moment:.3f}-{left}-{top}"  # so that who has no track is an item of their own
        track = str(message["track"] or own)
        person: Person = {"camera": camera, "track": track, "box": (left, top, width, height)}
    except MALFORMED as error:
        return [], [f"not a line of a person ({type(error).__name__}: {error})"]
    if min(width, height) < 1 or len(pixels) != height * width * 3:
        return [], [f"a person of {width} x {height} pixels with {len(pixels)} bytes; expected 3 for each pixel"]
    person |= {"crop": pixels.reshape(height, width, 3), "metadata": {"clock": "arrival"}}
    if math.isfinite(moment) and moment < now + AHEAD:
        return [person | {"captured_at": moment}], []
    return [person | {"captured_at": now}], [f"the pipeline's clock says {moment}; the moment now is recorded instead"]


def hand_over(intake: Intake, camera: str, lines: Iterable[bytes]) -> None:
    """Submit whom the lines tell of; the pipeline waits (and drops frames) while too many are waiting here."""
    waiting = deque[Any]()
    for line in lines:
        found, problems = people(line, camera, time.time())
        for problem in problems:
            logging.warning("%s", problem)
        waiting.extend(intake.submit(**person) for person in found)
        while waiting and (waiting[0].done() or len(waiting) > MOST_WAITING):
            _report(waiting.popleft().exception())
    for answer in waiting:
        _report(answer.exception())


def _report(error: BaseException | None) -> None:
    if error is not None:
        logging.warning("%s", error)


def main(path: Path, camera: str, command: list[str]) -> int:
    """Fill a gallery until the command ends, or Ctrl-C ends both."""
    bundle = open_bundle()
    with (
        Gallery.open(path, "w") if path.exists() else Gallery.create(path, bundle) as gallery,
        Intake(gallery, ImageEncoder(bundle)) as intake,
        subprocess.Popen(command, stdout=subprocess.PIPE) as pipeline,
        suppress(KeyboardInterrupt),
    ):
        hand_over(intake, camera, pipeline.stdout or ())
    print(intake.counts)
    return pipeline.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
