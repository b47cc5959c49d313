"""The service as an ASGI app: its routes behind what checks every request."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import FastAPI

from sal_runtime.version import __version__
from sal_service.api.access import Access, AccessMiddleware
from sal_service.api.headers import SecurityHeaders
from sal_service.api.limits import LANES, BodyLimit, Deadline, Lanes, RateLimit
from sal_service.api.logs import RequestLog
from sal_service.api.metrics import Metrics, RequestMetrics
from sal_service.api.problems import STATUSES, Faults, add_problem_handlers, complete_openapi
from sal_service.api.routes.cameras import camera_routes
from sal_service.api.routes.images import image_routes
from sal_service.api.routes.pages import page_routes
from sal_service.api.routes.searches import search_routes
from sal_service.api.routes.sessions import session_routes
from sal_service.api.routes.state import state_routes
from sal_service.api.routes.watches import watch_routes
from sal_service.api.service import Service
from sal_service.api.cameras import CameraExistsError, NoCameraError
from sal_service.governance.policy import PolicyError
from sal_service.page.page import Page

DESCRIPTION = """Attribute-based person search. Errors are `application/problem+json`.

Every search, every view of a picture and every change is written into the audit log."""


def create_app(
    service: Service, access: Access, *, host_names: Collection[str] = (), lanes: Lanes | None = None
) -> FastAPI:
    """The app.

    Args:
        service: what it serves; the caller closes it.
        access: who may ask.
        host_names: names that people reach the service by, besides `localhost` and addresses in figures.
        lanes: what is allowed of each kind of requests; None for the defaults.
    """
    app = FastAPI(
        title="sal", version=__version__, description=DESCRIPTION, docs_url=None, redoc_url=None, separate_input_output_schemas=False
    )
    metrics = Metrics(service.gauges)
    for router in (
        search_routes(service, metrics),
        image_routes(service),
        camera_routes(service),
        watch_routes(service),
        session_routes(service, access),
        state_routes(service, access, metrics),
        page_routes(Page()),
    ):
        app.include_router(router)
    add_problem_handlers(app, {**STATUSES, PolicyError: 403, NoCameraError: 404, CameraExistsError: 409})
    complete_openapi(app)
    lanes = Lanes(LANES) if lanes is None else lanes
    # the last one that is added sees a request first
    app.add_middleware(Deadline, lanes=lanes)
    app.add_middleware(BodyLimit, lanes=lanes)
    app.add_middleware(RateLimit, lanes=lanes)
    app.add_middleware(AccessMiddleware, access=access)
    app.add_middleware(SecurityHeaders, host_names=host_names)
    app.add_middleware(RequestMetrics, metrics=metrics)
    app.add_middleware(RequestLog)
    app.add_middleware(Faults)
    return app
