"""What the service knows, in the words of the contract (`models.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import quote

from sal_runtime.gallery.items import GalleryItem, ItemFilter
from sal_runtime.gallery.store.file import CROP_SCHEME
from sal_runtime.matching.result import Hit
from sal_runtime.query.words import WEAK, list_words
from sal_service.api import models
from sal_service.api.cameras import ServedCamera
from sal_service.galleries.answers import Page
from sal_service.galleries.served import Generation, ServedGallery
from sal_service.governance.policy import Policy
from sal_service.watches.watch import Message, Watch


def moment(seconds: float | None) -> datetime | None:
    """A moment of seconds since 1970."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def crop_url(gallery: str, uri: str) -> str | None:
    """Where the picture of an image can be had; None if the gallery does not keep it itself."""
    if not uri.startswith(CROP_SCHEME):
        return None
    return f"/v1/galleries/{gallery}/crops/{quote(uri.removeprefix(CROP_SCHEME))}"


def item_filter(where: models.Where) -> ItemFilter:
    """Conditions as the runtime takes them.

    Raises:
        InputError: they contradict themselves.
    """
    return ItemFilter(
        cameras=where.cameras,
        tracks=where.tracks,
        captured_from=None if where.captured_from is None else where.captured_from.timestamp(),
        captured_until=None if where.captured_until is None else where.captured_until.timestamp(),
        metadata=where.metadata,
    )


def image(gallery: str, item: GalleryItem) -> models.ImageAnswer:
    """An image of a gallery."""
    return models.ImageAnswer(**_image(gallery, item))


def _image(gallery: str, item: GalleryItem) -> dict[str, Any]:
    return {
        "uri": item.uri,
        "crop_url": crop_url(gallery, item.uri),
        "camera": item.camera,
        "track": item.track,
        "captured_at": moment(item.captured_at),
        "box": item.box,
        "metadata": dict(item.metadata),
    }


def hit(gallery: str, found: Hit) -> models.HitAnswer:
    """A hit, with the other images of its track."""
    return models.HitAnswer(
        **_image(gallery, found.item),
        rank=found.rank,
        likelihood=found.likelihood,
        score=found.score,
        evidence=found.evidence,
        others=[hit(gallery, other) for other in found.others],
    )


def bundle(generation: Generation) -> models.BundleAnswer:
    """The bundle that answers."""
    gallery = generation.gallery
    return models.BundleAnswer(
        name=gallery.bundle_name,
        fingerprint=gallery.fingerprint,
        precision=gallery.precision,
        generation=generation.number,
    )


def search(served: ServedGallery, page: Page) -> models.SearchAnswer:
    """A page of an answer."""
    result = page.result
    return models.SearchAnswer(
        understood=[
            models.TermAnswer(
                text=term.text,
                understood=term.understood,
                sensitive=term.sensitive,
                recognised=dict(term.recognised),
            )
            for term in result.terms
        ],
        conditions=list(result.conditions),
        notes=list(result.notes),
        hits=[hit(served.name, found) for found in result.hits],
        next_offset=page.next_offset,
        num_images=result.num_items,
        bundle=bundle(served.generation),
    )


def words(served: ServedGallery, policy: Policy) -> models.WordsAnswer:
    """All that a gallery can be asked for, as the policy allows it."""
    loaded = served.generation.bundle
    groups = []
    for listed, group in zip(list_words(loaded.schema, loaded.manifest["metrics"]), loaded.schema.groups, strict=True):
        forbidden = policy.forbidden_states(group)
        values = [
            (value, number not in forbidden)
            for number, value in enumerate(listed["values"])
            if listed["kind"] == "exclusive" or value["word"] != "none"
        ]
        groups.append(
            models.WordGroupAnswer(
                name=group.name,
                kind=group.kind,
                sensitive=group.sensitive,
                allowed=policy.allowed(group),
                words=[
                    models.WordAnswer(
                        value=f"{group.name}={value['word']}" if group.kind == "exclusive" else value["word"],
                        word=value["word"],
                        allowed=allowed,
                        recognised=value["recognised"],
                        weak=value["recognised"] is not None and value["recognised"] < WEAK,
                        synonyms=value["synonyms"],
                    )
                    for value, allowed in values
                ],
            )
        )
    return models.WordsAnswer(groups=groups)


def gallery(served: ServedGallery) -> models.GalleryAnswer:
    """A gallery that is served."""
    recorded = served.gallery.recorded()
    captured = None if recorded.captured is None else tuple(moment(at) for at in recorded.captured)
    return models.GalleryAnswer(
        name=served.name,
        images=len(served.gallery),
        tracks=recorded.tracks,
        cameras=sorted(recorded.cameras.counts),
        captured=cast(tuple[datetime, datetime] | None, captured),
        bundle=bundle(served.generation),
        swapping=served.swapping,
    )


def camera(served: ServedCamera, age: float | None) -> models.CameraAnswer:
    """A camera, with what became of its frames."""
    last = served.last
    counted = ("received", "dropped", "detected", "people", "tracks", "kept", "given_up", "reconnects", "lost_seconds")
    return models.CameraAnswer(
        name=served.camera.name,
        gallery=served.gallery,
        source=last.source if last is not None else _without_password(served.camera.source),
        running=served.running,
        condition="stopped" if not served.running else "connecting" if last is None else last.condition,
        age_seconds=age if served.running else None,
        notes=[] if last is None else list(last.notes),
        **{name: 0 if last is None else getattr(last, name) for name in counted},
    )


def _without_password(source: str) -> str:
    scheme, mark, rest = source.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}" if mark else source


def watch(kept: Watch, counts: Mapping[str, int], now: float) -> models.WatchAnswer:
    """A watch, with what became of its messages."""
    targets = [
        models.WebhookTarget(url=target.url) if target.kind == "webhook" else models.MqttTarget(topic=target.topic)
        for target in kept.deliver
    ]
    return models.WatchAnswer(
        id=kept.id,
        name=kept.name,
        gallery=kept.gallery,
        description=kept.description,
        cameras=list(kept.cameras),
        min_likelihood=kept.min_likelihood,
        once_per_track=kept.once_per_track,
        reason=kept.reason,
        expires_at=cast(datetime, moment(kept.expires_at)),
        deliver=targets,
        created_by=kept.created_by,
        created_at=cast(datetime, moment(kept.created_at)),
        active=kept.expires_at > now,
        **counts,
    )


def message(told: Message) -> models.WatchMessage:
    """A message of a watch."""
    fields = {name: getattr(told, name) for name in models.WatchMessage.model_fields if name != "captured_at"}
    return models.WatchMessage(**{**fields, "captured_at": moment(told.captured_at), "evidence": dict(told.evidence)})
