"""Structured logs: one JSON object a line, on stderr; never what was asked, never a token, never a raw address.

A route is told as its template, `/v1/galleries/{gallery}/search`, so that neither logs nor metrics repeat what a client
made up.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sal_service.api.gate.access import principal_of
from sal_service.api.problems import request_id

log = logging.getLogger("sal.service")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
REFUSALS = frozenset({401, 403, 429})
"""Statuses that are logged with the address that asked, for those who watch for attacks."""
_OF_EVERY_RECORD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message"}


@dataclass(frozen=True)
class Answered:
    """A request and its answer; `status` is 0 where the client left before there was one.

    `seconds` went by until the answer began, `seconds_in_all` until it ended.
    """

    request: str
    method: str
    route: str
    status: int
    seconds: float
    seconds_in_all: float
    principal: str | None
    address: str | None


class Observe:
    """The outermost middleware: tells of each request when it is answered, and gives the answer its `X-Request-Id`.

    Args:
        app: the app inside.
        tell: is called in turn with each; must not raise.
        clock: seconds that only grow.
    """

    def __init__(
        self, app: ASGIApp, tell: Sequence[Callable[[Answered], None]], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.app = app
        self._tell = tuple(tell)
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        number = request_id(scope)
        begin = self._clock()
        status, started = 0, 0.0

        async def watched(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                status, started = message["status"], self._clock()
                message = {**message, "headers": [*message.get("headers", []), (b"x-request-id", number.encode())]}
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            end = self._clock()
            principal = principal_of(scope)
            answered = Answered(
                request=number,
                method=scope["method"] if scope["method"] in METHODS else "other",
                route=route_of(scope),
                status=status,
                seconds=(started if status else end) - begin,
                seconds_in_all=end - begin,
                principal=None if principal is None else principal.name,
                address=scope.get("sal.address"),
            )
            for tell in self._tell:
                tell(answered)


def route_of(scope: Scope) -> str:
    """The template of the route that answered; `none` if there was none."""
    found = scope.get("fastapi", {}).get("effective_route_context") or scope.get("route")
    return str(getattr(found, "path_format", "none"))


def log_answer(answered: Answered) -> None:
    """Log a request: probes that went well for those who look closely only."""
    level = logging.DEBUG if answered.route in PROBES and answered.status == 200 else logging.INFO
    fields: dict[str, Any] = {
        "request": answered.request,
        "principal": answered.principal,
        "method": answered.method,
        "route": answered.route,
        "status": answered.status,
        "ms": round(1000 * answered.seconds_in_all, 1),
    }
    if answered.status in REFUSALS:
        fields["address"] = answered.address
    log.log(level, "request", extra=fields)


class JsonLines(logging.Formatter):
    """A record as one line of JSON in ASCII: `time`, `level`, `event`, and the record's extras."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line: dict[str, Any] = {"time": at, "level": record.levelname.lower(), "event": record.getMessage()}
        if not record.name.startswith("sal"):
            line["logger"] = record.name
        line |= {name: value for name, value in record.__dict__.items() if name not in _OF_EVERY_RECORD}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def log_as_json(level: int = logging.INFO, stream: TextIO = sys.stderr) -> None:
    """Let all loggers of the process write JSON lines; uvicorn takes part with `log_config=None, access_log=False`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
