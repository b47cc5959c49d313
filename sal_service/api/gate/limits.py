"""How much anybody may ask of the service: how often, how large, how long, and how many at once.

Each request belongs to the first lane that fits it. The middlewares count bodies as they come and keep none of them.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sal_runtime.errors import ConfigError
from sal_service.api.gate.access import principal_of
from sal_service.api.gate.windows import Window, whole_seconds
from sal_service.api.problems import RefusedError, problem_of, too_busy

KB, MB = 1024, 1024 * 1024


@dataclass(frozen=True)
class Lane:
    """A kind of requests and what is allowed of it.

    Args:
        name: for messages and the policy.
        pattern: a regular expression that all of `METHOD /path` must fit.
        times: how often one principal (or one address, of strangers) may ask in `window` seconds.
        window: seconds.
        body_bytes: the largest body.
        seconds: how long an answer may take; None for streams.
        at_once: how many are answered at the same time, whoever asks.
    """

    name: str
    pattern: str
    times: int
    window: float = 1.0
    body_bytes: int = 256 * KB
    seconds: float | None = 30.0
    at_once: int = 64


_GALLERY = r"/v1/galleries/[^/]+"
LANES: tuple[Lane, ...] = (
    Lane("session", r"POST /v1/session", times=5, window=60.0, body_bytes=4 * KB, at_once=8),
    Lane("events", r"GET /v1/events", times=30, window=60.0, seconds=None, at_once=500),
    Lane("image-search", rf"POST {_GALLERY}/search/image", times=10, body_bytes=16 * MB, at_once=16),
    Lane("search", rf"POST {_GALLERY}/search", times=20, body_bytes=MB, at_once=64),
    Lane("add-batch", rf"POST {_GALLERY}/crops/batch", times=20, body_bytes=128 * MB, seconds=120.0, at_once=8),
    Lane("add", rf"POST {_GALLERY}/crops", times=200, body_bytes=16 * MB, at_once=128),
    Lane("crops", rf"GET {_GALLERY}/crops/.+", times=200, at_once=128),
    Lane("remove", rf"POST {_GALLERY}/(?:remove|purge)", times=10, body_bytes=16 * MB, seconds=120.0, at_once=8),
    Lane("swap", rf"POST {_GALLERY}/swap", times=10, window=60.0, at_once=4),
    Lane("preview", r"POST /v1/watches/preview", times=5, seconds=60.0, at_once=4),
    Lane("probes", r"GET /(?:healthz|readyz|metrics)", times=50, at_once=32),
    Lane("other", r"(?s:.*)", times=50),
)
"""What is allowed by default."""


def lanes_of_policy(times: Mapping[str, int]) -> list[Lane]:
    """The default lanes, but with the numbers of requests that a policy states.

    Args:
        times: by name of a lane, how often one principal may ask in the window of that lane.

    Raises:
        ConfigError: there is no lane of that name.
    """
    known = [lane.name for lane in LANES]
    for name in times:
        if name not in known:
            raise ConfigError(f"the policy limits {name!r}, which is no kind of requests; there is {', '.join(known)}")
    return [replace(lane, times=times.get(lane.name, lane.times)) for lane in LANES]


class Lanes:
    """The lane of each request; the last lane takes all."""

    def __init__(self, lanes: Sequence[Lane] = LANES) -> None:
        self.lanes = tuple(lanes)
        self._patterns = [(re.compile(lane.pattern), lane) for lane in self.lanes]

    def of(self, scope: Scope) -> Lane:
        """The first lane that fits a request."""
        asked = f"{scope['method']} {scope['path']}"
        return next((lane for pattern, lane in self._patterns if pattern.fullmatch(asked)), self.lanes[-1])


class RateLimit:
    """A middleware: 429 with `Retry-After` for whoever asks too often; it stands inside of `AccessMiddleware`."""

    def __init__(self, app: ASGIApp, lanes: Lanes, clock: Callable[[], float] = time.monotonic) -> None:
        self.app = app
        self._lanes = lanes
        self._windows = {lane.name: Window(lane.times, lane.window, clock=clock) for lane in lanes.lanes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            lane = self._lanes.of(scope)
            principal = principal_of(scope)
            key = f"address {scope['sal.address']}" if principal is None else f"name {principal.name}"
            wait = self._windows[lane.name].take(key)
            if wait:
                text = f"At most {lane.times} requests of this kind ({lane.name}) in {lane.window:g} s; wait a little."
                refusal = RefusedError(429, text, headers={"Retry-After": whole_seconds(wait)})
                await problem_of(refusal)(scope, receive, send)
                return
        await self.app(scope, receive, send)


class _Answer:
    """What has been sent of an answer; after `close` the app's messages go nowhere."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._closed = False
        self.started = False

    async def __call__(self, message: Message) -> None:
        if not self._closed:
            self.started = True
            await self._send(message)

    def close(self) -> None:
        self._closed = True


class BodyLimit:
    """A middleware: 413 for a body that is larger than its lane allows, as soon as that is known."""

    def __init__(self, app: ASGIApp, lanes: Lanes) -> None:
        self.app = app
        self._lanes = lanes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = self._lanes.of(scope).body_bytes
        if _told_length(scope) > most:
            await _too_large(most)(scope, receive, send)
            return
        answer = _Answer(send)
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > most:
                answer.close()
                raise RefusedError(413, "The body is too large.")
            return message

        try:
            await self.app(scope, counted, answer)
        except Exception:
            if came <= most:
                raise
        if came > most and not answer.started:
            await _too_large(most)(scope, receive, send)


def _told_length(scope: Scope) -> int:
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(lengths[0]) if lengths and lengths[0].isdigit() and len(lengths[0]) <= 20 else 0


def _too_large(most: int) -> ASGIApp:
    text = f"The body is too large; at most {most:,} bytes are taken here."
    return problem_of(RefusedError(413, text))


class Deadline:
    """A middleware: 503 for a lane that is full, and for an answer that does not begin in time.

    The work itself is not cut short, because a thread cannot be: it keeps its place in the lane until it ends, so that
    a service that hangs refuses work instead of piling it up. An answer that has begun and does not end in time is
    broken off.
    """

    def __init__(self, app: ASGIApp, lanes: Lanes) -> None:
        self.app = app
        self._lanes = lanes
        self._running: Counter[str] = Counter()
        self._tasks: set[asyncio.Future[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        lane = self._lanes.of(scope)
        if self._running[lane.name] >= lane.at_once:
            refusal = too_busy(f"{lane.at_once} requests of this kind ({lane.name}) are being answered; ask again.")
            await problem_of(refusal)(scope, receive, send)
            return
        answer = _Answer(send)
        self._running[lane.name] += 1
        task = asyncio.ensure_future(self.app(scope, receive, answer))
        self._tasks.add(task)
        task.add_done_callback(lambda ended: self._end(lane, ended))
        try:
            done, _ = await asyncio.wait({task}, timeout=lane.seconds)
        except asyncio.CancelledError:
            task.cancel()
            raise
        if done:
            task.result()
            return
        answer.close()
        if not answer.started:
            await problem_of(too_busy(f"There is no answer within {lane.seconds:g} s."))(scope, receive, send)

    def _end(self, lane: Lane, task: asyncio.Future[None]) -> None:
        self._running[lane.name] -= 1
        self._tasks.discard(task)

    def running(self) -> dict[str, int]:
        """How many requests of each lane are being answered."""
        return {lane.name: self._running[lane.name] for lane in self._lanes.lanes}
