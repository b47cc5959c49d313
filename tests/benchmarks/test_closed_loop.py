"""Clients in a closed loop: each waits for its answer, and what fails is counted as what it was."""

from __future__ import annotations

import itertools
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.speed.closed_loop import Load, Served, ask_in_a_loop, post

ANSWERED: list[bytes] = []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        ANSWERED.append(body)
        if body == b"cut":
            self.close_connection = True
            return
        self.send_response(503 if body == b"busy" else 201)
        self.send_header("Content-Length", "3")
        self.end_headers()
        self.wfile.write(b"yes")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def service() -> Served:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    ANSWERED.clear()
    yield Served(server.server_address[1], os.getpid())
    server.shutdown()
    server.server_close()


def test_every_answer_and_every_failure_is_counted(service: Served) -> None:
    bodies = (b"good", b"busy", b"cut", b"good")
    requests = itertools.cycle([post("/v1", body, "text/plain") for body in bodies])
    load = ask_in_a_loop(service, requests, clients=3, seconds=0.5)
    assert len(load.latencies) == ANSWERED.count(b"good") > 0
    assert load.errors["503"] == ANSWERED.count(b"busy") > 0
    assert load.errors["IncompleteReadError"] == ANSWERED.count(b"cut") > 0
    assert set(load.errors) == {"503", "IncompleteReadError"}
    assert load.seconds >= 0.5


def test_percentiles_are_of_answers() -> None:
    load = Load(4, seconds=2.0, cpu_seconds=1.0, latencies=[0.001 * number for number in range(1, 101)])
    told = load.to_json()
    assert (told["per_second"], told["p50_ms"], told["p99_ms"], told["max_ms"]) == (50, 50, 99, 100)
    assert told["cpu_ms"] == 10
