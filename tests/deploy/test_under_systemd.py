"""`sal serve` as systemd sees it: it says when it answers, and SIGTERM ends it in order."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
LONG = 120


def test_a_service_says_when_it_is_ready_and_stops_in_order(tmp_path: Path) -> None:
    environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "PYTHONPATH": str(REPOSITORY)}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(environment["NOTIFY_SOCKET"])
        listener.settimeout(LONG)
        command = [sys.executable, "-m", "sal_cli", "serve", "yard.sal", "--port", "0"]
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL) as process:
            try:
                assert listener.recv(100) == b"READY=1"
                process.send_signal(signal.SIGTERM)
                assert listener.recv(100) == b"STOPPING=1"
                assert process.wait(LONG) == 0
            finally:
                process.kill()
    assert not list(tmp_path.glob("yard.sal-*"))  # the gallery was closed: no lock, no log
