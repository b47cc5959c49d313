"""Who crosses the lines of a camera, and which way."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from sal_service.video.cameras import Line, Point

Direction = Literal["forward", "backward"]


@dataclass(frozen=True)
class Crossing:
    """A track crossed a line.

    Attributes:
        track: its number.
        line: name of the line.
        direction: `forward` goes from the left of start -> stop to the right of it, as seen in the picture.
    """

    track: int
    line: str
    direction: Direction


class CrossingCounter:
    """Counts the crossings of the lines of one camera.

    Args:
        lines: of the camera.

    Attributes:
        counts: number of crossings by (name of the line, direction).
    """

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines
        self._last: dict[int, Point] = {}
        self.counts: Counter[tuple[str, Direction]] = Counter()

    def update(self, tracks: Sequence[int], places: Sequence[Point]) -> list[Crossing]:
        """The crossings since the frame before.

        Args:
            tracks: numbers of the tracks that this frame shows.
            places: where each stands, as shares of width and height.
        """
        crossings = []
        for track, place in zip(tracks, places, strict=True):
            before = self._last.get(track, place)
            self._last[track] = place
            for line in self._lines:
                direction = crossed(line, before, place)
                if direction is not None:
                    crossings.append(Crossing(track, line.name, direction))
                    self.counts[line.name, direction] += 1
        return crossings

    def forget(self, tracks: Collection[int]) -> None:
        """Drop what is known of tracks that ended."""
        for track in tracks:
            self._last.pop(track, None)


def crossed(line: Line, before: Point, after: Point) -> Direction | None:
    """Which way a step from one place to another crosses a line; None if it does not.

    A place on the line counts as left of it, so that a step onto the line and the next one off it cross it once.
    """
    was_right, is_right = (_side(line.start, line.stop, place) > 0 for place in (before, after))
    starts_right, stops_right = (_side(before, after, end) > 0 for end in (line.start, line.stop))
    if was_right == is_right or starts_right == stops_right:
        return None
    return "forward" if is_right else "backward"


def _side(start: Point, stop: Point, place: Point) -> float:
    """Above 0 right of start -> stop, below 0 left of it; y grows downwards."""
    return (stop[0] - start[0]) * (place[1] - start[1]) - (stop[1] - start[1]) * (place[0] - start[0])
