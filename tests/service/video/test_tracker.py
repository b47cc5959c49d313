"""Tracks against hand-computed association, and against drawn people whose identity is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sal_runtime.errors import InputError
from sal_service.video.detections import Detections
from sal_service.video.tracker import UNCONFIRMED, Tracker, TrackerSettings

WIDTH, HEIGHT = 40.0, 100.0
AT_ONCE = TrackerSettings(confirming_hits=1)


def people(*centres: tuple[float, float], scores: tuple[float, ...] | None = None) -> Detections:
    """Boxes of 40 x 100 pixels around these points."""
    boxes = [(x - WIDTH / 2, y - HEIGHT / 2, x + WIDTH / 2, y + HEIGHT / 2) for x, y in centres]
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores or [0.9] * len(boxes), np.float32).reshape(-1)
    )


def test_two_people_in_three_frames() -> None:
    tracker = Tracker()
    assert tracker.update(people((100, 200), (300, 200)), 0.0).ids.tolist() == [UNCONFIRMED, UNCONFIRMED]
    # the detector's order changes: they stay who they are
    assert tracker.update(people((302, 200), (104, 200)), 0.1).ids.tolist() == [UNCONFIRMED, UNCONFIRMED]
    third = tracker.update(people((108, 200), (304, 200)), 0.2)
    assert sorted(third.ids.tolist()) == [1, 2]
    assert third.ids.dtype == np.int64
    assert tracker.update(people((306, 200), (112, 200)), 0.3).ids.tolist() == third.ids[::-1].tolist()
    assert third.ended == []


def test_the_greatest_sum_of_overlaps_decides_and_not_the_greatest_overlap() -> None:
    """Overlaps of boxes 40 wide that are d apart are (40 - d) / (40 + d): 100 with 109 31/49, 100 with 90 30/50, 130
    with 109 19/61, 130 with 90 none. The best one first would leave 130 alone."""
    tracker = Tracker(TrackerSettings(confirming_hits=1, max_growth=0.0, min_overlap=0.2))
    first = tracker.update(people((100, 200), (130, 200)), 0.0).ids
    assert tracker.update(people((109, 200), (90, 200)), 0.1).ids.tolist() == [first[1], first[0]]


@pytest.mark.parametrize("rate", [10, 5])
def test_the_same_paths_at_two_rates_give_the_same_ids(rate: int) -> None:
    """Two people cross the picture at one height a second, one behind the other."""
    tracker = Tracker()
    for number in range(0, 60, 10 // rate):
        seconds = number / 10
        ids = tracker.update(people((50 + 100 * seconds, 200), (700 - 80 * seconds, 330)), seconds).ids
    assert ids.tolist() == [1, 2]


def test_frames_that_were_dropped_do_not_break_a_track() -> None:
    tracker = Tracker()
    seen = set()
    for number in range(60):
        if number % 10 in (0, 1, 2, 6):
            seen |= set(tracker.update(people((50 + 15 * number, 200)), number / 10).ids.tolist())
    assert seen == {UNCONFIRMED, 1}


def test_people_who_cross_keep_their_ids() -> None:
    """They meet in the middle, where the detector sees only the one in front for 0.4 s."""
    tracker = Tracker()
    for number in range(61):
        seconds = number / 10
        left, right = (100 + 80 * seconds, 200.0), (580 - 80 * seconds, 212.0)
        seen = [right] if abs(left[0] - right[0]) < 30 else [left, right]
        ids = tracker.update(people(*seen), seconds).ids
        if number == 10:
            before = ids.tolist()
    assert ids.tolist() == before
    assert sorted(before) == [1, 2]


def test_a_gap_behind_a_pillar_is_bridged_by_the_motion() -> None:
    tracker = Tracker()
    ids: list[int] = []
    for number in range(50):
        seconds = number / 10
        hidden = 2.0 < seconds < 3.2
        found = tracker.update(people(*([] if hidden else [(50 + 120 * seconds, 200)])), seconds)
        ids += found.ids.tolist()
        assert found.ended == []
    assert set(ids) == {UNCONFIRMED, 1}


def test_who_is_hidden_is_where_the_motion_says() -> None:
    tracker = Tracker(AT_ONCE)
    for number in range(21):
        seen = tracker.update(people((100 + 10 * number, 200), (500, 100)), number / 10)
    assert seen.hidden.shape == (0, 4)
    (box,) = tracker.update(people((500, 100)), 2.5).hidden
    assert box.dtype == np.float32
    assert np.allclose(box, (350 - 20, 150, 350 + 20, 250), atol=3)


def test_a_gap_longer_than_the_patience_ends_all_tracks() -> None:
    tracker = Tracker(AT_ONCE)
    assert tracker.update(people((100, 200), (300, 200)), 0.0).ids.tolist() == [1, 2]
    assert tracker.update(people((100, 200)), 2.0).ended == []
    later = tracker.update(people((100, 200), (300, 200)), 4.01)
    assert later.ended == [1, 2]
    assert later.ids.tolist() == [3, 4]


def test_low_scores_go_on_with_a_track_but_begin_none() -> None:
    tracker = Tracker(AT_ONCE)
    assert tracker.update(people((100, 200), (300, 200), scores=(0.9, 0.2)), 0.0).ids.tolist() == [1, UNCONFIRMED]
    assert tracker.update(people((102, 200), (300, 200), scores=(0.2, 0.2)), 0.1).ids.tolist() == [1, UNCONFIRMED]
    # the high score has the first choice, even if the low one overlaps more
    assert tracker.update(people((104, 200), (112, 200), scores=(0.2, 0.9)), 0.2).ids.tolist() == [UNCONFIRMED, 1]
    assert tracker.update(people((114, 200), scores=(0.05,)), 0.3).ids.tolist() == [UNCONFIRMED]
    assert tracker.update(people((116, 200), scores=(0.2,)), 0.4).ids.tolist() == [1]


def test_a_low_score_does_not_find_a_track_that_was_lost_for_long() -> None:
    for gap, expected in ((0.4, 1), (0.6, UNCONFIRMED)):
        tracker = Tracker(AT_ONCE)
        tracker.update(people((100, 200)), 0.0)
        tracker.update(Detections.none(), 0.1)
        assert tracker.update(people((100, 200), scores=(0.2,)), gap).ids.tolist() == [expected]
    tracker = Tracker(AT_ONCE)
    tracker.update(people((100, 200)), 0.0)
    # a camera of one frame a second: the frame before is recent enough
    assert tracker.update(people((100, 200), scores=(0.2,)), 1.0).ids.tolist() == [1]


def test_what_is_seen_too_seldom_is_never_reported() -> None:
    tracker = Tracker()
    for number in range(10):
        found = tracker.update(people((100, 200)), number * 0.6)
        assert found.ids.tolist() == [UNCONFIRMED]
        assert found.ended == []


def test_ids_are_never_used_again() -> None:
    tracker = Tracker(AT_ONCE, first_id=7)
    assert tracker.update(people((100, 200)), 0.0).ids.tolist() == [7]
    assert tracker.finish() == [7]
    assert tracker.finish() == []
    assert tracker.update(people((100, 200)), 0.1).ids.tolist() == [8]
    assert tracker.update(Detections.none(), 5.0).ended == [8]
    assert tracker.update(people((100, 200)), 5.1).ids.tolist() == [9]


@pytest.mark.parametrize("time", [0.9, math.nan, math.inf])
def test_time_only_goes_forwards(time: float) -> None:
    tracker = Tracker()
    tracker.update(people((100, 200)), 1.0)
    tracker.update(people((100, 200)), 1.0)
    with pytest.raises(InputError, match=r"the one before it of 1\.0") as raised:
        tracker.update(people((100, 200)), time)
    assert raised.value.parameter == "time"


@st.composite
def films(draw: st.DrawFn) -> list[tuple[Detections, list[int]]]:
    """A few frames of boxes, each with a permutation."""
    frames = []
    for _ in range(draw(st.integers(1, 6))):
        corners = draw(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 90)), min_size=0, max_size=6, unique=True))
        boxes = np.array([(x, y, x + 20 + x % 3, y + 50 + y % 5) for x, y in corners], np.float32).reshape(-1, 4)
        scores = np.array([draw(st.sampled_from([0.05, 0.3, 0.9])) for _ in corners], np.float32)
        frames.append((Detections(boxes, scores), draw(st.permutations(range(len(corners))))))
    return frames


@settings(deadline=None)
@given(film=films(), hits=st.sampled_from([1, 2]))
def test_the_order_of_the_detections_does_not_matter(film: list[tuple[Detections, list[int]]], hits: int) -> None:
    one, other = (Tracker(TrackerSettings(confirming_hits=hits)) for _ in range(2))
    alive: set[int] = set()
    over: set[int] = set()
    for number, (detections, order) in enumerate(film):
        shuffled = Detections(detections.boxes[order], detections.scores[order])
        expected, found = one.update(detections, number / 5), other.update(shuffled, number / 5)
        assert found.ids.tolist() == expected.ids[order].tolist()
        assert found.ended == expected.ended
        reported = [track for track in found.ids.tolist() if track != UNCONFIRMED]
        assert len(reported) == len(set(reported))
        over |= set(found.ended)
        alive |= set(reported)
        assert not over & set(reported)
    assert one.finish() == other.finish() == sorted(alive - over)
