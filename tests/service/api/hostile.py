"""What hostile inputs are, how they are sent, and what an answer to one must be.

The inputs themselves are in `hostile_http.py` (requests) and `hostile_contents.py` (what requests hold).
"""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass

PATIENCE = 10.0
STATUS = re.compile(rb"(?:^|\r\n|\})HTTP/1\.1 (\d{3}) ")
REFUSED = frozenset(range(400, 500))
HARMLESS = REFUSED | {200, 201, 202, 204, 206}
LEAKS = (b"Traceback", b'File "', b"root:x:0", b"site-packages", b"sqlite3.", b"\nx-injected:", b"<class '")


@dataclass(frozen=True)
class Target:
    """A running service.

    `gallery` exists; `secret` is the content of files that lie beside what is served and must never be seen; `expired`
    is a token that was valid once. Rates are high, deadlines short.
    """

    address: tuple[str, int]
    tokens: Mapping[str, str]
    expired: str
    gallery: str
    secret: bytes

    def request(
        self, start: str, *lines: str, body: bytes = b"", role: str | None = "admin", host: str = "localhost"
    ) -> bytes:
        """A request with its length, unless `lines` tell one."""
        heads = [f"{start} HTTP/1.1", f"Host: {host}", "Connection: close", *lines]
        heads += [] if role is None else [f"Authorization: Bearer {self.tokens[role]}"]
        is_told = any("content-length" in line.lower() or "transfer-encoding" in line.lower() for line in lines)
        heads += [f"Content-Length: {len(body)}"] if body and not is_told else []
        return "\r\n".join([*heads, "", ""]).encode("utf-8", "surrogateescape") + body

    def json(self, start: str, body: object, **settings: str | None) -> bytes:
        """A request with a JSON body: bytes as they are, anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request(start, "Content-Type: application/json", body=content, **settings)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Hostile:
    """One hostile input: bytes to send, perhaps for ever (`drip`), and the statuses that are right."""

    kind: str
    name: str
    send: bytes
    statuses: frozenset[int] = REFUSED
    drip: bytes = b""
    answers: int = 1


def exchange(address: tuple[str, int], hostile: Hostile) -> bytes:
    """Send an input and read until the service closes the connection; it must, within `PATIENCE`."""
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        over = threading.Event()
        sender = threading.Thread(target=_send, args=(connection, hostile, over))
        sender.start()
        parts = []
        try:
            while part := connection.recv(65536):
                parts.append(part)
        except ConnectionError:
            pass
        finally:
            over.set()
            sender.join()
        return b"".join(parts)


def _send(connection: socket.socket, hostile: Hostile, over: threading.Event) -> None:
    try:
        connection.sendall(hostile.send)
        while hostile.drip and not over.wait(0.05):
            connection.sendall(hostile.drip)
    except OSError:
        pass  # the service has closed: what it said is what counts


def complaint(target: Target, hostile: Hostile) -> str | None:
    """What is wrong with the answer to an input; None if nothing got through."""
    try:
        answer = exchange(target.address, hostile)
    except TimeoutError:
        return "the connection stays open"
    statuses = [int(status) for status in STATUS.findall(answer)]
    if len(statuses) != hostile.answers:
        return f"{len(statuses)} answers: {answer[:200]!r}"
    if statuses[0] not in hostile.statuses:
        return f"status {statuses[0]}: {answer[-300:]!r}"
    seen = [leak for leak in (*LEAKS, target.secret) if leak in answer]
    if seen:
        return f"shows {seen}"
    head = answer.partition(b"\r\n\r\n")[0]
    if b"x-content-type-options: nosniff" not in head:
        return "has no security headers"
    if b"access-control-" in head or len(answer) > 2_000_000:
        return "grants CORS, or is very long"
    if statuses[0] >= 400 and b"application/problem+json" not in head:
        return f"is no problem: {answer[:300]!r}"
    if b"text/html" in head:
        return "is a page"
    return None
