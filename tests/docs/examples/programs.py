"""Runs the programs in docs/examples/pipelines as people start them, and a broker for those that listen to one."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from sal_runtime.errors import SalError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.store.crops import crops_folder

REPOSITORY = Path(__file__).parents[3]
PIPELINES = REPOSITORY / "docs" / "examples" / "pipelines"
MESSAGES = Path(__file__).parent / "messages"
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
needs_broker = pytest.mark.skipif(MOSQUITTO is None, reason="needs mosquitto (scripts/prepare_system.sh installs it)")
LONG = 60.0


def wait_until(happened: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + LONG
    while not happened():
        assert time.monotonic() < give_up_at, "it did not happen"
        time.sleep(0.05)


def environment() -> dict[str, str]:
    path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {name: value for name, value in os.environ.items() if name != "SAL_BUNDLE"} | {"PYTHONPATH": path}


@contextmanager
def running(program: str, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A program, which is killed at the end if it still runs."""
    command = [sys.executable, PIPELINES / program, *arguments]
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def stop(process: subprocess.Popen[str]) -> tuple[str, list[str]]:
    """What a program printed in all, and the lines of its log, when it was stopped with Ctrl-C."""
    process.send_signal(signal.SIGINT)
    printed, log = process.communicate(timeout=LONG)
    assert process.returncode == 0, log
    return printed, log.splitlines()


@contextmanager
def broker(folder: Path) -> Iterator[int]:
    """The port of an MQTT broker of our own."""
    assert MOSQUITTO is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = folder / "mosquitto.conf"
    settings.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n")
    process = subprocess.Popen([MOSQUITTO, "-c", settings], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port))
        yield port
    finally:
        process.terminate()
        process.wait()


@contextmanager
def publisher_for(folder: Path, program: str, topic: str) -> Iterator[tuple[Client, str]]:
    """A client that publishes, and the address of a broker that knows a program already, and keeps messages for it."""
    with broker(folder) as port:
        known = Client(CallbackAPIVersion.VERSION2, program, clean_session=False)
        subscribed = threading.Event()
        known.on_subscribe = lambda *_: subscribed.set()
        publisher = Client(CallbackAPIVersion.VERSION2)
        for client in (known, publisher):
            client.connect("127.0.0.1", port)
            client.loop_start()
        known.subscribe(topic, qos=1)
        assert subscribed.wait(LONG)
        known.disconnect()
        known.loop_stop()
        yield publisher, f"127.0.0.1:{port}"
        publisher.disconnect()
        publisher.loop_stop()


def publish(client: Client, topic: str, *messages: bytes) -> None:
    for message in messages:
        client.publish(topic, message, qos=1).wait_for_publish(LONG)


def answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def items_of(path: Path) -> list[GalleryItem]:
    """The items of a gallery; none while it does not exist yet."""
    with suppress(SalError), Gallery.open(path) as gallery:
        return list(gallery.all_items())
    return []


def pictures_of(path: Path) -> list[Path]:
    return sorted(crops_folder(path).rglob("*.jpg"))
