"""A server on this machine that messages are posted to, and a gallery of messages that wait."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from sal_service.watches.store import WatchStore
from sal_service.watches.watch import Message, Target
from tests.service.watches.test_watch import MESSAGE
from tests.service.watches.watched import NOON, watch_for


@dataclass
class Receiver:
    """What a server received.

    Attributes:
        port: on 127.0.0.1.
        received: path, headers and body of each request, in their order.
    """

    port: int = 0
    received: list[tuple[str, Mapping[str, str], bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


Answer = Callable[[BaseHTTPRequestHandler], None]


def accept(handler: BaseHTTPRequestHandler) -> None:
    answer_with(204)(handler)


def answer_with(status: int, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


@contextmanager
def receiver(answer: Answer = accept, tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A server that records each request and then answers it."""
    found = Receiver()
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with lock:
                found.received.append((self.path, dict(self.headers), body))
            answer(self)

        do_GET = do_POST  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            """A client that goes away is no error."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def outbox(store: WatchStore, count: int, *targets: Target, **changes: Any) -> list[Message]:
    """A watch with messages that wait for some targets."""
    watch = watch_for(deliver=targets)
    store.add(watch)
    messages = [
        replace(MESSAGE, id=f"{watch.id}{number:016}", watch=watch.id, uri=f"crop:door/{number}.jpg", **changes)
        for number in range(count)
    ]
    store.record([(message, targets) for message in messages], {}, NOON)
    return messages
