"""The service as an ASGI app: its routes behind what checks every request."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import FastAPI

from sal_runtime.version import __version__
from sal_service.api.cameras import CameraExistsError, NoCameraError
from sal_service.api.gate.access import Access, AccessMiddleware
from sal_service.api.gate.headers import SecurityHeaders
from sal_service.api.gate.limits import LANES, BodyLimit, Deadline, Lanes, RateLimit
from sal_service.api.gauges import readings
from sal_service.api.logs import Observe, log_answer
from sal_service.api.metrics import Metrics
from sal_service.api.problems import STATUSES, Faults, add_problem_handlers, complete_openapi
from sal_service.api.routes import cameras, images, pages, searches, sessions, state, watches
from sal_service.api.service import Service
from sal_service.governance.audit import AuditError
from sal_service.governance.policy import PolicyError

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
        title="sal",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    app.state.service, app.state.access, app.state.metrics = service, access, Metrics(lambda: readings(service))
    for routes in (searches, images, cameras, watches, sessions, state, pages):
        app.include_router(routes.router)
    add_problem_handlers(
        app, {**STATUSES, PolicyError: 403, AuditError: 503, NoCameraError: 404, CameraExistsError: 409}
    )
    complete_openapi(app)
    lanes = Lanes(LANES) if lanes is None else lanes
    # the last one that is added sees a request first
    app.add_middleware(Deadline, lanes=lanes)
    app.add_middleware(BodyLimit, lanes=lanes)
    app.add_middleware(RateLimit, lanes=lanes)
    app.add_middleware(AccessMiddleware, access=access)
    app.add_middleware(SecurityHeaders, host_names=host_names)
    app.add_middleware(Faults)
    app.add_middleware(Observe, tell=(log_answer, app.state.metrics.count))
    return app
