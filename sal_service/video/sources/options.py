"""Options for FFmpeg; the one inside OpenCV takes them from a variable of the process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from sal_runtime.errors import InputError
from sal_service.video.sources.addresses import protocol_of, system_authorities
from sal_service.video.sources.settings import SourceSettings

VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
ADDRESS_OPTIONS = {
    "rtsp_transport": "tcp",
    # neither an address nor what a camera answers can name a file or another protocol
    "protocol_whitelist": "rtsp,rtp,tcp,udp,tls",
    # FFmpeg otherwise collects frames for up to five seconds to measure their rate
    "fpsprobesize": "0",
    "analyzeduration": "1000000",
}
TURN_SECONDS = 60.0
"""How long an opening waits for others, at most."""


def address_options(address: str, settings: SourceSettings) -> dict[str, str]:
    """FFmpeg's options for the address of a camera.

    Raises:
        InputError: its certificate shall be verified, and the system has no trusted certificates.
    """
    if protocol_of(address) != "rtsps":
        return ADDRESS_OPTIONS
    if not settings.tls_verify:
        return {**ADDRESS_OPTIONS, "tls_verify": "0"}
    authorities = settings.tls_authorities or system_authorities()
    if authorities is None:
        raise InputError("this system has no file of trusted certificates; name one", parameter="tls_authorities")
    return {**ADDRESS_OPTIONS, "tls_verify": "1", "ca_file": str(authorities)}


_turn = threading.Lock()


@contextmanager
def opening(options: Mapping[str, str], is_wanted: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Open a video with OpenCV inside of this; one after the other, because OpenCV itself opens no two at a time.

    The user's own value of the variable is there again afterwards. Options that it names keep that value.

    Args:
        options: for this opening.
        is_wanted: false when nobody needs it any more; asked while others are opened.

    Raises:
        InputError: others took too long, or it is not wanted any more.
    """
    deadline = time.monotonic() + TURN_SECONDS
    while not _turn.acquire(timeout=0.05):
        if not is_wanted() or time.monotonic() > deadline:
            raise InputError("it was not opened, because OpenCV opens one after the other and others took long")
    users_own = os.environ.get(VARIABLE)
    try:
        if options:
            os.environ[VARIABLE] = merged(options, users_own)
        yield
    finally:
        if users_own is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = users_own
        _turn.release()


def merged(options: Mapping[str, str], users_own: str | None) -> str:
    """Options as the variable holds them, `name;value|name;value`, with the user's own before ours."""
    pairs = [pair.split(";", 1) for pair in (users_own or "").split("|") if ";" in pair]
    return "|".join(f"{name};{value}" for name, value in ({**options, **dict(pairs)}).items())
