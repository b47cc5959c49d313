"""Tracks joined to people: by their vectors, where and when it can be."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sal_runtime.arrays import Float32Array
from sal_service.video.bridge import Bridge, BridgeSettings
from sal_service.video.detections import Detections
from sal_service.video.tracker import Update


def looks(degrees: float) -> Float32Array:
    """A unit vector `[1, 2]`; the cosine of two is that of the angle between them."""
    return np.array([[math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]], np.float32)


def see(bridge: Bridge, second: float, *tracks: tuple[int, float], ended: tuple[int, ...] = ()) -> None:
    """Tracks with the left of their boxes, 40 x 100 pixels."""
    boxes = np.array([(left, 100, left + 40, 200) for _, left in tracks], np.float32).reshape(-1, 4)
    detections = Detections(boxes, np.full(len(boxes), 0.9, np.float32))
    hidden = np.empty((0, 4), np.float32)
    bridge.follow(detections, Update(np.array([track for track, _ in tracks], np.int64), list(ended), hidden), second)


def pillar(gap: float = 3.0, jump: float = 200.0, settings: BridgeSettings | None = None) -> Bridge:
    """Track 1 is seen until second 5; track 2 begins after the gap, so many pixels away."""
    bridge = Bridge(settings)
    see(bridge, 0.0, (1, 100))
    see(bridge, 5.0, (1, 300))
    see(bridge, 5.0 + gap, (2, 300 + jump), ended=(1,))
    return bridge


@pytest.mark.parametrize(("degrees", "person"), [(0, 1), (31, 1), (32, 2), (180, 2)])
def test_the_cosine_decides(degrees: float, person: int) -> None:
    """The cosine of 31 degrees is 0.857, that of 32 is 0.848."""
    bridge = pillar()
    assert bridge.add(1, looks(0)) == 1
    assert bridge.add(2, looks(degrees)) == person


@pytest.mark.parametrize(("gap", "jump", "person"), [(3, 499, 1), (3, 501, 2), (7.9, 0, 1), (8.1, 0, 2), (0.5, 130, 2)])
def test_a_person_has_to_get_there(gap: float, jump: float, person: int) -> None:
    """Within 3 s at 1.5 heights a second, and half a height more: 500 pixels."""
    bridge = pillar(gap, jump)
    bridge.add(1, looks(0))
    assert bridge.add(2, looks(0)) == person


def test_the_mean_of_all_vectors_counts_and_may_decide_later() -> None:
    bridge = pillar()
    bridge.add(1, looks(0))
    assert bridge.add(2, looks(50)) == 2
    assert bridge.add(2, looks(0)) == 1
    # once joined, a track stays joined
    assert bridge.add(2, looks(170)) == 1


def test_a_track_that_goes_on_is_nobody_elses() -> None:
    bridge = Bridge()
    see(bridge, 0.0, (1, 100))
    see(bridge, 1.0, (2, 150))
    bridge.add(1, looks(0))
    assert bridge.add(2, looks(0)) == 2


def test_the_most_alike_is_continued_and_by_one_only() -> None:
    bridge = Bridge()
    see(bridge, 0.0, (1, 100), (2, 120))
    see(bridge, 2.0, (3, 110), (4, 110), ended=(1, 2))
    bridge.add(1, looks(0))
    bridge.add(2, looks(20))
    assert bridge.add(3, looks(15)) == 2
    assert bridge.add(4, looks(15)) == 1


def test_a_person_has_the_id_of_the_first_of_many_tracks() -> None:
    bridge = Bridge()
    for track in range(1, 6):
        see(bridge, 3.0 * track, (track, 100), ended=(track - 1,))
        assert bridge.add(track, looks(0)) == 1


def test_what_is_long_over_is_forgotten() -> None:
    bridge = Bridge()
    for track in range(1, 200):
        see(bridge, 10.0 * track, (track, 100), ended=(track - 1,))
        assert len(bridge._traces) <= 7
    assert bridge.add(1, looks(0)) == 1
    assert bridge.add(199, looks(0)) == 199
