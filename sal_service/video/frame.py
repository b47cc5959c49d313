"""One picture of a camera, and what gives such pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from sal_runtime.arrays import UInt8Array

Clock = Literal["arrival", "file", "camera"]
"""What a moment was read from: this machine's clock when the frame arrived, the position in a file, or the camera's
own clock."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture.

    Attributes:
        image: uint8 BGR `[H, W, 3]`, as OpenCV reads it; nobody changes it.
        captured_at: seconds since 1970, UTC, by `clock`.
        position: number of the frame in its source, from 0; frames that were dropped are counted.
        clock: what `captured_at` was read from.
    """

    image: UInt8Array
    captured_at: float
    position: int
    clock: Clock


class FrameSource(Protocol):
    """A video file, a folder of frames, or one connection to a camera.

    Attributes:
        title: the source for messages, without any password.
        is_live: frames come whether they are wanted or not, and the end of them means that the camera is lost. Of a
            source that is not live every frame counts, and the end is the end.
        num_frames: number of frames that will come, as far as the source says; None where it does not.
        troubles: what went wrong without ending anything, in words, and how often; it grows while frames are read.
    """

    title: str
    is_live: bool
    num_frames: int | None
    troubles: Counter[str]

    def frames(self) -> Iterator[Frame]:
        """The frames, in their order; once for each source.

        Raises:
            InputError: the source cannot be read (any further).
        """

    def close(self) -> None:
        """Release the source; `frames` ends soon, also in another thread."""
