"""Watches as they are made: what is refused, and what is the same after it was written and read."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from sal_runtime.errors import InputError
from sal_service.watches.watch import (
    Message,
    MqttTarget,
    RefusedError,
    WebhookTarget,
    check_topic,
    check_watch,
    lane_of,
    message_from_json,
    message_id,
    watch_from_json,
)
from tests.service.watches.watched import DAY, NOON, watch_for

MESSAGE = Message(
    id="ab" * 16,
    type="new",
    watch="w",
    name="somebody",
    gallery="yard",
    camera="door",
    track="1",
    uri="crop:door/1.jpg",
    captured_at=NOON + 0.25,
    box=(1, 2, 3, 4),
    likelihood=0.75,
    evidence={"hat": 0.8},
    crop_url="/v1/galleries/yard/crops/door/1.jpg",
    bundle="tiny@0123456789ab",
)


def test_a_watch_with_reason_and_end_is_taken() -> None:
    check_watch(watch_for(), 30 * DAY)
    check_watch(watch_for(expires_at=NOON - 1 + 30 * DAY), 30 * DAY)


@pytest.mark.parametrize(
    ("changes", "parameter"),
    [
        ({"reason": ""}, "reason"),
        ({"reason": " \t\n"}, "reason"),
        ({"expires_at": NOON - 1}, "expires_at"),
        ({"expires_at": NOON - 5}, "expires_at"),
        ({"expires_at": NOON + 31 * DAY}, "expires_at"),
        ({"expires_at": float("inf")}, "expires_at"),
        ({"expires_at": float("nan")}, "expires_at"),
        ({"min_likelihood": -0.1}, "min_likelihood"),
        ({"min_likelihood": 1.1}, "min_likelihood"),
        ({"min_likelihood": float("nan")}, "min_likelihood"),
        ({"deliver": tuple(MqttTarget(str(n)) for n in range(11))}, "deliver"),
    ],
)
def test_other_watches_are_refused(changes: dict[str, Any], parameter: str) -> None:
    with pytest.raises(InputError) as caught:
        check_watch(watch_for(**changes), 30 * DAY)
    assert caught.value.parameter == parameter


def test_watches_and_messages_are_the_same_after_they_were_written() -> None:
    watch = watch_for(cameras=("door", "yard"), deliver=(WebhookTarget("https://a/b"), MqttTarget("sal/x")))
    assert watch_from_json(watch.to_json()) == watch
    for message in (MESSAGE, replace(MESSAGE, box=None, camera=None, track=None, captured_at=None, crop_url=None)):
        assert message_from_json(message.to_json()) == message


def test_what_is_sent_is_json_with_moments_in_rfc_3339() -> None:
    sent = json.loads(MESSAGE.body())
    assert sent["captured_at"] == "2025-11-28T12:00:00.250000Z"
    assert sent["box"] == [1, 2, 3, 4]
    assert sent["evidence"] == {"hat": 0.8}
    assert sent.keys() == vars(MESSAGE).keys()
    assert json.loads(replace(MESSAGE, captured_at=None).body())["captured_at"] is None
    assert json.loads(replace(MESSAGE, captured_at=1e22).body())["captured_at"] is None
    assert "größe" in replace(MESSAGE, track="größe").body().decode()
    replace(MESSAGE, track="\udc80").body().decode()


def test_a_message_has_one_id() -> None:
    known = {message_id(watch, kind, uri) for watch in "ab" for kind in ("new", "end") for uri in ("x", "y")}
    assert len(known) == 8
    assert message_id("a", "new", "x") == message_id("a", "new", "x")
    assert MESSAGE.ended().id == MESSAGE.ended().id != MESSAGE.id
    assert MESSAGE.ended().type == "end"


@pytest.mark.parametrize("topic", ["", "a/+/b", "a/#", "$SYS/broker", "a\0b", "a\nb", "x" * 501, "\ud800"])
def test_patterns_and_odd_texts_are_no_topics(topic: str) -> None:
    with pytest.raises(RefusedError, match="got the topic"):
        check_topic(topic)


def test_topics() -> None:
    for topic in ("sal", "sal/watches/größe", "x" * 500, "a b"):
        check_topic(topic)


def test_targets_of_one_host_share_a_lane() -> None:
    urls = ["https://a.example/1", "https://A.example/2?x", "https://a.example:8443/1", "http://a.example/1"]
    assert len({lane_of(WebhookTarget(url)) for url in urls}) == 3
    assert lane_of(MqttTarget("a")) == lane_of(MqttTarget("b"))
    assert lane_of(WebhookTarget("http://[")) == "no address"
