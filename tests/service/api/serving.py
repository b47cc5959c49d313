"""An app on a loopback port of its own, in a thread."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from sal_service.api.gate.http_protocol import DeadlineProtocol, Server


@contextmanager
def served_app(app: FastAPI) -> Iterator[str]:
    """The address of an app that is served as `sal serve` serves it."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=DeadlineProtocol, lifespan="off", log_config=None, access_log=False)
    server = Server(config, app.state.service.hub.close)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listening.close()
