"""What is known about a source that is being read."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

LOSSES_KEPT = 100
Condition = Literal["connecting", "live", "lost", "stopped", "reading", "ended"]
"""Of a camera: `connecting` until the first frame or the first failure, then `live` or `lost`; `stopped` after that. Of
a file: `reading`, then `ended`, also when it ended early by an error; or `stopped`."""


@dataclass(frozen=True, slots=True)
class Loss:
    """A time in which a camera gave nothing.

    Attributes:
        began_at: when its last frame arrived, or reading began; seconds since 1970, UTC.
        ended_at: when the next frame arrived; None as long as there is none.
        reason: the first one, in words.
    """

    began_at: float
    ended_at: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class SourceState:
    """A source at one moment.

    Attributes:
        title: the source, without any password.
        condition: what it does.
        since: when it began to do so; seconds since 1970, UTC.
        age: seconds since the last frame arrived; None without one.
        received: frames that arrived; `received` = taken + `dropped` + waiting.
        dropped: frames that made room for newer ones; always 0 for files.
        reconnects: how often the camera came back.
        last_error: the newest reason why there was nothing, in words; empty without one.
        losses: the newest losses, the last one perhaps not over.
        num_losses: all of them.
        lost_seconds: all of them together, up to now.
        stuck: readers that are blocked in the library and were given up.
        troubles: what went wrong without ending anything, in words, and how often.
    """

    title: str
    condition: Condition
    since: float
    age: float | None
    received: int
    dropped: int
    reconnects: int
    last_error: str
    losses: tuple[Loss, ...]
    num_losses: int
    lost_seconds: float
    stuck: int
    troubles: Mapping[str, int]


class Record:
    """What happened to a source so far. Whoever keeps one holds a lock around each call.

    Args:
        title: as in the state.
        condition: what it begins with.
    """

    def __init__(self, title: str, condition: Condition) -> None:
        self.title, self.condition = title, condition
        self.dropped = 0
        self._since = self._last_at = time.time()
        self._newest: float | None = None
        self._received = self._reconnects = self._num_losses = 0
        self._last_error, self._lost_seconds = "", 0.0
        self._losses = deque[Loss](maxlen=LOSSES_KEPT)

    def change(self, condition: Condition) -> None:
        """The source does something else from now on, or the same."""
        if condition != self.condition:
            self.condition, self._since = condition, time.time()

    def note_frame(self) -> None:
        """A frame arrived."""
        now, self._newest = time.time(), time.monotonic()
        if self._losses and self._losses[-1].ended_at is None:
            loss = Loss(self._losses[-1].began_at, now, self._losses[-1].reason)
            self._losses[-1] = loss
            self._lost_seconds += now - loss.began_at
            self._reconnects += self._received > 0
        self._received += 1
        self._last_at = now

    def note_error(self, reason: str) -> None:
        """Something ended the reading."""
        self._last_error = reason

    def note_loss(self, reason: str) -> None:
        """There are no frames any more, or still none."""
        self._last_error = reason
        if not (self._losses and self._losses[-1].ended_at is None):
            self._losses.append(Loss(self._last_at, None, reason))
            self._num_losses += 1

    def state(self, troubles: Mapping[str, int], stuck: int = 0) -> SourceState:
        """Everything at this moment."""
        is_lost = bool(self._losses) and self._losses[-1].ended_at is None
        return SourceState(
            title=self.title,
            condition=self.condition,
            since=self._since,
            age=None if self._newest is None else time.monotonic() - self._newest,
            received=self._received,
            dropped=self.dropped,
            reconnects=self._reconnects,
            last_error=self._last_error,
            losses=tuple(self._losses),
            num_losses=self._num_losses,
            lost_seconds=self._lost_seconds + (time.time() - self._losses[-1].began_at if is_lost else 0.0),
            stuck=stuck,
            troubles=dict(troubles),
        )
