"""What docs/watches.md says is so: the program that verifies a signature, the messages, the numbers."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.query.language import parse_query
from sal_service.api.models import WatchMessage, WatchRequest
from sal_service.watches.board import LONGEST_SECONDS, MOST_WATCHES, QUIET_SECONDS, SAME_TRACK_SECONDS
from sal_service.watches.deliver import SIGNATURE, Deliverer, DeliverySettings, signature
from sal_service.watches.store import WatchStore
from sal_service.watches.watch import MOST_TARGETS, WebhookTarget
from tests.docs.examples.programs import wait_until
from tests.docs.printed import REPOSITORY, blocks_of
from tests.service.watches.receiver import outbox, receiver
from tests.service.watches.test_watch import MESSAGE
from tests.service.watches.watched import DAY, SECRET

PAGE = REPOSITORY / "docs" / "watches.md"
TEXT = " ".join(PAGE.read_text(encoding="utf-8").split())


(PROGRAM,) = [block.text for block in blocks_of(PAGE) if block.language == "python"]
REQUEST, SHOWN = [block.text for block in blocks_of(PAGE) if block.language == "json"]


@pytest.fixture(scope="module")
def is_genuine() -> Any:
    program: dict[str, Any] = {}
    exec(PROGRAM, program)
    return program["is_genuine"]


def test_the_program_takes_a_message_that_was_delivered(is_genuine: Any, tmp_path: Path) -> None:
    with receiver() as found, WatchStore(tmp_path / "watches.db") as store:
        outbox(store, 1, WebhookTarget(found.url))
        settings = DeliverySettings(webhooks=(found.host,), give_up_after=1e12)
        with Deliverer(store, settings, SECRET, lambda *_: True):
            wait_until(lambda: store.counts().delivered == 1)
    ((_, headers, body),) = found.received
    assert is_genuine(headers[SIGNATURE], body, SECRET)
    assert not is_genuine(headers[SIGNATURE], body + b" ", SECRET)
    assert not is_genuine(headers[SIGNATURE], body, SECRET[:-1])


def test_the_program_refuses_everything_else(is_genuine: Any) -> None:
    body, now = MESSAGE.body(), time.time()
    good = signature(SECRET, body, now)
    assert is_genuine(good, body, SECRET)
    moment, _, digest = good.partition(", ")
    wrong = ["", "t=, v1=", "v1", "t=1", moment, digest, f"t=x, {digest}", f"t=-1, {digest}", f"{moment}, v1=ü"]
    wrong += [f"{moment}, v1={'0' * 64}", signature(SECRET, body, now - 400), signature(SECRET, body, now + 400)]
    wrong += [f"t={int(now) - 1}, {digest}", good.replace("v1", "v0"), good.upper()]
    assert not any(is_genuine(header, body, SECRET) for header in wrong)


def test_the_request_is_one_and_its_description_is_understood() -> None:
    request = WatchRequest.model_validate_json(REQUEST)
    bundle = open_bundle(REPOSITORY / "bundles" / "edge")
    assert len(parse_query(request.description, bundle.schema).terms) == 4


def test_the_message_has_the_fields_that_are_sent() -> None:
    shown = json.loads(SHOWN)
    WatchMessage.model_validate(shown)
    WatchMessage.model_validate_json(MESSAGE.body())
    assert list(shown) == list(json.loads(MESSAGE.body())) == list(WatchMessage.model_fields)
    bundle = open_bundle(REPOSITORY / "bundles" / "edge")
    terms = parse_query("man in a red jacket with a backpack", bundle.schema).terms
    assert [term.text for term in terms] == list(shown["evidence"])


def test_the_numbers_are_those_of_the_program() -> None:
    settings = DeliverySettings()
    assert (QUIET_SECONDS, SAME_TRACK_SECONDS, LONGEST_SECONDS, MOST_WATCHES) == (300, 3600, 30 * DAY, 200)
    assert (settings.most_tries, settings.give_up_after, settings.longest, settings.longest_wait) == (30, DAY, 10, 3600)
    assert MOST_TARGETS == 10
    for text in ("for five minutes", "less than an hour", "30 days", "At most 200", "After 30 tries, or a day",
                 "ten seconds at most", "up to an hour", "up to ten targets"):  # fmt: skip
        assert text in TEXT
