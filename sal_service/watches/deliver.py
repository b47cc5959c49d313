"""Delivers what watches tell, at least once, whatever happens to the process or to the other side.

A message stays in the outbox until its target has accepted it. A target that fails is tried again after 1, 2, 4, ...
seconds, up to an hour; then the message is dead, and counted. A target waits for no other: those of one host share a
worker, and hosts have one each.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sal_runtime.errors import ConfigError, SalError, first_line
from sal_runtime.version import __version__
from sal_service.watches.mqtt import Broker, BrokerSettings
from sal_service.watches.store import Delivery, State, WatchStore
from sal_service.watches.watch import MqttTarget, RefusedError, Target, UndeliveredError, check_topic
from sal_service.watches.webhook import Webhooks

SIGNATURE, MESSAGE = "X-Sal-Signature", "X-Sal-Message"
SHORTEST_SECRET = 32
LONGEST_PAUSE = 60.0
"""How long a host that does not answer is left alone at most, in seconds; its messages wait longer."""
MOST_DOUBLINGS = 30
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class DeliverySettings:
    """Where messages may go, and how long it is tried. Times are in seconds."""

    webhooks: tuple[str, ...] = ()
    """Hosts that messages may be posted to (`Webhooks`)."""
    broker: BrokerSettings | None = None
    """The broker that messages may be published to."""
    ca_file: Path | None = None
    """Certificates that https is trusted with; None takes the system's."""
    longest: float = 10.0
    """Longest time of a try."""
    first_wait: float = 1.0
    """Time before a message is tried for the second time; twice as long each time after that."""
    longest_wait: float = 3600.0
    """Longest time between two tries of a message."""
    most_tries: int = 30
    """Tries of a message, over about 18 hours; then it is dead."""
    give_up_after: float = 86400.0
    """Age of a message that has not arrived at which it is dead."""


class Deliverer:
    """Delivers in threads of its own until it is closed; a context manager.

    Args:
        store: the outbox.
        settings: where messages may go.
        secret: at least 32 bytes that the receivers know, too; signs each message.
        is_still_there: whether a gallery (its name) still has the image with a uri. A message whose image was removed
            is withdrawn.
        clock: seconds since 1970.

    Attributes:
        problem: the last that was not the fault of a target; empty if there was none.

    Raises:
        ConfigError: the secret is too short, or a setting is wrong.
    """

    def __init__(
        self,
        store: WatchStore,
        settings: DeliverySettings,
        secret: bytes,
        is_still_there: Callable[[str, str], bool],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if len(secret) < SHORTEST_SECRET:
            raise ConfigError(
                f"got a secret of {len(secret)} bytes to sign messages with, expected at least {SHORTEST_SECRET}",
                parameter="secret",
            )
        self._store, self._settings, self._secret = store, settings, secret
        self._is_still_there, self._clock = is_still_there, clock
        self._webhooks = Webhooks(settings.webhooks, settings.longest, settings.ca_file)
        self._broker = None if settings.broker is None else Broker(settings.broker, settings.longest)
        self.problem = ""
        self._failures: dict[str, int] = {}
        self._paused_until: dict[str, float] = {}
        self._busy: set[str] = set()
        self._sending: dict[str, tuple[str, str]] = {}
        self._turn = threading.Condition()
        self._closing = threading.Event()
        # one for each host, with and without TLS, one for the broker, and one for targets that are not listed any more
        self._workers = ThreadPoolExecutor(2 * len(settings.webhooks) + 2, thread_name_prefix="sal-deliver")
        self._thread = threading.Thread(target=self._run, name="sal-deliver", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End after the tries that are under way; what did not arrive stays in the outbox."""
        self._closing.set()
        self._store.wake()
        self._thread.join()
        self._workers.shutdown()
        if self._broker is not None:
            self._broker.close()

    def __enter__(self) -> Deliverer:
        """The deliverer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def wait_for(self, gallery: str, uris: Iterable[str]) -> None:
        """Wait until nothing is being sent of images that a gallery (its name) does not have any more."""
        gone = {(gallery, uri) for uri in uris}
        with self._turn:
            self._turn.wait_for(lambda: gone.isdisjoint(self._sending.values()), 2 * self._settings.longest)

    def check(self, target: Target) -> None:
        """Refuse a target that no message may go to; for watches that are made.

        Raises:
            RefusedError: it is one.
        """
        if not isinstance(target, MqttTarget):
            self._webhooks.check(target.url)
            return
        check_topic(target.topic)
        if self._broker is None:
            raise RefusedError("got a topic, but the policy names no MQTT broker", parameter="deliver")

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._start_lanes()
            except Exception as error:  # such as a full disk: it goes on when that is over
                self.problem = first_line(error)
            self._store.wait_for_messages(POLL_SECONDS)

    def _start_lanes(self) -> None:
        now = self._clock()
        self._store.give_up(now - self._settings.give_up_after)
        for lane in self._store.lanes_due(now):
            with self._turn:
                if lane in self._busy or self._paused_until.get(lane, now) > now:
                    continue
                self._busy.add(lane)
            self._workers.submit(self._deliver_lane, lane)

    def _deliver_lane(self, lane: str) -> None:
        try:
            while not self._closing.is_set():
                delivery = self._store.next_due(lane, self._clock())  # one by one: the next may be withdrawn meanwhile
                if delivery is None or not self._deliver(lane, delivery):
                    break
        except Exception as error:  # such as an outbox that cannot be written: what was sent is sent again
            self.problem = first_line(error)
            self._pause(lane)
        finally:
            with self._turn:
                self._busy.discard(lane)
            self._store.wake()

    def _deliver(self, lane: str, delivery: Delivery) -> bool:
        """Try once; False if nobody answered there, so that the next message can wait as well."""
        image = (delivery.message.gallery, delivery.message.uri)
        with self._turn:
            self._sending[lane] = image
        try:
            if not self._is_still_there(*image):
                self._store.settle(delivery, "withdrawn")
                return True
            self._send(delivery)
        except RefusedError as error:
            self._store.settle(delivery, "dead", first_line(error))
        except SalError as error:
            is_last = delivery.tries + 1 >= self._settings.most_tries
            wait = self._wait(delivery.tries, self._settings.longest_wait)
            state: State = "dead" if is_last else "waiting"
            self._store.settle(delivery, state, first_line(error), self._clock() + wait)
            if not (isinstance(error, UndeliveredError) and error.answered):
                self._pause(lane)
                return False
        else:
            self._store.settle(delivery, "delivered")
            with self._turn:
                self._failures.pop(lane, None)
        finally:
            with self._turn:
                del self._sending[lane]
                self._turn.notify_all()
        return True

    def _pause(self, lane: str) -> None:
        with self._turn:
            failures = self._failures[lane] = self._failures.get(lane, 0) + 1
            self._paused_until[lane] = self._clock() + self._wait(failures - 1, LONGEST_PAUSE)

    def _wait(self, failures: int, longest: float) -> float:
        """Seconds to wait after some failures before the last."""
        return min(self._settings.first_wait * 2.0 ** min(failures, MOST_DOUBLINGS), longest)

    def _send(self, delivery: Delivery) -> None:
        self.check(delivery.target)
        body = delivery.message.body()
        headers = {
            SIGNATURE: signature(self._secret, body, self._clock()),
            MESSAGE: delivery.message.id,
            "Content-Type": "application/json",
            "User-Agent": f"sal/{__version__}",
        }
        if not isinstance(delivery.target, MqttTarget):
            self._webhooks.post(delivery.target.url, body, headers)
        elif self._broker is not None:
            self._broker.publish(delivery.target.topic, body, headers)


def signature(secret: bytes, body: bytes, now: float) -> str:
    """The signature of a message: `t=SECONDS, v1=HMAC`, the HMAC-SHA256 of `SECONDS.BODY` in hexadecimal digits."""
    moment = str(int(now))
    return f"t={moment}, v1={hmac.new(secret, moment.encode() + b'.' + body, hashlib.sha256).hexdigest()}"
