"""Standing queries."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query, Response

from sal_service.api import models, present
from sal_service.api.gate.json_bodies import StrictRoute
from sal_service.api.held import Admin, Held
from sal_service.api.problems import RefusedError, problems
from sal_service.api.service import Service
from sal_service.watches.alarms import preview
from sal_service.watches.watch import MqttTarget, Target, Watch, WebhookTarget, new_id

router = APIRouter(route_class=StrictRoute, prefix="/v1/watches", tags=["watches"], responses=problems(404))


@router.get("", response_model=models.WatchesAnswer)
def watches(service: Held, _: Admin) -> models.WatchesAnswer:
    """All watches, and what became of their messages."""
    return models.WatchesAnswer(watches=[_present(service, watch) for watch in service.store.watches()])


@router.post("", status_code=201, response_model=models.WatchAnswer)
def add(asked: models.WatchRequest, service: Held, principal: Admin) -> models.WatchAnswer:
    """Tell from now on when somebody comes who fits a description."""
    _check(service, asked.gallery, asked.description, asked.reason, asked.cameras)
    watch = Watch(
        id=new_id(),
        name=asked.name,
        gallery=asked.gallery,
        description=asked.description,
        cameras=tuple(asked.cameras),
        min_likelihood=asked.min_likelihood,
        once_per_track=asked.once_per_track,
        reason=asked.reason,
        expires_at=asked.expires_at.timestamp(),
        deliver=tuple(_target(target) for target in asked.deliver),
        created_by=principal.name,
        created_at=time.time(),
    )
    for target in watch.deliver:
        service.deliverer.check(target)
    details = asked.model_dump(mode="json", exclude={"reason"})
    service.audit.append(principal.name, "watch.create", asked.reason, {"watch": watch.id, **details})
    service.board.add(watch)
    return _present(service, watch)


@router.post("/preview", response_model=models.WatchPreviewAnswer)
def estimate(asked: models.WatchPreviewRequest, service: Held, principal: Admin) -> models.WatchPreviewAnswer:
    """What each `min_likelihood` would have meant on the last day that the cameras have."""
    _check(service, asked.gallery, asked.description, asked.reason, asked.cameras)
    found = preview(service.gallery(asked.gallery).generation.search, asked.description, asked.cameras)
    details = asked.model_dump(mode="json", exclude={"reason"})
    service.audit.append(principal.name, "search", asked.reason, {"preview": details})
    return models.WatchPreviewAnswer(
        hours=found.hours,
        tracks=found.tracks,
        thresholds=[
            models.ThresholdAnswer(min_likelihood=one.min_likelihood, alarms=one.alarms, wrong=one.wrong)
            for one in found.thresholds
        ],
        notes=list(found.notes),
    )


@router.get("/{watch_id}", response_model=models.WatchAnswer)
def watch(watch_id: str, service: Held, _: Admin) -> models.WatchAnswer:
    """One watch."""
    return _present(service, _get(service, watch_id))


@router.delete("/{watch_id}", status_code=204, response_class=Response)
def remove(watch_id: str, service: Held, principal: Admin) -> Response:
    """End a watch; messages that wait are not sent any more."""
    _get(service, watch_id)
    service.audit.append(principal.name, "watch.delete", None, {"watch": watch_id})
    service.board.remove(watch_id)
    return Response(status_code=204)


@router.get("/{watch_id}/messages", response_model=models.WatchMessagesAnswer)
def messages(
    watch_id: str, service: Held, _: Admin, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> models.WatchMessagesAnswer:
    """The messages of a watch, newest first."""
    _get(service, watch_id)
    found = service.store.messages(watch_id, limit)
    return models.WatchMessagesAnswer(messages=[present.message(message) for message in found])


def _get(service: Service, watch_id: str) -> Watch:
    found = [watch for watch in service.store.watches() if watch.id == watch_id]
    if not found:
        raise RefusedError(404, "There is no such watch.")
    return found[0]


def _check(service: Service, gallery: str, description: str, reason: str | None, cameras: list[str]) -> None:
    served = service.gallery(gallery)
    search = served.generation.search
    service.settings.policy.check_query(search.parse(description), search.bundle.schema, reason)
    known = {*service.cameras.names(), *served.gallery.recorded().cameras.counts}
    unknown = sorted(set(cameras) - known)
    if unknown:
        names = ", ".join(sorted(known)) or "none"
        raise RefusedError(400, f"There is no camera {unknown[0]}; there is {names}.", parameter="cameras")


def _present(service: Service, watch: Watch) -> models.WatchAnswer:
    counts = service.store.counts(watch.id)
    told = {name: getattr(counts, name) for name in ("fired", "waiting", "delivered", "dead")}
    return present.watch(watch, told, time.time())


def _target(target: models.WebhookTarget | models.MqttTarget) -> Target:
    return WebhookTarget(target.url) if isinstance(target, models.WebhookTarget) else MqttTarget(target.topic)
