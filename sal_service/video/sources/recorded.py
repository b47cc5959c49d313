"""Reading a file ahead: every frame of it, and no further than whoever takes them can follow."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from sal_runtime.errors import first_line
from sal_service.video.frame import Frame, FrameSource
from sal_service.video.sources.exits import READERS
from sal_service.video.sources.state import Condition, Record, SourceState

WAITING = 8
"""Frames that are read ahead, at most."""


class RecordedReader:
    """Reads a file or a folder of frames in the background, while frames that were taken are worked on.

    Args:
        source: what to read.
        wake: called after each frame and at the end, in a thread of the reader; it must return at once.
    """

    def __init__(self, source: FrameSource, *, wake: Callable[[], None] = lambda: None) -> None:
        self._source, self._wake = source, wake
        self._changed = threading.Condition()
        self._waiting = deque[Frame]()
        self._record = Record(source.title, "reading")
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._read, name=f"sal reads {source.title}", daemon=True)
        READERS.add(self)
        self._thread.start()

    @property
    def num_frames(self) -> int | None:
        """Number of frames that the source says it has; None where it does not say."""
        return self._source.num_frames

    @property
    def finished(self) -> bool:
        """No frame and no error will come any more."""
        with self._changed:
            return self._record.condition != "reading" and not self._waiting and self._error is None

    def take(self, seconds: float | None = None) -> Frame | None:
        """The next frame; each is given once, and none is left out.

        Args:
            seconds: how long to wait for it; None waits until there is one, or the end.

        Returns:
            None if there is none in time, or none any more.

        Raises:
            InputError: the source could not be read any further; raised once, after all frames that were read.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._record.condition != "reading", seconds)
            if self._waiting:
                self._changed.notify_all()
                return self._waiting.popleft()
            error, self._error = self._error, None
        if error is not None:
            raise error
        return None

    def state(self) -> SourceState:
        """What is known at this moment."""
        with self._changed:
            return self._record.state(self._source.troubles)

    def stop(self, seconds: float = 1.0) -> tuple[str, ...]:
        """End reading; frames that wait are not given any more.

        Args:
            seconds: how long to wait for the thread.

        Returns:
            Its name if the library still blocks it.
        """
        self._source.close()
        self._end("stopped")
        with self._changed:
            self._waiting.clear()
            self._error = None
        self._thread.join(seconds)
        return (self._thread.name,) if self._thread.is_alive() else ()

    def _read(self) -> None:
        try:
            for frame in self._source.frames():
                if not self._receive(frame):
                    return
        except Exception as error:  # raised where the frames are taken
            self._end("ended", error)
        else:
            self._end("ended")

    def _receive(self, frame: Frame) -> bool:
        """Take over a frame as soon as there is room; false if the reader was stopped."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < WAITING or self._record.condition != "reading")
            if self._record.condition != "reading":
                return False
            self._record.note_frame()
            self._waiting.append(frame)
            self._changed.notify_all()
        self._wake()
        return True

    def _end(self, condition: Condition, error: Exception | None = None) -> None:
        with self._changed:
            if self._record.condition == "reading":
                self._record.change(condition)
                if error is not None:
                    self._error = error
                    self._record.note_error(first_line(error))
            self._changed.notify_all()
        self._wake()
