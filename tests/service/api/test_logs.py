"""One JSON line a request, and nothing in it that was asked."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from sal_service.api.logs import Answered, JsonLines, Observe, log_as_json
from tests.service.api.small_app import TOKENS, Clock, bearer, make_app


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    before = logging.root.handlers[:], logging.root.level
    stream = io.StringIO()
    log_as_json(logging.DEBUG, stream)
    for name in ("httpx", "httpx2", "httpcore", "httpcore2", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    yield stream
    logging.root.handlers[:], logging.root.level = before


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_request_is_a_line_with_its_route_and_without_its_words(written: io.StringIO) -> None:
    client = TestClient(make_app(hosts=("testserver",)), headers=bearer("search"))
    answer = client.post("/v1/galleries/door/search?secret=1", json={"description": "a man in a secret coat"})
    (line,) = lines(written)
    assert {name: line[name] for name in ("level", "event", "method", "route", "status", "principal")} == {
        "level": "info",
        "event": "request",
        "method": "POST",
        "route": "/v1/galleries/{gallery}/search",
        "status": 200,
        "principal": "the search",
    }
    assert line["request"] == answer.headers["x-request-id"]
    assert line["ms"] >= 0
    assert line["time"].endswith("Z")
    text = written.getvalue()
    assert "secret" not in text
    assert TOKENS["search"] not in text
    assert "address" not in line


@pytest.mark.parametrize(
    ("method", "path", "status", "route"),
    [
        ("GET", "/v1/nowhere%1b[31m%0d%0aX: y", 404, "none"),
        ("GET", "/v1/galleries/door/crops/secret/a.jpg", 200, "/v1/galleries/{gallery}/crops/{path}"),
        ("PATCH", "/v1/galleries/door/words", 405, "/v1/galleries/{gallery}/words"),
        ("GET", "/v1/session?token=secret", 400, "none"),
    ],
)
def test_what_a_client_made_up_is_no_route(
    written: io.StringIO, method: str, path: str, status: int, route: str
) -> None:
    client = TestClient(make_app(hosts=("testserver",)), headers=bearer("search"))
    client.request(method, path)
    (line,) = lines(written)
    assert (line["status"], line["route"]) == (status, route)
    assert "secret" not in written.getvalue()


def test_refusals_name_the_address_and_probes_are_quiet(written: io.StringIO) -> None:
    client = TestClient(make_app(hosts=("testserver",)), client=("203.0.113.9", 4))
    client.get("/v1/galleries/door/words")
    client.get("/healthz")
    refused, probe = lines(written)
    assert (refused["status"], refused["address"], refused["principal"]) == (401, "203.0.113.9", None)
    assert (probe["level"], probe["route"]) == ("debug", "/healthz")


def test_a_failure_has_its_traceback_under_the_same_id(written: io.StringIO) -> None:
    client = TestClient(make_app(hosts=("testserver",)), headers=bearer("search"))
    answer = client.get("/v1/fails/unknown")
    failure, request = lines(written)
    assert failure["request"] == request["request"] == answer.headers["x-request-id"]
    assert request["request"] in answer.json()["detail"]
    assert "KeyError" in failure["traceback"]
    assert request["status"] == 500


def test_a_line_is_one_line_of_ascii_whatever_it_says() -> None:
    record = logging.makeLogRecord(
        {"name": "uvicorn.error", "levelname": "ERROR", "msg": "a\nb %s", "args": ("\x1b[2J\u2028ä",), "what": {1, 2}}
    )
    line = JsonLines().format(record)
    assert "\n" not in line
    assert line.isascii()
    assert json.loads(line)["event"] == "a\nb \x1b[2J\u2028ä"
    assert json.loads(line)["logger"] == "uvicorn.error"


def test_times_are_told_apart_and_a_client_that_left_has_status_0() -> None:
    clock = Clock(0.0)
    told: list[Answered] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        clock.now += 1.5
        if scope["path"] == "/left":
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        clock.now += 2.5
        await send({"type": "http.response.body", "body": b""})

    async def send(message: Any) -> None: ...

    observed = Observe(app, [told.append], clock)
    for path in ("/", "/left"):
        asyncio.run(observed({"type": "http", "method": "BREW", "path": path}, None, send))  # type: ignore[arg-type]
    assert [(answered.status, answered.seconds, answered.seconds_in_all) for answered in told] == [
        (200, 1.5, 4.0),
        (0, 1.5, 1.5),
    ]
    assert told[0].method == "other"
