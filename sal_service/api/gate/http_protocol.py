"""HTTP/1.1 with deadlines: uvicorn alone waits for ever for a client that drips its headers or its body.

`uvicorn.run(app, http=DeadlineProtocol)`; other deadlines are those of a subclass. What is refused here never reached
an app, hence no middleware, so the answers are made by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sal_service.api.gate.headers import ALWAYS, USUALLY
from sal_service.api.problems import problem


class DeadlineProtocol(HttpToolsProtocol):
    """One connection; a client that is slow, or sends more than it may, is told so and cut off."""

    head_seconds = 5.0
    """From the first byte (of a connection: from its beginning) to the end of the headers."""
    request_seconds = 60.0
    """From the first byte to the end of the body."""
    write_seconds = 20.0
    """How long a client may leave an answer unread that waits for it."""
    linger_seconds = 2.0
    """How long a body is still read, and thrown away, after its answer: who sends first can then read the answer."""
    most_connections = 700
    """Of the whole server: each takes a file descriptor, of which a process often has 1,024, and the logs need some."""
    head_bytes = 32 * 1024
    head_lines = 100
    body_overhead = 64 * 1024
    """Bytes around a chunked body, besides 16 for each of its own: extensions and trailers are without bound else."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._began = 0.0
        self._in_head = True
        self._is_deaf = False
        self._seen = 0
        self._body_seen = 0
        self._refusal = (400, "The request is no HTTP/1.1.")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to count: a connection that says nothing ends as well."""
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            self._refuse(503, "The service has too many connections; try again.")
            return
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all deadlines."""
        super().connection_lost(exc)
        self._stop_reading()
        self._stop_writing()

    def data_received(self, data: bytes) -> None:
        """Read on, while the client keeps to its bounds."""
        if self._is_deaf or self.transport.is_closing():
            return
        if self._reading is None:
            self._begin()
        self._seen += len(data)
        super().data_received(data)
        if self._reading is None or self.transport.is_closing():
            return
        if self._in_head and self._seen > self.head_bytes:
            self._refuse(431, "The headers are too large.")
        elif not self._in_head and self._seen > self.head_bytes + self.body_overhead + 17 * self._body_seen:
            self._refuse(400, "There is much more around the body than in it.")

    def _begin(self) -> None:
        self._began = self.loop.time()
        self._in_head = True
        self._seen = self._body_seen = 0
        self._stop_reading()
        self._reading = self.loop.call_later(self.head_seconds, self._late)

    def on_message_begin(self) -> None:
        """A request begins, perhaps behind another in the same packet."""
        super().on_message_begin()
        if self._reading is None:
            self._begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; lines behind the body are headers to nobody."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Look at the headers as a whole; what is raised here becomes the refusal."""
        size = sum(len(name) + len(value) + 4 for name, value in self.headers) + len(self.url)
        if size > self.head_bytes or len(self.headers) > self.head_lines:
            self._refusal = (431, "The headers are too large, or too many.")
            raise ValueError(self._refusal[1])
        if self.parser.get_http_version() not in ("1.0", "1.1"):
            raise ValueError(self._refusal[1])
        super().on_headers_complete()
        self._in_head = False
        self._stop_reading()
        left = self._began + self.request_seconds - self.loop.time()
        self._reading = self.loop.call_later(left, self._late)

    def on_body(self, body: bytes) -> None:
        """Hand a piece of the body on."""
        self._body_seen += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is here; what follows is another."""
        self._stop_reading()
        self._in_head = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request; not for long for the rest of one that is answered already."""
        is_last = not self.pipeline
        super().on_response_complete()
        if self._is_deaf and is_last:
            self.transport.close()
        elif self._reading is not None and not self._in_head and self.cycle.response_complete:
            self._stop_reading()
            self._reading = self.loop.call_later(self.linger_seconds, self._cut)
        if self.transport.is_closing():
            self._cut_soon()

    def timeout_keep_alive_handler(self) -> None:
        """No other request came."""
        super().timeout_keep_alive_handler()
        self._cut_soon()

    def pause_writing(self) -> None:
        """The client does not read."""
        super().pause_writing()
        self._cut_soon()

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        if not self.transport.is_closing():
            self._stop_writing()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, or a refusal of ours."""
        self._refuse(*self._refusal)

    def _late(self) -> None:
        self._refuse(408, "The request did not arrive in time.")

    def _refuse(self, status: int, detail: str) -> None:
        """Answer the request that is coming in by hand and close; those before it are answered first, this one not."""
        self._stop_reading()
        self._is_deaf = True
        cycle = self.cycle
        is_idle = cycle is None or cycle.response_complete
        if self._in_head and not is_idle:
            return
        if not self._in_head and self.pipeline:
            self.pipeline.popleft()
            return
        if self._in_head or not (is_idle or cycle.response_started):
            self.transport.write(_answer(status, detail))
        if not is_idle:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()
        self._cut_soon()

    def _cut(self) -> None:
        self.transport.abort()

    def _cut_soon(self) -> None:
        if self._writing is None:
            self._writing = self.loop.call_later(self.write_seconds, self._cut)

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _stop_writing(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None


def _answer(status: int, detail: str) -> bytes:
    answer = problem(status, detail)
    pairs = [*answer.raw_headers, *ALWAYS.items(), *USUALLY.items(), (b"connection", b"close")]
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode()]
    lines += [name + b": " + value for name, value in pairs]
    return b"\r\n".join([*lines, b"", bytes(answer.body)])


class Server(uvicorn.Server):
    """A server that says goodbye at once: streams without end would hold the others up.

    Args:
        config: as uvicorn takes it.
        at_stop: is called before the server waits for what is still being answered.
    """

    def __init__(self, config: uvicorn.Config, at_stop: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self._at_stop = at_stop

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        """Stop."""
        self._at_stop()
        await super().shutdown(sockets)
