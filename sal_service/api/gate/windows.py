"""How often something may happen: so many times in any window of time, for each key.

The memory storage of the library `limits` keeps every key for ever, walks all of them in a new thread a hundred times
a second, and counts on the wall clock: an address costs nothing here once its window has passed.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable

MOST_KEYS = 100_000


class Window:
    """At most `times` in any `seconds`, by key.

    Args:
        times: how often; at least 1.
        seconds: the length of the window.
        clock: seconds that only grow.
        most_keys: how many keys are remembered; the one that was quiet the longest is forgotten first.
    """

    def __init__(
        self,
        times: int,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        most_keys: int = MOST_KEYS,
    ) -> None:
        self.times = times
        self.seconds = seconds
        self._clock = clock
        self._most_keys = most_keys
        self._taken: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, key: str) -> float:
        """Take one of the times that are left.

        Returns:
            0 if there was one, else the seconds until there is one; nothing is taken then.
        """
        with self._lock:
            now = self._clock()
            self._forget(now)
            taken = self._taken.get(key)
            if taken is None:
                taken = self._taken[key] = deque(maxlen=self.times)
            if len(taken) == self.times and now - taken[0] < self.seconds:
                return self.seconds - (now - taken[0])
            taken.append(now)
            self._taken.move_to_end(key)
            return 0.0

    def _forget(self, now: float) -> None:
        """Drop keys whose window has passed, the quietest first; each call drops at most two, so that none is slow."""
        for _ in range(2):
            oldest = next(iter(self._taken.values()), None)
            if oldest is None or (now - oldest[-1] < self.seconds and len(self._taken) < self._most_keys):
                return
            self._taken.popitem(last=False)

    def num_keys(self) -> int:
        """How many keys are remembered."""
        return len(self._taken)


def whole_seconds(seconds: float) -> str:
    """The value of a `Retry-After`: whole seconds, at least one, never too few."""
    return str(max(1, math.ceil(seconds)))
