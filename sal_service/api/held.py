"""What the routes of an app share: the service, who may ask, and the metrics."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from sal_service.api.gate.access import Access, Principal, needs
from sal_service.api.metrics import Metrics
from sal_service.api.service import Service


def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


def _access(request: Request) -> Access:
    return cast(Access, request.app.state.access)


def _metrics(request: Request) -> Metrics:
    return cast(Metrics, request.app.state.metrics)


Held = Annotated[Service, Depends(_service)]
HeldAccess = Annotated[Access, Depends(_access)]
HeldMetrics = Annotated[Metrics, Depends(_metrics)]
Anybody = Annotated[Principal, Depends(needs())]
Searcher = Annotated[Principal, Depends(needs("search"))]
Adder = Annotated[Principal, Depends(needs("ingest"))]
Admin = Annotated[Principal, Depends(needs("admin"))]
"""Who asks, with the role that a route needs."""
