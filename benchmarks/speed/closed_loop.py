"""Clients of a service that each send a request as soon as the one before is answered, and what they saw."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ANSWER_SECONDS = 60.0
LARGEST_HEAD = 1 << 16


@dataclass(frozen=True)
class Served:
    """A service on this machine: its port and its process."""

    port: int
    process: int

    def cpu_seconds(self) -> float:
        """Processor time that it has taken, of all its threads; from /proc, so on Linux only."""
        fields = Path(f"/proc/{self.process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Load:
    """What clients saw.

    Attributes:
        clients: how many there were.
        seconds: how long they asked.
        cpu_seconds: processor time that the service took.
        latencies: seconds of each answer that was one.
        errors: number of answers and connections that failed, by status or kind.
    """

    clients: int
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def to_json(self) -> dict[str, Any]:
        """For a result file."""
        percentiles = np.percentile(self.latencies or [np.nan], [50, 99, 100], method="inverted_cdf") * 1000
        return {
            "clients": self.clients,
            "seconds": round(self.seconds, 2),
            "answers": len(self.latencies),
            "errors": dict(self.errors),
            "per_second": round(self.rate, 2),
            "cpu_ms": round(1000 * self.cpu_seconds / max(1, len(self.latencies)), 2),
            **{name: round(float(ms), 2) for name, ms in zip(("p50_ms", "p99_ms", "max_ms"), percentiles, strict=True)},
        }


def post(path: str, body: bytes, media_type: str) -> bytes:
    """A request, as it is sent."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def ask_in_a_loop(service: Served, requests: Iterator[bytes], clients: int, seconds: float) -> Load:
    """Let clients ask a service on this machine, each on a connection of its own.

    Args:
        service: that is asked.
        requests: without end; the clients share them.
        clients: how many.
        seconds: how long; what is being asked then is still answered.
    """
    begun = service.cpu_seconds()
    load = asyncio.run(_ask_in_a_loop(service.port, requests, clients, seconds))
    load.cpu_seconds = service.cpu_seconds() - begun
    return load


async def _ask_in_a_loop(port: int, requests: Iterator[bytes], clients: int, seconds: float) -> Load:
    load = Load(clients)
    begun = time.perf_counter()
    await asyncio.gather(*(_client(port, requests, begun + seconds, load) for _ in range(clients)))
    load.seconds = time.perf_counter() - begun
    return load


async def _client(port: int, requests: Iterator[bytes], until: float, load: Load) -> None:
    while time.perf_counter() < until:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=LARGEST_HEAD)
            while time.perf_counter() < until:
                request = next(requests)
                begun = time.perf_counter()
                writer.write(request)
                status = await asyncio.wait_for(_read_answer(reader), ANSWER_SECONDS)
                if 200 <= status < 300:
                    load.latencies.append(time.perf_counter() - begun)
                else:
                    load.errors[str(status)] += 1
            writer.close()
        except (OSError, EOFError, TimeoutError) as error:
            load.errors[type(error).__name__] += 1
            await asyncio.sleep(0.1)


async def _read_answer(reader: asyncio.StreamReader) -> int:
    """The status of the next answer, of which all is read."""
    lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
    (length,) = [line.partition(b":")[2] for line in lines if line.startswith(b"content-length:")]
    await reader.readexactly(int(length))
    return int(lines[0].split()[1])
