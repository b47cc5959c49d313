"""Watches, and what they tell."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import urlsplit

from sal_runtime.errors import InputError, SalError
from sal_runtime.gallery.moments import moment_text

Kind = Literal["new", "update", "end"]
MQTT_LANE = "mqtt"
MOST_TARGETS = 10
TOPIC_BYTES = 500


class RefusedError(InputError):
    """Nothing may be sent to a target: it is not on the list, or not of a form that is taken."""


class UndeliveredError(SalError):
    """A message did not arrive; it is tried again.

    Args:
        message: what happened.
        answered: whether the other side answered, so that other messages may arrive.
    """

    def __init__(self, message: str, *, answered: bool = False) -> None:
        super().__init__(message)
        self.answered = answered


@dataclass(frozen=True)
class WebhookTarget:
    """An address that messages are posted to."""

    url: str
    kind: Literal["webhook"] = "webhook"


@dataclass(frozen=True)
class MqttTarget:
    """A topic of the broker."""

    topic: str
    kind: Literal["mqtt"] = "mqtt"


Target = WebhookTarget | MqttTarget


@dataclass(frozen=True)
class Watch:
    """A standing query: tell when somebody comes who fits a description. Moments are seconds since 1970, UTC.

    Attributes:
        id: names the watch for programs; `new_id` makes one.
        name: for people.
        gallery: name of the gallery whose new images are evaluated.
        description: in the query language.
        cameras: only images of these; empty for all.
        min_likelihood: likelihood of match 0..1 at which it fires.
        once_per_track: tell of a track only that it began to fit and that it ended, not of better images of it.
        reason: why it may be.
        expires_at: when it ends by itself.
        deliver: where its messages go.
        created_by: who made it.
        created_at: when.
    """

    id: str
    name: str
    gallery: str
    description: str
    cameras: tuple[str, ...]
    min_likelihood: float
    once_per_track: bool
    reason: str
    expires_at: float
    deliver: tuple[Target, ...]
    created_by: str
    created_at: float

    def to_json(self) -> str:
        """A text that `watch_from_json` reads."""
        return json.dumps(asdict(self))


@dataclass(frozen=True)
class Message:
    """What a watch tells: a track began to fit, a better image of it came, or it ended.

    Attributes:
        id: for deduplication. The same image of the same watch gives the same one.
        type: `new`, `update` or `end`; of an image without a track, only `new`.
        watch: id of the watch.
        name: name of the watch.
        gallery: name of the gallery.
        camera: of the image.
        track: of the image, within its camera.
        uri: of the image; that of an `end` is the best of its track.
        captured_at: of the image, seconds since 1970, UTC.
        box: of the image: left, top, width, height in pixels of the camera's picture.
        likelihood: of match, 0..1.
        evidence: probability 0..1 that each asked term holds, by the text of the term.
        crop_url: where the service gives the image.
        bundle: name of the bundle, and the first characters of its fingerprint: `edge@0123456789ab`.
    """

    id: str
    type: Kind
    watch: str
    name: str
    gallery: str
    camera: str | None
    track: str | None
    uri: str
    captured_at: float | None
    box: tuple[int, int, int, int] | None
    likelihood: float
    evidence: Mapping[str, float]
    crop_url: str | None
    bundle: str

    def to_json(self) -> str:
        """A text that `message_from_json` reads."""
        return json.dumps(asdict(self))

    def body(self) -> bytes:
        """What is sent: JSON with the moment in RFC 3339; the same bytes at every try."""
        moment = None
        with suppress(ValueError, OverflowError, OSError):  # no calendar has such a moment
            if self.captured_at is not None:
                moment = f"{datetime.fromtimestamp(self.captured_at, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        fields = asdict(self) | {"captured_at": moment}
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")

    def ended(self) -> Message:
        """The message that the track of this one ended."""
        return replace(self, id=message_id(self.watch, "end", self.id), type="end")


def new_id() -> str:
    """An id for a new watch, which nobody can guess."""
    return secrets.token_hex(8)


def message_id(watch: str, kind: Kind, *about: str | None) -> str:
    """The id of a message, 32 hexadecimal digits; the same for the same watch, kind and image."""
    return hashlib.sha256(json.dumps([watch, kind, *about]).encode()).hexdigest()[:32]


def watch_from_json(text: str) -> Watch:
    """Read what `Watch.to_json` gave."""
    fields = json.loads(text)
    targets = tuple(target_from_json(target) for target in fields.pop("deliver"))
    return Watch(**fields | {"cameras": tuple(fields["cameras"]), "deliver": targets})


def message_from_json(text: str) -> Message:
    """Read what `Message.to_json` gave."""
    fields = json.loads(text)
    return Message(**fields | {"box": None if fields["box"] is None else tuple(fields["box"])})


def target_from_json(fields: Mapping[str, Any]) -> Target:
    """A target of a JSON object with its `kind`."""
    return WebhookTarget(fields["url"]) if fields["kind"] == "webhook" else MqttTarget(fields["topic"])


def lane_of(target: Target) -> str:
    """Whose failures delay each other: the host and port of a webhook, or the broker."""
    if isinstance(target, MqttTarget):
        return MQTT_LANE
    try:
        return f"{urlsplit(target.url).scheme}://{urlsplit(target.url).netloc.lower()}"
    except ValueError:
        return "no address"


def check_watch(watch: Watch, longest_seconds: float) -> None:
    """Refuse a watch without a reason, without an end, or with another value that makes no sense.

    Args:
        watch: its description is not read, and its webhooks are not looked at (`Deliverer.check`).
        longest_seconds: how long a watch may last.

    Raises:
        InputError: `parameter` names what is wrong.
    """
    if not watch.reason.strip():
        raise InputError("got no reason for a watch; say why it may be, it is recorded", parameter="reason")
    if not 0.0 <= watch.min_likelihood <= 1.0:
        text = f"got min_likelihood {watch.min_likelihood}, expected a likelihood between 0 and 1"
        raise InputError(text, parameter="min_likelihood")
    if not watch.created_at < watch.expires_at <= watch.created_at + longest_seconds:
        raise InputError(
            f"a watch expires at {moment_text(watch.expires_at)}, expected a moment between now and "
            f"{moment_text(watch.created_at + longest_seconds)}, the latest that is allowed",
            parameter="expires_at",
        )
    if len(watch.deliver) > MOST_TARGETS:
        raise InputError(f"got {len(watch.deliver)} targets, at most {MOST_TARGETS} are taken", parameter="deliver")


def check_topic(topic: str) -> None:
    """Refuse what is no topic to publish to.

    Raises:
        RefusedError: it is empty, too long, a pattern, or one of the broker's own.
    """
    is_clean = topic.isprintable() and not set(topic) & set("+#")
    if not is_clean or not 0 < len(topic.encode(errors="replace")) <= TOPIC_BYTES or topic.startswith("$"):
        raise RefusedError(
            f"got the topic {topic[:80]!r}, expected 1 to {TOPIC_BYTES} bytes without + and #, which does not begin "
            "with $",
            parameter="deliver",
        )
