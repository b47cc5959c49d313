"""The reader of a place: of a camera the newest frames for ever, of a file every frame."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Protocol

from sal_service.video.frame import Frame
from sal_service.video.sources.live import LiveReader
from sal_service.video.sources.opening import open_source
from sal_service.video.sources.options import TURN_SECONDS
from sal_service.video.sources.recorded import RecordedReader
from sal_service.video.sources.settings import SourceSettings
from sal_service.video.sources.state import SourceState


class Reader(Protocol):
    """What reads a source in the background: `LiveReader` and `RecordedReader`, which say more."""

    @property
    def finished(self) -> bool:
        """No frame will come any more."""

    def take(self, seconds: float | None = None) -> Frame | None:
        """The next frame, or None if there is none within so many seconds, or none any more."""

    def state(self) -> SourceState:
        """What is known at this moment."""

    def stop(self, seconds: float = 1.0) -> tuple[str, ...]:
        """End reading; the names of threads that are still blocked after so many seconds."""


def open_reader(
    place: str | os.PathLike[str],
    settings: SourceSettings | None = None,
    wake: Callable[[], None] | None = None,
) -> Reader:
    """Read a place in the background from now on.

    Args:
        place: as `open_source` takes it.
        settings: how it is read; the defaults without.
        wake: called after each frame and each change of condition, in a thread of the reader; it must return at once.
            Whoever reads several places sets an event with it.

    Raises:
        InputError, BackendError: as `open_source`. A camera that cannot be reached is no error, but a state.
    """
    settings, wake = settings or SourceSettings(), wake or _nothing
    source = open_source(place, settings)
    if not source.is_live:
        return RecordedReader(source, wake=wake)
    return LiveReader(
        partial(open_source, place, settings),
        title=source.title,
        open_seconds=settings.open_seconds + (0 if settings.needs_pyav else TURN_SECONDS),
        silent_seconds=settings.silent_seconds,
        wake=wake,
    )


def _nothing() -> None:
    """Nobody is to be woken."""
