"""Reading a camera for ever: the newest frames, a watch over their age, and connecting anew."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from sal_runtime.errors import SalError, first_line
from sal_service.video.frame import Frame, FrameSource
from sal_service.video.sources.exits import READERS
from sal_service.video.sources.state import Record, SourceState

WAITING = 2
"""Frames that wait to be taken, at most; a third one drops the oldest."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 6.0
"""Seconds from the end of an attempt to the next one; with the longest, and three seconds to connect, a camera that is
back gives frames within ten seconds."""
MOST_STUCK = 3
"""With so many readers blocked in the library, no further one is started."""


@dataclass(eq=False)
class _Attempt:
    """One connection, read by a thread of its own, which the library may block.

    Attributes:
        begun: by `time.monotonic`, as the others.
        newest: when its last frame arrived.
        first_position: what its positions are counted from.
        failure: why it is over; None as long as it is not.
    """

    thread: threading.Thread | None = None
    begun: float = field(default_factory=time.monotonic)
    source: FrameSource | None = None
    newest: float | None = None
    first_position: int = 0
    failure: str | None = None


class LiveReader:
    """Reads one camera in the background until it is stopped.

    One thread reads; another one watches the age of the frames, and connects anew after a pause that grows. A thread
    that the library does not give back is left behind: what it still reads is not used, and it ends with the library's
    own time limit.

    Args:
        connect: makes the source for the next connection.
        title: the source for messages, without any password.
        open_seconds: how long connecting may take, with the wait for others that are being connected.
        silent_seconds: without a frame for so long, the camera is lost.
        wake: called after each frame and each change of condition, in a thread of the reader; it must return at once.
    """

    def __init__(
        self,
        connect: Callable[[], FrameSource],
        *,
        title: str,
        open_seconds: float = 5.0,
        silent_seconds: float = 5.0,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._connect, self._wake = connect, wake
        self._open_seconds, self._silent_seconds = open_seconds, silent_seconds
        self._lock = threading.Lock()
        self._frame_arrived, self._attempt_over = threading.Condition(self._lock), threading.Condition(self._lock)
        self._stopped = threading.Event()
        self._waiting = deque[Frame]()
        self._record = Record(title, "connecting")
        self._troubles = Counter[str]()
        self._next_position = 0
        self._attempt = _Attempt()
        self._left_behind: list[threading.Thread] = []
        self._keeper = threading.Thread(target=self._keep_connected, name=f"sal keeps {title}", daemon=True)
        READERS.add(self)
        self._keeper.start()

    @property
    def finished(self) -> bool:
        """No frame will come any more: only after `stop`."""
        return self._stopped.is_set()

    def take(self, seconds: float | None = None) -> Frame | None:
        """The next of the two newest frames; each is given once. Positions count what arrived over all connections.

        Args:
            seconds: how long to wait for one; None waits until there is one, or the reader is stopped.

        Returns:
            None if there is none in time, or the reader is stopped.
        """
        with self._lock:
            self._frame_arrived.wait_for(lambda: self._waiting or self.finished, seconds)
            return self._waiting.popleft() if self._waiting and not self.finished else None

    def state(self) -> SourceState:
        """What is known at this moment."""
        with self._lock:
            source = self._attempt.source
            troubles = self._troubles + source.troubles if source else self._troubles
            return self._record.state(troubles, stuck=sum(thread.is_alive() for thread in self._left_behind))

    def stop(self, seconds: float = 1.0) -> tuple[str, ...]:
        """End reading; frames that wait are not given any more.

        Args:
            seconds: how long to wait for the threads, all together.

        Returns:
            The names of threads that the library still blocks; they end with its time limit.
        """
        with self._lock:
            self._stopped.set()
            self._frame_arrived.notify_all()
            self._attempt_over.notify_all()
        deadline = time.monotonic() + seconds
        self._keeper.join(seconds)
        threads = [self._keeper, *self._left_behind]
        for thread in threads:
            thread.join(max(deadline - time.monotonic(), 0))
        return tuple(thread.name for thread in threads if thread.is_alive())

    def _keep_connected(self) -> None:
        pause = FIRST_PAUSE
        while not self.finished:
            self._left_behind = [thread for thread in self._left_behind if thread.is_alive()]
            if len(self._left_behind) < MOST_STUCK:
                attempt = self._begin_attempt()
                failure = self._watch(attempt)
                pause = pause if attempt.newest is None else FIRST_PAUSE
            else:
                failure = f"{MOST_STUCK} readers are blocked in the library that reads; waiting for one of them"
            if not self.finished:
                self._note_loss(failure)
                self._stopped.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        with self._lock:
            self._record.change("stopped")

    def _begin_attempt(self) -> _Attempt:
        attempt = _Attempt(first_position=self._next_position)
        attempt.thread = threading.Thread(
            target=self._read, args=(attempt,), name=f"sal reads {self._record.title}", daemon=True
        )
        with self._lock:
            if self._attempt.source is not None:
                self._troubles += self._attempt.source.troubles
            self._attempt = attempt
        attempt.thread.start()
        return attempt

    def _watch(self, attempt: _Attempt) -> str:
        """Wait until an attempt is over; why it is."""
        with self._lock:
            while attempt.failure is None and not self.finished:
                longest = self._silent_seconds + (self._open_seconds if attempt.newest is None else 0)
                remaining = (attempt.newest or attempt.begun) + longest - time.monotonic()
                if remaining <= 0:
                    attempt.failure = f"no frame for {longest:g} s"
                else:
                    # a first frame does not wake this, but no frame is too old before the end of this wait
                    self._attempt_over.wait(min(remaining, self._silent_seconds))
            failure, attempt.failure = attempt.failure or "", attempt.failure or "stopped"
        if attempt.source is not None:
            attempt.source.close()
        assert attempt.thread is not None
        self._left_behind.append(attempt.thread)
        return failure

    def _read(self, attempt: _Attempt) -> None:
        try:
            attempt.source = self._connect()
            if attempt.failure is None:
                for frame in attempt.source.frames():
                    if not self._receive(attempt, frame):
                        return
            failure = "the camera ended the stream"
        except SalError as error:
            failure = first_line(error).removeprefix(f"{self._record.title}: ")
        except Exception as error:  # one camera's trouble is told in its state, and ends no other camera
            failure = f"{type(error).__name__}: {first_line(error)}"
        with self._lock:
            attempt.failure = attempt.failure or failure
            self._attempt_over.notify_all()

    def _receive(self, attempt: _Attempt, frame: Frame) -> bool:
        """Take over a frame; false if the attempt is over, because the frame came too late."""
        with self._lock:
            if attempt.failure is not None:
                return False
            attempt.newest = time.monotonic()
            position = attempt.first_position + frame.position
            self._next_position = position + 1
            room = WAITING - 1 if self._record.condition == "live" else 0  # those from before a loss are old
            while len(self._waiting) > room:
                self._waiting.popleft()
                self._record.dropped += 1
            self._record.note_frame()
            self._record.change("live")
            self._waiting.append(replace(frame, position=position))
            self._frame_arrived.notify()
        self._wake()
        return True

    def _note_loss(self, reason: str) -> None:
        with self._lock:
            self._record.note_loss(reason)
            self._record.change("lost")
        self._wake()
