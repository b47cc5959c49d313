"""Publishes messages to the broker that an operator named, with QoS 1: the broker says that it has each.

A message carries its headers as user properties of MQTT 5. Clients of MQTT 3 get it without them.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sal_runtime.errors import BackendError, ConfigError, install
from sal_service.watches.watch import UndeliveredError, check_topic

if TYPE_CHECKING:
    from paho.mqtt.client import Client

_ADDRESS = re.compile(r"(mqtts?://)?(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
PORTS = {False: 1883, True: 8883}


@dataclass(frozen=True)
class BrokerSettings:
    """A broker.

    Attributes:
        address: `HOST`, `HOST:PORT`, or with `mqtts://` in front for TLS.
        user: who signs in; None for nobody.
        password: of the user.
    """

    address: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)


class Broker:
    """A connection to a broker, made when there is something to publish; for one thread at a time.

    Args:
        settings: of the broker.
        seconds: longest time to connect, and for the answer to a message.

    Raises:
        ConfigError: the address is none.
        BackendError: paho-mqtt is not installed.
    """

    def __init__(self, settings: BrokerSettings, seconds: float) -> None:
        found = _ADDRESS.fullmatch(settings.address)
        self._tls = found is not None and found[1] == "mqtts://"
        self._port = int(found[3] or PORTS[self._tls]) if found else 0
        if found is None or not 0 < self._port < 1 << 16:
            raise ConfigError(
                f"got the broker {settings.address!r}, expected an address such as localhost:1883 or "
                "mqtts://broker.example.org",
                parameter="mqtt",
            )
        try:
            import paho.mqtt.client as paho
        except ImportError as error:
            raise BackendError(f"paho-mqtt is not installed, which MQTT needs; {install('serve')}") from error
        self._paho: Any = paho
        self._settings, self._seconds = settings, seconds
        self._host = found[2].strip("[]")
        self._client: Client | None = None
        self._answers: dict[int, str | None] = {}
        self._answered = threading.Condition()

    def publish(self, topic: str, body: bytes, headers: Mapping[str, str]) -> None:
        """Publish a message; returns when the broker has it.

        Raises:
            RefusedError: it is no topic to publish to.
            UndeliveredError: the broker did not take it.
        """
        check_topic(topic)
        properties = self._paho.Properties(self._paho.PacketTypes.PUBLISH)
        properties.UserProperty = list(headers.items())
        properties.ContentType = "application/json"
        try:
            if self._client is None or not self._client.is_connected():
                self._client = self._connect()
            number = self._client.publish(topic, body, qos=1, properties=properties).mid
        except (OSError, ValueError) as error:
            self.close()
            raise UndeliveredError(f"broker {self._host}:{self._port}: {error or type(error).__name__}") from error
        with self._answered:
            came = self._answered.wait_for(lambda: number in self._answers, self._seconds)
            problem = self._answers.pop(number, None) if came else "gave no answer in time"
        if not came:
            self.close()
        if problem is not None:
            raise UndeliveredError(f"broker {self._host}:{self._port}: {problem}", answered=came)

    def close(self) -> None:
        """Leave the broker."""
        client, self._client = self._client, None
        if client is not None:
            with suppress(OSError, ValueError):
                client.disconnect()
            client.loop_stop()

    def _connect(self) -> Client:
        self.close()
        client: Client = self._paho.Client(
            self._paho.CallbackAPIVersion.VERSION2, protocol=self._paho.MQTTv5, reconnect_on_failure=False
        )
        if self._settings.user is not None:
            client.username_pw_set(self._settings.user, self._settings.password)
        if self._tls:
            client.tls_set()
        client.connect_timeout = self._seconds
        self._answers.clear()
        client.on_publish = self._on_publish
        outcome: list[Any] = []
        connected = threading.Event()

        def on_connect(_: object, __: object, ___: object, code: Any, ____: object) -> None:
            outcome.append(code)
            connected.set()

        client.on_connect = on_connect
        client.connect(self._host, self._port)
        client.loop_start()
        if not connected.wait(self._seconds) or outcome[0].is_failure:
            client.loop_stop()
            raise ValueError(f"does not let us in: {outcome[0]}" if outcome else "gave no answer in time")
        return client

    def _on_publish(self, _: object, __: object, number: int, code: Any, ___: object) -> None:
        """Called in the thread of the client: the broker has a message, or does not take it."""
        with self._answered:
            self._answers[number] = f"does not take it: {code}" if code.is_failure else None
            self._answered.notify_all()
