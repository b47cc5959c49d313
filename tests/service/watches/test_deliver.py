"""Messages arrive at least once, signed, whatever the other side does; those of removed images do not."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from sal_runtime.errors import ConfigError, SalError
from sal_service.watches import deliver
from sal_service.watches.deliver import Deliverer, DeliverySettings
from sal_service.watches.store import WatchStore
from sal_service.watches.watch import MqttTarget, RefusedError, WebhookTarget
from tests.docs.examples.programs import wait_until
from tests.service.watches.receiver import Receiver, accept, answer_with, outbox, receiver
from tests.service.watches.watched import LONG, NOON, SECRET, watch_for

DEAD = WebhookTarget("http://127.0.0.1:1/")
QUICK = {"first_wait": 0.005, "longest_wait": 0.02, "give_up_after": 1e12}


@pytest.fixture(autouse=True)
def _poll_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliver, "POLL_SECONDS", 0.01)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[WatchStore]:
    with WatchStore(tmp_path / "watches.db") as opened:
        yield opened


@contextmanager
def delivering(store: WatchStore, *hosts: str, there: Callable[[str, str], bool] = lambda *_: True, **changes: Any
               ) -> Iterator[Deliverer]:  # fmt: skip
    settings = DeliverySettings(webhooks=hosts, **{**QUICK, **changes})
    with Deliverer(store, settings, SECRET, there) as opened:
        yield opened


def ids(found: Receiver) -> list[str]:
    return [json.loads(body)["id"] for _, _, body in found.received]


def settled(store: WatchStore) -> bool:
    return store.counts().waiting == 0


def test_a_message_is_what_the_watch_told_and_its_signature_holds(store: WatchStore) -> None:
    with receiver() as found:
        (message,) = outbox(store, 1, WebhookTarget(found.url))
        with delivering(store, found.host):
            wait_until(lambda: settled(store))
    ((path, headers, body),) = found.received
    assert path == "/hook"
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Sal-Message"] == message.id
    assert body == message.body()
    moment, _, digest = headers["X-Sal-Signature"].partition(", v1=")
    seconds = moment.removeprefix("t=")
    assert hmac.new(SECRET, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest() == digest
    assert hmac.new(SECRET + b"x", f"{seconds}.".encode() + body, hashlib.sha256).hexdigest() != digest
    assert store.counts() == replace(store.counts(), waiting=0, delivered=1, dead=0, withdrawn=0)


def test_the_signature_of_a_known_message() -> None:
    """The digest is that of `printf '1700000000.{}' | openssl dgst -sha256 -hmac 'key'`."""
    digest = "9d713ed406bb7076d4123f0dc2c39d2df5c654ed4b0cd56b52c8b4c940bd63ae"
    assert deliver.signature(b"key", b"{}", 1_700_000_000.9) == f"t=1700000000, v1={digest}"


def test_messages_of_a_host_arrive_in_their_order(store: WatchStore) -> None:
    with receiver() as found:
        messages = outbox(store, 50, WebhookTarget(found.url))
        with delivering(store, found.host):
            wait_until(lambda: settled(store))
    assert ids(found) == [message.id for message in messages]


def test_a_target_that_fails_is_tried_again_until_it_accepts(store: WatchStore) -> None:
    """Each message fails three times, in another way each; the same bytes come each time."""
    ways = [answer_with(500), answer_with(302, Location="http://127.0.0.1:1/"), lambda handler: None]
    tries: dict[bytes, int] = {}

    def answer(handler: BaseHTTPRequestHandler) -> None:
        body = found.received[-1][2]
        tries[body] = tries.get(body, 0) + 1
        (ways[tries[body] - 1] if tries[body] <= 3 else accept)(handler)

    with receiver(answer) as found:
        messages = outbox(store, 5, WebhookTarget(found.url))
        with delivering(store, found.host):
            wait_until(lambda: settled(store))
    assert tries == {message.body(): 4 for message in messages}
    assert store.counts().delivered == 5


def test_waits_grow_to_a_limit_and_then_the_message_is_dead(store: WatchStore) -> None:
    now = [NOON]
    waits: list[float] = []
    settle = store.settle

    def watch_settle(*args: Any) -> None:
        if args[1] == "waiting":
            waits.append(args[3] - now[0])
        settle(*args)
        now[0] = args[3] if args[1] == "waiting" else now[0]

    store.settle = watch_settle  # type: ignore[method-assign,assignment]
    with receiver(answer_with(503)) as found:
        (message,) = outbox(store, 1, WebhookTarget(found.url))
        settings = DeliverySettings(webhooks=(found.host,), give_up_after=1e12)
        with Deliverer(store, settings, SECRET, lambda *_: True, clock=lambda: now[0]):
            wait_until(lambda: settled(store))
    assert waits == [min(2.0**number, 3600.0) for number in range(29)]
    assert 17 * 3600 < sum(waits) < 19 * 3600
    assert ids(found) == [message.id] * 30
    assert (store.counts().dead, store.counts().waiting) == (1, 0)
    assert store.problems(message.watch) == [f"{found.host}: did not accept it (status 503)"]


def test_a_message_that_is_too_old_is_dead(store: WatchStore) -> None:
    messages = outbox(store, 3, DEAD)
    with Deliverer(
        store, DeliverySettings(webhooks=("127.0.0.1:1",)), SECRET, lambda *_: True, clock=lambda: NOON + 86_401
    ):
        wait_until(lambda: settled(store))
    assert store.counts(messages[0].watch).dead == 3


def test_a_dead_host_holds_nobody_back(store: WatchStore) -> None:
    """One host is not there, one does not answer, and one is fine; the first two are tried for as long as this runs."""
    leave = threading.Event()
    with receiver(lambda _: leave.wait(LONG) and None) as silent, receiver() as fine:
        outbox(store, 100, WebhookTarget(silent.url), DEAD)
        messages = outbox(store, 100, WebhookTarget(fine.url))
        with delivering(store, silent.host, "127.0.0.1:1", fine.host, longest=LONG):
            wait_until(lambda: len(silent.received) == 1)
            wait_until(lambda: len(fine.received) == 100)
            leave.set()
    assert ids(fine) == [message.id for message in messages]


def test_an_address_that_refuses_does_not_hold_back_others_of_its_host(store: WatchStore) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        (accept if handler.path == "/good" else answer_with(404))(handler)

    with receiver(answer) as found:
        bad = outbox(store, 20, WebhookTarget(found.url + "/bad"))
        outbox(store, 20, WebhookTarget(f"http://{found.host}/good"))
        with delivering(store, found.host, first_wait=3600.0, longest_wait=3600.0):
            wait_until(lambda: store.counts().delivered == 20)
    assert store.counts(bad[0].watch).waiting == 20


def test_a_host_that_does_not_answer_is_left_alone_for_a_while(store: WatchStore) -> None:
    """The clock stands still, so the while does not end; another host shows that time passes."""
    with receiver(lambda _: None) as silent, receiver() as fine:
        outbox(store, 50, WebhookTarget(silent.url))
        outbox(store, 50, WebhookTarget(fine.url))
        settings = DeliverySettings(webhooks=(silent.host, fine.host))
        with Deliverer(store, settings, SECRET, lambda *_: True, clock=lambda: NOON):
            wait_until(lambda: len(silent.received) >= 1 and len(fine.received) == 50)
            outbox(store, 50, WebhookTarget(fine.url))
            wait_until(lambda: len(fine.received) == 100)
    assert len(silent.received) == 1


def test_a_host_that_never_answers_is_asked_for_years(store: WatchStore) -> None:
    """2,000 failures in a row, a minute apart: the waits do not grow beyond what a number holds."""
    now = [NOON]
    with receiver(lambda _: None) as silent:
        outbox(store, 1, WebhookTarget(silent.url))
        settings = DeliverySettings((silent.host,), most_tries=10_000, give_up_after=1e12)
        with Deliverer(store, settings, SECRET, lambda *_: True, clock=lambda: now[0]) as deliverer:
            lane = f"http://{silent.host}"
            wait_until(lambda: lane in deliverer._paused_until)  # the host has the message earlier
            deliverer._failures[lane] = 2000
            now[0] += 3600
            wait_until(lambda: deliverer._paused_until[lane] == now[0] + 60)
            assert deliverer.problem == ""


def test_a_host_that_does_not_answer_gets_everything_when_it_is_back(store: WatchStore) -> None:
    works = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if works.is_set():
            accept(handler)

    with receiver(answer) as found:
        messages = outbox(store, 40, WebhookTarget(found.url))
        with delivering(store, found.host):
            wait_until(lambda: len(found.received) >= 5)
            assert store.counts().delivered == 0
            works.set()
            wait_until(lambda: settled(store))
    assert set(ids(found)) == {message.id for message in messages}


def test_a_message_whose_image_was_removed_is_withdrawn(store: WatchStore) -> None:
    with receiver() as found:
        outbox(store, 10, WebhookTarget(found.url))
        asked: list[tuple[str, str]] = []

        def there(gallery: str, uri: str) -> bool:
            asked.append((gallery, uri))
            return int(uri[10:-4]) % 2 == 0

        with delivering(store, found.host, there=there):
            wait_until(lambda: settled(store))
    assert [json.loads(body)["uri"][10] for _, _, body in found.received] == list("02468")
    assert asked == [("yard", f"crop:door/{number}.jpg") for number in range(10)]
    assert (store.counts().delivered, store.counts().withdrawn) == (5, 5)


def test_an_image_that_is_removed_between_two_tries_is_told_of_no_more(store: WatchStore) -> None:
    gone = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        gone.set()
        answer_with(500)(handler)

    with receiver(answer) as found:
        outbox(store, 1, WebhookTarget(found.url))
        with delivering(store, found.host, there=lambda *_: not gone.is_set()):
            wait_until(lambda: settled(store))
    assert len(found.received) == 1
    assert store.counts().withdrawn == 1


def test_nothing_is_sent_while_it_is_not_known_whether_the_image_is_there(store: WatchStore) -> None:
    problems = [SalError("the gallery is locked"), ValueError("a fault of the service")]

    def there(gallery: str, uri: str) -> bool:
        if problems:
            raise problems.pop(0)
        return True

    with receiver() as found:
        outbox(store, 1, WebhookTarget(found.url))
        with delivering(store, found.host, there=there) as deliverer:
            wait_until(lambda: settled(store))
            assert deliverer.problem == "a fault of the service"
    assert len(found.received) == 1


def test_a_watch_that_is_removed_or_forgets_an_image_sends_nothing_more(store: WatchStore) -> None:
    leave = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        leave.wait(LONG)
        accept(handler)

    with receiver(answer) as found:
        first = outbox(store, 3, WebhookTarget(found.url))
        second = outbox(store, 3, WebhookTarget(found.url), gallery="garden")
        with delivering(store, found.host, longest=LONG):
            wait_until(lambda: len(found.received) == 1)
            store.forget_images("garden", ["crop:door/1.jpg"])
            store.remove(first[0].watch)
            leave.set()
            wait_until(lambda: settled(store))
    assert ids(found) == [first[0].id, second[0].id, second[2].id]


def test_nothing_is_sent_any_more_of_an_image_whose_removal_was_waited_for(store: WatchStore) -> None:
    sent, order = threading.Event(), list[str]()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        sent.set()
        removing.join(0.2)  # it cannot end before this is answered
        order.append("answered")
        accept(handler)

    with receiver(answer) as found, delivering(store, found.host, longest=LONG) as deliverer:

        def remove() -> None:
            assert sent.wait(LONG)
            deliverer.wait_for("yard", ["crop:door/0.jpg"])
            order.append("removed")

        removing = threading.Thread(target=remove)
        removing.start()
        outbox(store, 1, WebhookTarget(found.url))  # the answer waits for the thread
        removing.join(LONG)
        deliverer.wait_for("yard", ["crop:door/0.jpg"])
    assert order == ["answered", "removed"]


def test_a_target_that_may_not_be_sent_to_any_more_is_dead_at_once(store: WatchStore) -> None:
    """The policy changed after the watch was made."""
    with receiver() as found:
        messages = outbox(store, 2, WebhookTarget(found.url), WebhookTarget("http://[bad"), MqttTarget("sal/x"))
        with delivering(store):
            wait_until(lambda: settled(store))
    assert found.received == []
    assert store.counts().dead == 6
    assert len(store.problems(messages[0].watch)) == 3


def test_targets_are_checked_where_watches_are_made(store: WatchStore) -> None:
    with delivering(store, "alerts.example.org") as deliverer:
        deliverer.check(WebhookTarget("https://alerts.example.org/x"))
        for target in (WebhookTarget("https://evil.example/"), MqttTarget("sal/x"), MqttTarget("a/#")):
            with pytest.raises(RefusedError) as caught:
                deliverer.check(target)
            assert caught.value.parameter == "deliver"


@pytest.mark.parametrize("secret", [b"", b"short", b"x" * 31])
def test_a_short_secret_is_refused_and_not_told(secret: bytes, store: WatchStore) -> None:
    with pytest.raises(ConfigError) as caught:
        Deliverer(store, DeliverySettings(), secret, lambda *_: True)
    expected = f"got a secret of {len(secret)} bytes to sign messages with, expected at least 32"
    assert str(caught.value) == expected


def test_the_secret_and_addresses_are_in_no_text(store: WatchStore) -> None:
    """Addresses of webhooks may hold tokens: problems name the host only."""
    with receiver(answer_with(500)) as found:
        messages = outbox(store, 1, WebhookTarget(f"{found.url}/token-in-the-path?key=abc"))
        with delivering(store, found.host, most_tries=2) as deliverer:
            wait_until(lambda: settled(store))
            texts = [repr(deliverer), str(vars(deliverer)["_settings"]), deliverer.problem]
    assert store.problems(messages[0].watch) == [f"{found.host}: did not accept it (status 500)"]
    assert not any(SECRET.decode() in text or "token" in text for text in texts)
    assert SECRET not in (store.path.read_bytes() + found.received[0][2])


def test_an_outbox_that_cannot_be_written_sends_again(store: WatchStore) -> None:
    """At least once: the message is accepted, but that cannot be kept for a while."""
    other = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
    store._connection.execute("PRAGMA busy_timeout = 1")

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if len(found.received) == 1:
            other.execute("BEGIN IMMEDIATE")
        elif other.in_transaction:
            other.execute("ROLLBACK")
        accept(handler)

    with receiver(answer) as found:
        (message,) = outbox(store, 1, WebhookTarget(found.url))
        with delivering(store, found.host):
            wait_until(lambda: len(found.received) == 2)
            wait_until(lambda: settled(store))
    other.close()
    assert ids(found) == [message.id] * 2


def test_closing_keeps_what_waits(store: WatchStore, tmp_path: Path) -> None:
    messages = outbox(store, 3, DEAD)
    with delivering(store, "127.0.0.1:1"):
        pass
    store.close()
    with WatchStore(tmp_path / "watches.db") as opened:
        assert opened.counts(messages[0].watch).waiting == 3


def test_only_the_owner_may_read_the_file(store: WatchStore) -> None:
    store.add(watch_for())
    for path in store.path.parent.glob("watches.db*"):
        assert os.stat(path).st_mode & 0o077 == 0, path
