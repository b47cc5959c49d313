"""Clients that drip, lie about lengths, never read: raw sockets against a real server."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sal_service.api.gate.http_protocol import DeadlineProtocol
from tests.service.api.small_app import bearer, make_app, serving


class Quick(DeadlineProtocol):
    head_seconds = 0.6
    request_seconds = 1.0
    write_seconds = 0.5
    linger_seconds = 0.3


TOKEN = "Authorization: " + bearer("admin")["Authorization"]
PATIENCE = 5.0
"""How long a test waits for a connection to end; each of them ends within the deadlines above."""


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with serving(make_app(), http=Quick, timeout_keep_alive=1) as found:
        yield found


def read_all(connection: socket.socket) -> bytes:
    connection.settimeout(PATIENCE)
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def ask(address: tuple[str, int], *parts: bytes, pause: float = 0.0) -> bytes:
    """Send some bytes, with pauses, and read until the server closes; a timeout is a failure."""
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        for part in parts:
            try:
                connection.sendall(part)
            except ConnectionError:
                break
            time.sleep(pause)
        return read_all(connection)


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def head(*lines: str, start: str = "POST /v1/galleries/door/crops HTTP/1.1") -> bytes:
    return "\r\n".join([start, "Host: localhost", TOKEN, *lines, "", ""]).encode()


def drip(address: tuple[str, int], beginning: bytes, piece: bytes) -> bytes:
    """Send a piece for ever, until the server has enough."""
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        connection.sendall(beginning)
        has_enough = threading.Event()

        def go_on() -> None:
            while not has_enough.wait(0.05):
                try:
                    connection.sendall(piece)
                except OSError:
                    return

        sender = threading.Thread(target=go_on)
        sender.start()
        try:
            return read_all(connection)
        finally:
            has_enough.set()
            sender.join()


@pytest.mark.parametrize(
    ("beginning", "piece"),
    [
        (b"", b"\r\n"),
        (b"", b"G"),
        (b"GET /healthz HTTP/1.1\r\n", b"X"),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n", b"X-A: b\r\n"),
        (b"GET /", b"a"),
    ],
    ids=["lines", "method", "name", "headers", "path"],
)
def test_dripped_headers_end(address: tuple[str, int], beginning: bytes, piece: bytes) -> None:
    answer = drip(address, beginning, piece)
    assert answer.startswith((b"HTTP/1.1 408 Request Timeout\r\n", b"HTTP/1.1 400 "))
    assert b"application/problem+json" in answer
    assert b"x-content-type-options: nosniff" in answer


@pytest.mark.parametrize(
    ("told", "piece"),
    [("Content-Length: 100000", b"x"), ("Transfer-Encoding: chunked", b"1\r\nx\r\n")],
    ids=["length", "chunked"],
)
def test_dripped_bodies_end(address: tuple[str, int], told: str, piece: bytes) -> None:
    answer = drip(address, head(told), piece)
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert len(statuses(answer)) == 1


def test_a_connection_that_says_nothing_ends(address: tuple[str, int]) -> None:
    assert ask(address).startswith(b"HTTP/1.1 408")


def test_a_body_that_never_comes_and_one_that_is_not_waited_for(address: tuple[str, int]) -> None:
    assert ask(address, head("Content-Length: 5")).startswith(b"HTTP/1.1 408")
    answer = drip(address, head("Content-Length: 50000", start="POST /v1/galleries/door/words HTTP/1.1"), b"x")
    assert answer.startswith(b"HTTP/1.1 405")


def test_a_request_in_pieces_and_two_in_one_packet_are_answered(address: tuple[str, int]) -> None:
    whole = head("Content-Length: 3") + b"abc"
    pieces = [whole[start : start + 20] for start in range(0, len(whole), 20)]
    answer = ask(address, *pieces, pause=0.01)
    assert answer.startswith(b"HTTP/1.1 201")
    assert answer.endswith(b'{"bytes":3}')
    answer = ask(address, whole + whole)
    assert statuses(answer).count(201) == 2


def test_a_second_request_on_a_connection_has_its_own_time(address: tuple[str, int]) -> None:
    whole = head("Content-Length: 3") + b"abc"
    answer = ask(address, *[whole] * 4, pause=0.35)
    assert statuses(answer).count(201) == 4
    answer = ask(address, whole, b"GET /healthz HTTP/1.1\r\nHo", pause=0.05)
    assert statuses(answer).count(201) == 1
    assert statuses(answer).count(408) == 1


def test_a_connection_at_rest_ends_quietly(address: tuple[str, int]) -> None:
    answer = ask(address, head("Content-Length: 3") + b"abc")
    assert len(statuses(answer)) == 1


@pytest.mark.parametrize(
    "beginning",
    [
        head("X-A: " + "a" * 40_000),
        head(*[f"X-{number}: a" for number in range(200)]),
        b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-A: " + b"a" * 200_000,
        b"G" * 200_000,
    ],
    ids=["one", "many", "path", "without end", "method"],
)
def test_headers_that_are_too_large_are_refused(address: tuple[str, int], beginning: bytes) -> None:
    assert ask(address, beginning).startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))


def test_extensions_and_trailers_have_a_bound(address: tuple[str, int]) -> None:
    chunked = head("Transfer-Encoding: chunked")
    for flood in (b"1;" + b"a" * 300_000, b"0\r\nX-A: " + b"a" * 300_000, b"0\r\n" + b"X-A: b\r\n" * 40_000):
        answer = ask(address, chunked, flood)
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 201")), answer[:100]
    answer = ask(address, chunked, b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n")
    assert answer.endswith(b'{"bytes":50000}')


def test_a_trailer_is_no_header(address: tuple[str, int]) -> None:
    start = "POST /v1/galleries/door/crops HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = ask(address, f"{start}1\r\nx\r\n0\r\n{TOKEN}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 401")


@pytest.mark.parametrize(
    "told",
    [
        ("Content-Length: 3", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 3"),
        ("Content-Length: 3", "Content-Length: 4"),
        ("Content-Length: -3",),
        ("Content-Length: 0x3",),
        ("Content-Length: 3 3",),
        ("Content-Length: 99999999999999999999999",),
        ("Transfer-Encoding: xchunked",),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding : chunked",),
        ("X-A: b\x00c",),
        ("X-A: b\rc",),
        ("X\x00: b",),
        (" folded: line",),
    ],
)
def test_what_another_server_may_read_otherwise_is_refused(address: tuple[str, int], told: tuple[str, ...]) -> None:
    smuggled = b"GET /v1/forgotten HTTP/1.1\r\nHost: localhost\r\n" + TOKEN.encode() + b"\r\n\r\n"
    answer = ask(address, head(*told) + b"abc" + smuggled)
    assert statuses(answer) == [400]


@pytest.mark.parametrize("pieces", [1, 400], ids=["in the buffer", "beyond it"])
def test_who_does_not_read_is_cut_off(pieces: int) -> None:
    gone = threading.Event()

    class Watched(Quick):
        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            gone.set()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(pieces):
            await send({"type": "http.response.body", "body": b"x" * 60_000, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    with serving(app, http=Watched, lifespan="off", timeout_keep_alive=1) as address, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(address)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert gone.wait(PATIENCE)


SLOW = b"GET /v1/slow?seconds=0.5 HTTP/1.1\r\nHost: localhost\r\n" + TOKEN.encode() + b"\r\n\r\n"


@pytest.mark.parametrize(
    "rest",
    [
        b"\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /",
        head("Content-Length: 5"),
        head("Transfer-Encoding: chunked") + b"zz\r\n",
    ],
    ids=["garbage", "version", "half", "no body", "bad chunk"],
)
def test_a_request_before_one_that_is_refused_is_answered_first(address: tuple[str, int], rest: bytes) -> None:
    for sent in ((SLOW + rest,), (SLOW, rest)):
        first, *others = statuses(ask(address, *sent, pause=0.05))
        assert first == 200
        assert others in ([], [400], [408])
    assert statuses(ask(address, SLOW + SLOW + rest))[:2] == [200, 200]


def test_garbage_behind_an_answer_gets_no_answer_of_its_own(address: tuple[str, int]) -> None:
    start = head("Transfer-Encoding: chunked", start="POST /v1/galleries/door/words HTTP/1.1")
    assert statuses(ask(address, start + b"1\r\nx\r\n", b"zz\r\n", pause=0.1)) == [405]


def test_there_are_only_so_many_connections() -> None:
    class Two(Quick):
        most_connections = 2

    with serving(make_app(), http=Two, timeout_keep_alive=1) as address:
        first, second = (socket.create_connection(address, timeout=PATIENCE) for _ in range(2))
        with first, second:
            first.sendall(b"GET /he")
            second.sendall(b"GET /he")
            refused = ask(address, head("Content-Length: 3") + b"abc")
            assert statuses(refused) == [503]
            assert b"application/problem+json" in refused
            read_all(first)
        assert statuses(ask(address, head("Content-Length: 3") + b"abc")) == [201]


def test_an_upgrade_is_not_taken(address: tuple[str, int]) -> None:
    for upgrade in ("websocket", "h2c"):
        lines = (f"Upgrade: {upgrade}", "Connection: Upgrade", "HTTP2-Settings: AAMAAABkAAQAAP__")
        answer = ask(address, head(*lines, start="GET /healthz HTTP/1.1") + b"\x00\x01\x02", pause=0.1)
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 400"))
        assert b" 101 " not in answer
