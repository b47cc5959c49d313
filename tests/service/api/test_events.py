"""Server-sent events: order, slow clients, coming back, roles, the end."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI, Header

from sal_service.api.events import EventHub
from sal_service.api.gate.http_protocol import DeadlineProtocol, Server
from sal_service.api.problems import RefusedError
from tests.service.api.small_app import serving


def parse(piece: bytes) -> dict[str, Any]:
    """One event by hand, as the standard says."""
    fields = dict(line.split(": ", 1) for line in piece.decode().strip().split("\n"))
    return {**fields, "data": json.loads(fields["data"])} if "data" in fields else fields


async def read(stream: AsyncIterator[bytes], number: int) -> list[dict[str, Any]]:
    return [parse(await asyncio.wait_for(anext(stream), 5)) for _ in range(number)]


def test_events_come_in_order_with_ids_and_only_to_whom_they_concern() -> None:
    async def scenario() -> None:
        hub = EventHub()
        searcher, admin = hub.stream({"search"}), hub.stream({"admin"})
        assert await read(searcher, 1) == await read(admin, 1) == [{"retry": "2000"}]
        hub.publish("kept", {"uri": "crop:ä\n.jpg"}, {"search"})
        hub.publish("watch", {"id": 1}, {"admin"})
        hub.publish("camera", {"name": "door"})
        first, second = await read(searcher, 2)
        assert (first["event"], first["data"]) == ("kept", {"uri": "crop:ä\n.jpg"})
        assert second["event"] == "camera"
        assert [event["event"] for event in await read(admin, 3)] == ["kept", "watch", "camera"]
        assert [first["id"].split("-")[1], second["id"].split("-")[1]] == ["1", "3"]

    asyncio.run(scenario())


def test_a_slow_client_loses_its_oldest_events_and_is_told_how_many() -> None:
    async def scenario() -> None:
        hub = EventHub(queue=10)
        stream = hub.stream({"search"})
        await read(stream, 1)
        for number in range(25):
            hub.publish("kept", {"n": number})
        lost, *rest = await read(stream, 11)
        assert (lost["event"], lost["data"]) == ("lost", {"events": 15})
        assert [event["data"]["n"] for event in rest] == list(range(15, 25))

    asyncio.run(scenario())


def test_who_comes_back_gets_what_it_missed() -> None:
    async def scenario() -> None:
        hub = EventHub(ring=20)
        stream = hub.stream({"search"})
        await read(stream, 1)
        for number in range(5):
            hub.publish("kept", {"n": number})
        last = (await read(stream, 5))[1]["id"]
        await stream.aclose()
        hub.publish("watch", {}, {"admin"})
        hub.publish("kept", {"n": 5})

        again = hub.stream({"search"}, last)
        assert [event.get("data") for event in await read(again, 5)][1:] == [{"n": n} for n in (2, 3, 4, 5)]
        for number in range(6, 46):
            hub.publish("kept", {"n": number})
        late = hub.stream({"search"}, last)
        _, lost, *rest = await read(late, 22)
        assert lost["data"] == {"events": 25}
        assert [event["data"]["n"] for event in rest] == list(range(26, 46))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "last", ["00000000-3", "-", "x", "3", "\x00", "1" * 1000, "{run}-99", "{run}--1", "{run}-\u0663"]
)
def test_an_id_of_another_run_or_of_nobody_means_read_all_anew(last: str) -> None:
    async def scenario() -> None:
        hub = EventHub()
        hub.publish("kept", {"n": 1})
        own = hub.stream({"search"})
        await read(own, 1)
        hub.publish("kept", {"n": 2})
        run = (await read(own, 1))[0]["id"].split("-")[0]
        stream = hub.stream({"search"}, last.replace("{run}", run))
        _, lost = await read(stream, 2)
        assert (lost["event"], lost["data"]) == ("lost", {"events": None})
        hub.publish("kept", {"n": 3})
        assert (await read(stream, 1))[0]["data"] == {"n": 3}

    asyncio.run(scenario())


def test_a_quiet_stream_says_that_it_is_alive_and_ends_with_its_welcome() -> None:
    async def scenario() -> None:
        welcome = [True, True, True, False]
        hub = EventHub(heartbeat_seconds=0.01)
        pieces = [piece async for piece in hub.stream({"search"}, is_welcome=lambda: welcome.pop(0))]
        assert pieces == [b"retry: 2000\n\n"] + [b": alive\n\n"] * 3
        assert hub.num_clients() == 0

    asyncio.run(scenario())


def test_many_threads_tell_and_nothing_is_lost() -> None:
    async def scenario() -> None:
        hub = EventHub(queue=10_000)
        stream = hub.stream({"search"})
        await read(stream, 1)

        def tell(thread: int) -> None:
            for number in range(250):
                hub.publish("kept", {"thread": thread, "n": number})

        threads = [threading.Thread(target=tell, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        found = await read(stream, 1000)
        for thread in range(4):
            assert [event["data"]["n"] for event in found if event["data"]["thread"] == thread] == list(range(250))
        assert len({event["id"] for event in found}) == 1000

    asyncio.run(scenario())


def test_what_is_no_json_is_refused_before_anybody_hears_of_it() -> None:
    hub = EventHub()
    with pytest.raises(ValueError, match="JSON"):
        hub.publish("kept", {"likelihood": float("nan")})


def events_app(hub: EventHub) -> FastAPI:
    router = APIRouter()

    @router.get("/v1/events")
    async def events(last_event_id: Annotated[str | None, Header()] = None) -> Any:
        return hub.answer({"search"}, last_event_id)

    app = FastAPI()
    app.include_router(router)
    return app


def test_over_a_socket_and_at_shutdown_streams_end_at_once() -> None:
    hub = EventHub()

    class Ours(Server):
        def __init__(self, config: Any) -> None:
            super().__init__(config, hub.close)

    with serving(events_app(hub), Ours, http=DeadlineProtocol) as address:
        connections = [socket.create_connection(address, timeout=5) for _ in range(20)]
        files = []
        for connection in connections:
            connection.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            files.append(connection.makefile("rb"))
        for file in files:
            while file.readline() != b"retry: 2000\n":
                pass
        hub.publish("kept", {"n": 1})
        for file in files:
            while not (line := file.readline()).startswith(b"data:"):
                pass
            assert json.loads(line[5:]) == {"n": 1}
        connections[0].close()
        files[0].close()
    for file, connection in zip(files[1:], connections[1:], strict=True):
        assert file.read().endswith(b"0\r\n\r\n")
        connection.close()
    assert hub.num_clients() == 0


def test_who_leaves_is_forgotten_and_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sal_service.api.events.MOST_CLIENTS", 1)

    async def scenario() -> None:
        hub = EventHub()
        hub.answer({"search"})
        stream = hub.stream({"search"})
        await read(stream, 1)
        with pytest.raises(RefusedError) as refused:
            hub.answer({"search"})
        assert refused.value.status_code == 503
        await stream.aclose()
        hub.answer({"search"})

    asyncio.run(scenario())
