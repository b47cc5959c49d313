"""When frames of a camera arrived."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import TypeVar

Arrival = TypeVar("Arrival")
BUFFERED = "frames from before the connection was ready"
LONGEST_CACHE = 10.0
"""Seconds of old frames that some servers send first, so that a viewer can start at a key frame."""
USUAL_PERIOD = 1 / 25


def skip_buffered(
    arrivals: Iterator[tuple[float, Arrival]], opened_in: float, troubles: Counter[str]
) -> Iterator[Arrival]:
    """Leave out the frames that were collected while the connection was opened: they are older than they look.

    They come one right after the other. The first one that was waited for is new: for at least half of the time between
    its picture and the one before. The very first frame is always left out.

    Args:
        arrivals: the time of each frame within the stream, in seconds, and the frame; each step blocks until the camera
            sent one.
        opened_in: seconds that opening took, at most.
        troubles: where those left out are counted.
    """
    before, stream_before = float("inf"), 0.0
    skipped, is_new = 0.0, False
    for stream_time, arrival in arrivals:
        now, period = time.monotonic(), stream_time - stream_before
        period = period if 0 < period < 2 else USUAL_PERIOD  # some cameras send no usable times
        skipped += period
        is_new = is_new or skipped > opened_in + LONGEST_CACHE or now - before >= period / 2
        before, stream_before = now, stream_time
        if is_new:
            yield arrival
        else:
            troubles[BUFFERED] += 1
