"""What happens now, as server-sent events: to many clients, each at its own pace, from any thread.

A client that reads too slowly loses its oldest events and is told how many (`lost`); one that comes back with
`Last-Event-ID` gets what it missed, as far back as the ring goes.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from fastapi.sse import format_sse_event
from starlette.responses import Response, StreamingResponse

from sal_service.api.problems import too_busy

MEDIA_TYPE = "text/event-stream"
HEARTBEAT_SECONDS = 15.0
RING_EVENTS = 1000
QUEUE_EVENTS = 200
MOST_CLIENTS = 500
RETRY_MS = 2000


@dataclass(frozen=True)
class Event:
    """Something that happened; `roles` are those that may know, empty for all."""

    number: int
    kind: str
    data: str
    roles: frozenset[str]

    def is_for(self, roles: Collection[str]) -> bool:
        """Whether somebody with these roles may know."""
        return not self.roles or "admin" in roles or not self.roles.isdisjoint(roles)


class _Client:
    """The events that one client has yet to get; `lost` of its older ones are gone (None: nobody knows how many)."""

    def __init__(self, roles: Collection[str], length: int) -> None:
        self.roles = roles
        self.events: deque[Event] = deque()
        self.lost: int | None = 0
        self.wake = asyncio.Event()
        self.loop = asyncio.get_running_loop()
        self._length = length

    def add(self, event: Event) -> None:
        self.events.append(event)
        if len(self.events) > self._length:
            self.events.popleft()
            self.lost = None if self.lost is None else self.lost + 1

    def rouse(self) -> None:
        with suppress(RuntimeError):  # the loop has ended, and the client with it
            self.loop.call_soon_threadsafe(self.wake.set)


class EventHub:
    """Tells clients what happens.

    Args:
        ring: how many events are kept for clients that come back.
        queue: how many events wait for one client.
        heartbeat_seconds: how often a quiet stream says that it is alive.
    """

    def __init__(
        self, *, ring: int = RING_EVENTS, queue: int = QUEUE_EVENTS, heartbeat_seconds: float = HEARTBEAT_SECONDS
    ) -> None:
        self._ring: deque[Event] = deque(maxlen=ring)
        self._queue = queue
        self._heartbeat_seconds = heartbeat_seconds
        self._clients: set[_Client] = set()
        self._lock = threading.Lock()
        self._number = 0
        self._is_closed = False
        self._run = secrets.token_hex(4)

    def publish(self, kind: str, data: Mapping[str, Any], roles: Collection[str] = ()) -> None:
        """Tell all clients that may know; returns at once, whatever they do.

        Args:
            kind: one word, the name of the event.
            data: becomes JSON.
            roles: who may know, besides `admin`; none: everybody.
        """
        text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        with self._lock:
            self._number += 1
            event = Event(self._number, kind, text, frozenset(roles))
            self._ring.append(event)
            clients = [client for client in self._clients if event.is_for(client.roles)]
            for client in clients:
                client.add(event)
        for client in clients:
            client.rouse()

    def close(self) -> None:
        """End all streams, now; later ones end at once."""
        with self._lock:
            self._is_closed = True
            clients = list(self._clients)
        for client in clients:
            client.rouse()

    def num_clients(self) -> int:
        """How many clients listen."""
        return len(self._clients)

    def answer(
        self,
        roles: Collection[str],
        last_event_id: str | None = None,
        is_welcome: Callable[[], bool] = lambda: True,
    ) -> Response:
        """The answer to a client that wants to listen; see `stream`.

        Raises:
            RefusedError: 503, with as many clients as there may be.
        """
        if len(self._clients) >= MOST_CLIENTS:
            raise too_busy(f"{MOST_CLIENTS} clients listen already.")
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self.stream(roles, last_event_id, is_welcome), media_type=MEDIA_TYPE, headers=headers)

    async def stream(
        self,
        roles: Collection[str],
        last_event_id: str | None = None,
        is_welcome: Callable[[], bool] = lambda: True,
    ) -> AsyncIterator[bytes]:
        """The events of one client, as they go over the wire.

        Args:
            roles: of the client.
            last_event_id: the id of the last event that it got, on another connection.
            is_welcome: is asked at each heartbeat and before events; the stream ends when it says no.
        """
        client = self._join(roles, last_event_id)
        try:
            yield f"retry: {RETRY_MS}\n\n".encode()
            while not self._is_closed and is_welcome():
                client.wake.clear()
                waiting, lost = self._take(client)
                if lost != 0:
                    yield format_sse_event(event="lost", data_str=json.dumps({"events": lost}))
                for event in waiting:
                    yield format_sse_event(event=event.kind, data_str=event.data, id=f"{self._run}-{event.number}")
                if not waiting and lost == 0 and not await self._woken(client):
                    yield b": alive\n\n"
        finally:
            with self._lock:
                self._clients.discard(client)

    async def _woken(self, client: _Client) -> bool:
        try:
            await asyncio.wait_for(client.wake.wait(), self._heartbeat_seconds)
        except TimeoutError:
            return False
        return True

    def _join(self, roles: Collection[str], last_event_id: str | None) -> _Client:
        client = _Client(roles, self._queue)
        with self._lock:
            self._clients.add(client)
            if last_event_id:
                self._replay(client, last_event_id)
        return client

    def _replay(self, client: _Client, last_event_id: str) -> None:
        """Queue what a client missed; what the ring no longer has is lost, and all of a service that ran before."""
        run, _, number = last_event_id.partition("-")
        last = int(number) if number.isdecimal() and len(number) < 20 else -1
        if run != self._run or not 0 <= last <= self._number:
            client.lost = None
            return
        oldest = self._ring[0].number if self._ring else self._number + 1
        client.lost = max(0, oldest - last - 1)
        for event in self._ring:
            if event.number > last and event.is_for(client.roles):
                client.add(event)

    def _take(self, client: _Client) -> tuple[list[Event], int | None]:
        with self._lock:
            waiting, lost = list(client.events), client.lost
            client.events.clear()
            client.lost = 0
        return waiting, lost
