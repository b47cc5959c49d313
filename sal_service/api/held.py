"""What the routes of an app share: the service, who may ask, and the metrics.

These functions wait for nothing, and are asynchronous so that FastAPI needs no thread to call them.
"""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from sal_service.api.gate.access import Access, Principal, needs
from sal_service.api.metrics import Metrics
from sal_service.api.service import Service


async def _service(request: Request) -> Service:
    return cast(Service, request.app.state.service)


async def _access(request: Request) -> Access:
    return cast(Access, request.app.state.access)


async def _metrics(request: Request) -> Metrics:
    return cast(Metrics, request.app.state.metrics)


Held = Annotated[Service, Depends(_service)]
HeldAccess = Annotated[Access, Depends(_access)]
HeldMetrics = Annotated[Metrics, Depends(_metrics)]
Anybody = Annotated[Principal, Depends(needs())]
Searcher = Annotated[Principal, Depends(needs("search"))]
Adder = Annotated[Principal, Depends(needs("ingest"))]
Admin = Annotated[Principal, Depends(needs("admin"))]
"""Who asks, with the role that a route needs."""
