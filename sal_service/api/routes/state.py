"""Health, version, metrics, the audit log, and what happens now."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.requests import Request

from sal_runtime.version import __version__
from sal_service.api import models
from sal_service.api.held import Admin, Anybody, Held, HeldAccess, HeldMetrics, Searcher
from sal_service.governance.audit import read_lines

MOST_LINES = 1000


router = APIRouter(tags=["state"])


@router.get("/healthz", response_class=PlainTextResponse)
def alive() -> str:
    """The process lives."""
    return "ok"


@router.get("/readyz", response_model=models.ReadyAnswer, responses={503: {"model": models.ReadyAnswer}})
def ready(service: Held) -> Response:
    """Whether the service can be used; `GET /v1/health` says what is wrong."""
    is_ready = not service.problems()
    return JSONResponse({"ready": is_ready}, status_code=200 if is_ready else 503)


@router.get("/metrics", response_class=PlainTextResponse)
def measured(metrics: HeldMetrics, _: Admin) -> Response:
    """Figures for Prometheus."""
    return metrics.answer()


@router.get("/v1/version", response_model=models.VersionAnswer)
def version(_: Anybody) -> models.VersionAnswer:
    """The version of the service."""
    return models.VersionAnswer(version=__version__)


@router.get("/v1/health", response_model=models.HealthAnswer)
def health(service: Held, _: Anybody) -> models.HealthAnswer:
    """The state of the service, and the devices that its parts really run on."""
    return service.health()


@router.get(
    "/v1/events",
    response_class=Response,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Events."}},
)
def events(
    request: Request,
    service: Held,
    access: HeldAccess,
    principal: Searcher,
    last_event_id: Annotated[str | None, Header(max_length=100)] = None,
) -> Response:
    """What happens now, as server-sent events: `kept`, `camera`, and `watch` for `admin`."""
    return service.hub.answer(principal.roles, last_event_id, access.is_still(request))


@router.get("/v1/audit", response_model=models.AuditAnswer)
def audit(
    service: Held,
    principal: Admin,
    before: Annotated[int | None, Query(ge=1, le=2**53)] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_LINES)] = 100,
) -> models.AuditAnswer:
    """The audit log, newest first; that it was read is written into it."""
    head = service.audit.append(principal.name, "audit.read", None, {"before": before, "limit": limit}).hash
    lines = read_lines(service.audit.path, before, limit)
    return models.AuditAnswer(
        lines=[
            models.AuditLineAnswer(
                sequence=line.sequence,
                at=datetime.fromtimestamp(line.at, UTC),
                who=line.who,
                action=line.action,
                why=line.why,
                what=dict(line.what),
                hash=line.hash,
            )
            for line in lines
        ],
        head=head,
    )
