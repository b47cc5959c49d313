"""How often, how large, how long, how many: through a router, as the routes of the service are."""

from __future__ import annotations

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from sal_runtime.errors import ConfigError
from sal_service.api.gate.limits import LANES, BodyLimit, Deadline, Lane, Lanes, lanes_of_policy
from sal_service.api.gate.windows import Window
from sal_service.api.problems import Faults
from tests.service.api.small_app import Clock, bearer, make_app, serving

WORDS = "/v1/galleries/door/words"


def test_a_window_moves_and_tells_exactly_how_long_to_wait() -> None:
    clock = Clock(0.0)
    window = Window(3, 10.0, clock=clock)
    waits = []
    for clock.now in (0.0, 1.0, 4.0, 5.0, 9.5, 10.0, 10.5, 11.0, 14.0):
        waits.append(window.take("a"))
    assert waits == [0, 0, 0, 5.0, 0.5, 0, 0.5, 0, 0]
    assert window.take("b") == 0


def test_a_window_forgets_who_is_quiet_and_never_grows_beyond_its_bound() -> None:
    clock = Clock(0.0)
    window = Window(2, 1.0, clock=clock, most_keys=50)
    for n in range(1000):
        window.take(f"address {n}")
    assert window.num_keys() <= 50
    clock.now = 2.0
    for _ in range(50):
        window.take("one")
    assert window.num_keys() == 1


def test_threads_together_take_no_more_than_there_is() -> None:
    """The order of the threads does not matter; a window without a lock gives too many, or breaks."""
    window = Window(1000, 60.0, clock=Clock(0.0), most_keys=4)
    with ThreadPoolExecutor(8) as pool:
        waits = list(pool.map(lambda number: window.take(f"key {number % 2}"), range(8000)))
    assert waits.count(0) == 2000


@pytest.mark.parametrize(
    ("asked", "lane"),
    [
        ("POST /v1/session", "session"),
        ("GET /v1/session", "other"),
        ("POST /v1/galleries/door/search", "search"),
        ("POST /v1/galleries/door/search/image", "image-search"),
        ("POST /v1/galleries/door/crops", "add"),
        ("POST /v1/galleries/door/crops/batch", "add-batch"),
        ("GET /v1/galleries/door/crops/a/b.jpg", "crops"),
        ("POST /v1/galleries/door/search\n", "other"),
        ("POST /v1/galleries/a/b/search", "other"),
        ("GET /v1/events", "events"),
        ("GET /healthz", "probes"),
        ("BREW /\n\n", "other"),
    ],
)
def test_each_request_has_its_lane(asked: str, lane: str) -> None:
    method, _, path = asked.partition(" ")
    assert Lanes().of({"method": method, "path": path}).name == lane


def test_a_rate_limits_routes_behind_a_router_by_name() -> None:
    clock = Clock()
    client = TestClient(make_app(clock=clock, hosts=("testserver",)))
    most = LANES[-1].times

    def statuses(role: str, times: int) -> list[int]:
        return [client.get(WORDS, headers=bearer(role)).status_code for _ in range(times)]

    assert statuses("search", most + 2) == [200] * most + [429] * 2
    assert statuses("admin", 1) == [200]
    answer = client.get(WORDS, headers=bearer("search"))
    assert (answer.headers["retry-after"], answer.json()["status"]) == ("1", 429)
    clock.now += 1
    assert statuses("search", 1) == [200]


def test_strangers_are_limited_by_address() -> None:
    app = make_app(hosts=("testserver",))
    first, second = (TestClient(app, client=(f"10.0.0.{n}", 1)) for n in (1, 2))
    assert [first.get("/healthz").status_code for _ in range(51)] == [200] * 50 + [429]
    assert second.get("/healthz").status_code == 200


def test_a_policy_states_how_often_each_kind_may_be_asked() -> None:
    lanes = lanes_of_policy({"search": 3, "add-batch": 7})
    assert {lane.name: lane.times for lane in lanes} == {lane.name: lane.times for lane in LANES} | {
        "search": 3,
        "add-batch": 7,
    }
    client = TestClient(make_app(lanes=tuple(lanes), clock=Clock(), hosts=("testserver",)), headers=bearer("search"))
    search = "/v1/galleries/door/search"
    assert [client.post(search, json={"description": "hat"}).status_code for _ in range(4)] == [200] * 3 + [429]
    assert client.get(WORDS).status_code == 200
    with pytest.raises(ConfigError, match="'serach', which is no kind of requests; there is session, events"):
        lanes_of_policy({"serach": 3})


def small_lanes(**changes: Any) -> tuple[Lane, ...]:
    return (Lane("all", r"(?s:.*)", **{"times": 1_000_000, "body_bytes": 1000, **changes}),)


@pytest.mark.parametrize(("size", "status"), [(1000, 201), (1001, 413)])
@pytest.mark.parametrize("is_told", [True, False])
def test_a_body_is_as_large_as_its_lane_allows(size: int, status: int, is_told: bool) -> None:
    client = TestClient(make_app(lanes=small_lanes(), hosts=("testserver",)), headers=bearer("ingest"))
    parts = (b"x" * 100 for _ in range(size // 100))
    content = b"x" * size if is_told else (part for part in [*parts, b"x" * (size % 100)])
    answer = client.post("/v1/galleries/door/crops", content=content)
    assert answer.status_code == status
    if status == 413:
        assert "at most 1,000 bytes" in answer.json()["detail"]


def test_a_json_body_that_is_too_large_is_413_and_not_400() -> None:
    client = TestClient(make_app(lanes=small_lanes(), hosts=("testserver",)), headers=bearer("search"))
    parts = iter([b'{"description": "', b"x" * 2000, b'"}'])
    headers = {"content-type": "application/json"}
    assert client.post("/v1/galleries/door/search", content=parts, headers=headers).status_code == 413


def test_a_body_without_end_is_read_no_further_than_it_may_be() -> None:
    """The middleware itself: the app would read for ever."""
    came = 0

    async def receive() -> dict[str, Any]:
        nonlocal came
        came += 100
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while True:
            try:
                await receive()
            except Exception as error:  # an app that hides the refusal in an error of its own
                raise ValueError("no form") from error

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    asyncio.run(BodyLimit(app, Lanes(small_lanes()))(scope, receive, send))
    assert sent[0]["status"] == 413
    assert came == 1100


@pytest.mark.parametrize("route", ["slow", "stuck"])
def test_an_answer_that_takes_too_long_is_503_at_once_and_keeps_its_place(route: str) -> None:
    """`stuck` blocks a thread, which cannot be cut short."""
    app = make_app(lanes=small_lanes(seconds=0.1, at_once=1))
    with serving(app) as (host, port):

        def ask(path: str) -> bytes:
            with socket.create_connection((host, port), timeout=10) as connection:
                lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close"]
                lines += [f"{name}: {value}" for name, value in bearer("search").items()]
                connection.sendall("\r\n".join([*lines, "", ""]).encode())
                return b"".join(iter(lambda: connection.recv(65536), b""))

        answer = ask(f"/v1/{route}?seconds=0.5")
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"no answer within 0.1 s" in answer
        full = ask(f"/v1/{route}?seconds=0")
        assert full.startswith(b"HTTP/1.1 503")
        assert b"are being answered" in full
        while b"HTTP/1.1 200" not in ask(f"/v1/{route}?seconds=0"):
            time.sleep(0.02)


def test_what_an_answer_raises_goes_through() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("x")

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    limited = Deadline(app, Lanes(small_lanes()))
    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    asyncio.run(Faults(limited)(scope, None, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 500
    assert limited.running() == {"all": 0}
