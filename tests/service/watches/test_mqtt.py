"""Messages over a real broker: acknowledged, signed, kept while it is away, and refused where it refuses."""

from __future__ import annotations

import hashlib
import hmac
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from sal_runtime.errors import ConfigError
from sal_service.watches import deliver
from sal_service.watches.deliver import Deliverer, DeliverySettings
from sal_service.watches.mqtt import Broker, BrokerSettings
from sal_service.watches.store import WatchStore
from sal_service.watches.watch import MqttTarget, RefusedError, UndeliveredError, WebhookTarget
from tests.docs.examples.programs import MOSQUITTO, answers, needs_broker, wait_until
from tests.service.watches.receiver import outbox, receiver
from tests.service.watches.watched import LONG, SECRET

pytestmark = needs_broker


@pytest.fixture(autouse=True)
def _poll_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "POLL_SECONDS", 0.01)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[WatchStore]:
    with WatchStore(tmp_path / "watches.db") as opened:
        yield opened


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def broker(folder: Path, port: int, *settings: str) -> Iterator[None]:
    """A broker that keeps what it has acknowledged over a restart."""
    assert MOSQUITTO is not None
    (folder / "broker").mkdir(exist_ok=True)
    lines = [f"listener {port} 127.0.0.1", "user root", *(settings or ("allow_anonymous true",))]
    lines += ["persistence true", f"persistence_location {folder / 'broker'}/"]
    (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
    process = subprocess.Popen([MOSQUITTO, "-c", folder / "mosquitto.conf"], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port))
        yield
    finally:
        process.terminate()
        process.wait()


@contextmanager
def subscriber(port: int, topic: str, **known: Any) -> Iterator[list[MQTTMessage]]:
    """What arrives under a topic, by MQTT 5; the broker keeps messages for it while it is away."""
    received: list[MQTTMessage] = []
    subscribed = threading.Event()
    client = Client(CallbackAPIVersion.VERSION2, "receiver", protocol=MQTTv5)
    client.on_message = lambda _, __, message: received.append(message)
    client.on_subscribe = lambda *_: subscribed.set()
    if known:
        client.username_pw_set(**known)
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = 3600
    client.connect("127.0.0.1", port, clean_start=False, properties=session)
    client.loop_start()
    client.subscribe(topic, qos=1)
    assert subscribed.wait(LONG)
    try:
        yield received
    finally:
        client.disconnect()
        client.loop_stop()


@contextmanager
def delivering(store: WatchStore, port: int, *hosts: str, **known: Any) -> Iterator[Deliverer]:
    settings = DeliverySettings(
        hosts, BrokerSettings(f"127.0.0.1:{port}", **known), longest=5.0, first_wait=0.01, longest_wait=0.05,
        give_up_after=1e12,
    )  # fmt: skip
    with Deliverer(store, settings, SECRET, lambda *_: True) as opened:
        yield opened


def test_messages_arrive_in_their_order_with_a_signature_that_holds(store: WatchStore, tmp_path: Path) -> None:
    port = free_port()
    with broker(tmp_path, port), subscriber(port, "sal/watches/#") as received:
        messages = outbox(store, 50, MqttTarget("sal/watches/door"))
        with delivering(store, port) as deliverer:
            deliverer.check(MqttTarget("sal/watches/door"))
            wait_until(lambda: store.counts().delivered == 50)
        wait_until(lambda: len(received) == 50)
    assert [message.payload for message in received] == [message.body() for message in messages]
    for message, expected in zip(received, messages, strict=True):
        assert (message.topic, message.qos, message.retain) == ("sal/watches/door", 1, False)
        headers = dict(message.properties.UserProperty)
        assert headers["X-Sal-Message"] == expected.id
        moment, _, digest = headers["X-Sal-Signature"].removeprefix("t=").partition(", v1=")
        signed = moment.encode() + b"." + message.payload
        assert hmac.new(SECRET, signed, hashlib.sha256).hexdigest() == digest


def test_a_broker_that_is_away_gets_everything_when_it_is_back_and_holds_no_webhook_back(
    store: WatchStore, tmp_path: Path
) -> None:
    port = free_port()
    with broker(tmp_path, port), subscriber(port, "sal/a"):
        pass  # the broker knows it from now on
    with receiver() as found, delivering(store, port, found.host):
        messages = outbox(store, 20, MqttTarget("sal/a"), WebhookTarget(found.url))
        wait_until(lambda: len(found.received) == 20)
        assert store.counts().delivered == 20
        with broker(tmp_path, port), subscriber(port, "sal/a") as received:
            wait_until(lambda: store.counts().delivered == 40)
            wait_until(lambda: len(received) >= 20)
        more = outbox(store, 5, MqttTarget("sal/a"))
        with broker(tmp_path, port), subscriber(port, "sal/a") as later:
            wait_until(lambda: len({message.payload for message in later}) >= 5)
    assert {message.payload for message in received} == {message.body() for message in messages}
    assert {message.payload for message in later} >= {message.body() for message in more}


def test_what_the_broker_refuses_is_not_delivered(store: WatchStore, tmp_path: Path) -> None:
    """MQTT 3 would have dropped it without a word."""
    port = free_port()
    (tmp_path / "acl").write_text("topic readwrite sal/allowed\n")
    (tmp_path / "acl").chmod(0o600)
    with broker(tmp_path, port, "allow_anonymous true", f"acl_file {tmp_path / 'acl'}"), delivering(store, port):
        refused = outbox(store, 1, MqttTarget("sal/forbidden"))
        allowed = outbox(store, 1, MqttTarget("sal/allowed"))
        wait_until(lambda: store.counts(allowed[0].watch).delivered == 1)
        wait_until(lambda: store.problems(refused[0].watch) != [])
        assert store.counts(refused[0].watch).delivered == 0
    assert store.problems(refused[0].watch) == [f"broker 127.0.0.1:{port}: does not take it: Not authorized"]


def test_a_user_signs_in_and_a_wrong_password_delivers_nothing(store: WatchStore, tmp_path: Path) -> None:
    port = free_port()
    passwords = tmp_path / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", passwords, "sal", "right"], check=True, capture_output=True)
    with broker(tmp_path, port, "allow_anonymous false", f"password_file {passwords}"):
        (message,) = outbox(store, 1, MqttTarget("sal/a"))
        with delivering(store, port, user="sal", password="wrong"):
            wait_until(lambda: store.problems(message.watch) != [])
        assert store.counts().delivered == 0
        assert "does not let us in: Not authorized" in store.problems(message.watch)[0]
        with delivering(store, port, user="sal", password="right"):
            wait_until(lambda: store.counts().delivered == 1)


def test_a_broker_that_says_nothing_is_left(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = Broker(BrokerSettings(f"127.0.0.1:{server.getsockname()[1]}"), 0.2)
        with pytest.raises(UndeliveredError, match="gave no answer in time"):
            client.publish("sal/a", b"{}", {})


def test_a_topic_with_a_pattern_is_refused_before_anything_is_connected_to() -> None:
    client = Broker(BrokerSettings("127.0.0.1:1"), 0.2)
    with pytest.raises(RefusedError):
        client.publish("sal/#", b"{}", {})
    with pytest.raises(UndeliveredError, match="refused"):
        client.publish("sal/a", b"{}", {})


@pytest.mark.parametrize("address", ["", "a b", "http://a", "a:b", "a:1883/x", "user@a", "a\n", "a:0", "a:65536"])
def test_what_is_no_broker_is_an_error(address: str) -> None:
    with pytest.raises(ConfigError, match="got the broker"):
        Broker(BrokerSettings(address), 1.0)


def test_the_password_is_in_no_text() -> None:
    assert "hunter2" not in repr(BrokerSettings("a", "sal", "hunter2"))
    assert "hunter2" not in repr(DeliverySettings(broker=BrokerSettings("a", "sal", "hunter2")))
