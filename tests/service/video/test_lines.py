"""Crossings of a line: once each, the right way round, by hand and as a balance over whole walks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sal_service.video.cameras import Line, Point
from sal_service.video.lines import Crossing, CrossingCounter, crossed

GATE = Line("gate", (0.2, 0.5), (0.8, 0.5))
"""From left to right across the picture; its right is below, because y grows downwards."""


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((0.5, 0.4), (0.5, 0.6), "forward"),
        ((0.5, 0.6), (0.5, 0.4), "backward"),
        ((0.1, 0.4), (0.1, 0.6), None),  # beside the line
        ((0.5, 0.4), (0.5, 0.45), None),
        ((0.5, 0.4), (0.5, 0.5), None),  # onto the line ...
        ((0.5, 0.5), (0.5, 0.6), "forward"),  # ... and off it
        ((0.5, 0.5), (0.5, 0.4), None),  # or back
        ((0.0, 0.4), (1.0, 0.6), "forward"),
        ((0.3, 0.5), (0.6, 0.5), None),  # along it
        ((0.5, 0.4), (0.5, 0.4), None),
    ],
)
def test_by_hand(before: Point, after: Point, expected: str | None) -> None:
    assert crossed(GATE, before, after) == expected


def test_a_track_is_followed_from_frame_to_frame_and_forgotten() -> None:
    counter = CrossingCounter([GATE])
    assert counter.update([1, 2], [(0.5, 0.3), (0.6, 0.7)]) == []
    assert counter.update([1, 2], [(0.5, 0.6), (0.6, 0.4)]) == [
        Crossing(1, "gate", "forward"),
        Crossing(2, "gate", "backward"),
    ]
    counter.forget([1])
    assert counter.update([1], [(0.5, 0.3)]) == []  # a new beginning, no crossing
    assert counter.counts == {("gate", "forward"): 1, ("gate", "backward"): 1}


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_whoever_ends_on_the_other_side_crossed_once_more_one_way(heights: list[float]) -> None:
    """Along x = 0.5 the balance of crossings says on which side of y = 0.5 the walk ends."""
    counter = CrossingCounter([GATE])
    for height in heights:
        counter.update([7], [(0.5, height)])
    balance = counter.counts["gate", "forward"] - counter.counts["gate", "backward"]
    assert balance == (heights[-1] > 0.5) - (heights[0] > 0.5)
