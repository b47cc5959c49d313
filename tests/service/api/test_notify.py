"""What systemd hears of the service, on sockets as it makes them."""

from __future__ import annotations

import socket
import uuid
from pathlib import Path

import pytest

from sal_service.api.notify import notify


@pytest.mark.parametrize("kind", ["file", "abstract"])
def test_a_listener_hears_each_state(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"sal-{uuid.uuid4()}"
    address = str(tmp_path / "notify") if kind == "file" else f"\0{name}"
    monkeypatch.setenv("NOTIFY_SOCKET", address if kind == "file" else f"@{name}")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        assert notify("READY=1")
        assert notify("STOPPING=1")
        assert [listener.recv(100), listener.recv(100)] == [b"READY=1", b"STOPPING=1"]


@pytest.mark.parametrize("address", [None, "", "/nowhere/notify", "@nobody-listens-here"])
def test_without_a_listener_nothing_happens(address: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    assert not notify("READY=1")
