"""A small service for the tests of the plumbing: a few routes behind a router, and all middlewares in their order."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from pydantic import AwareDatetime

from sal_runtime.arrays import UInt8Array
from sal_runtime.errors import BackendError, BusyError, InputError
from sal_runtime.images.pixels import decode_image
from sal_service.api.gate.access import Access, AccessMiddleware, Principal, needs
from sal_service.api.gate.headers import SecurityHeaders
from sal_service.api.gate.json_bodies import StrictRoute
from sal_service.api.gate.limits import LANES, BodyLimit, Deadline, Lane, Lanes, RateLimit
from sal_service.api.logs import Answered, Observe, log_answer
from sal_service.api.models import Name, PurgeRequest, RemoveRequest, SearchRequest, SessionAnswer, SessionRequest
from sal_service.api.problems import Faults, RefusedError, add_problem_handlers, complete_openapi, problems

TOKENS = {"search": "sal_" + "s" * 43, "ingest": "sal_" + "i" * 43, "admin": "sal_" + "a" * 43}
EXPIRED = "sal_" + "e" * 43
CROPS = frozenset({"a.jpg", "sal_door.jpg", "secret/a.jpg"})
EXPIRES_AT = 2_000_000_000.0


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, now: float = 1_900_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Somebody:
    name: str
    roles: frozenset[str]


class TokensByHand:
    """One token of each role; they expire together."""

    def __init__(self) -> None:
        self.removed: set[str] = set()

    def check(self, token: str, now: float) -> Somebody | None:
        for role, known in TOKENS.items():
            if token == known and role not in self.removed and now < EXPIRES_AT:
                return Somebody(f"the {role}", frozenset({role}))
        return None


def picture(body: bytes) -> UInt8Array:
    try:
        return decode_image(body)
    except InputError as error:
        raise RefusedError(415, str(error)) from error


def bearer(role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[role]}"}


def routes(access: Access) -> APIRouter:
    router = APIRouter(prefix="/v1", responses=problems(404), route_class=StrictRoute)
    router.include_router(gallery_routes())
    router.include_router(image_routes())
    router.include_router(session_routes(access))

    @router.get("/fails/{how}")
    def fails(how: str, who: Annotated[Principal, Depends(needs())]) -> None:
        raise {
            "input": InputError("the picture is none", parameter="image"),
            "busy": BusyError("many wait"),
            "backend": BackendError("/secret/path: no driver"),
            "unknown": KeyError("secret"),
        }[how]

    @router.get("/slow")
    async def slow(seconds: float, who: Annotated[Principal, Depends(needs())]) -> str:
        await asyncio.sleep(seconds)
        return "done"

    @router.get("/stuck")
    def stuck(seconds: float, who: Annotated[Principal, Depends(needs())]) -> str:
        time.sleep(seconds)
        return "done"

    @router.get("/forgotten")
    def forgotten() -> str:
        return "a route whose author forgot to ask for a role"

    return router


def gallery_routes() -> APIRouter:
    inner = APIRouter(prefix="/galleries", route_class=StrictRoute)

    @inner.post("/{gallery}/search")
    def search(
        gallery: str, body: SearchRequest, who: Annotated[Principal, Depends(needs("search"))]
    ) -> dict[str, Any]:
        return {"gallery": gallery, "who": who.name, "limit": body.limit}

    @inner.post("/{gallery}/remove")
    def remove(gallery: str, body: RemoveRequest, who: Annotated[Principal, Depends(needs("admin"))]) -> None: ...

    @inner.post("/{gallery}/purge")
    def purge(gallery: str, body: PurgeRequest, who: Annotated[Principal, Depends(needs("admin"))]) -> None: ...

    @inner.get("/{gallery}/crops/{path:path}")
    def crop(gallery: str, path: str, who: Annotated[Principal, Depends(needs("search"))]) -> Response:
        if gallery != "door" or path not in CROPS:
            raise RefusedError(404, "there is no such image")
        return Response(b"\xff\xd8", media_type="image/jpeg")

    @inner.get("/{gallery}/words")
    def words(gallery: str, who: Annotated[Principal, Depends(needs("search"))]) -> dict[str, str]:
        if gallery not in ("door", "hall"):
            raise RefusedError(404, "there is no such gallery")
        return {"gallery": gallery}

    return inner


def image_routes() -> APIRouter:
    inner = APIRouter(prefix="/galleries", route_class=StrictRoute)

    @inner.post("/{gallery}/search/image")
    async def search_image(
        gallery: str,
        request: Request,
        who: Annotated[Principal, Depends(needs("search"))],
        limit: Annotated[int, Query(ge=1, le=200)] = 20,
        by_track: bool = True,
        camera: Annotated[list[Name], Query(max_length=1000)] = [],  # noqa: B006
    ) -> dict[str, int]:
        return {"rows": len(picture(await request.body()))}

    @inner.post("/{gallery}/crops", status_code=201)
    async def add(
        gallery: str,
        request: Request,
        who: Annotated[Principal, Depends(needs("ingest"))],
        camera: Name | None = None,
        captured_at: AwareDatetime | None = None,
        box: Annotated[str | None, Query(pattern=r"^\d+,\d+,\d+,\d+$")] = None,
    ) -> dict[str, int]:
        body = await request.body()
        if captured_at is not None:
            picture(body)
        return {"bytes": len(body)}

    return inner


def session_routes(access: Access) -> APIRouter:
    router = APIRouter(route_class=StrictRoute)

    @router.get("/session")
    def session(who: Annotated[Principal, Depends(needs())]) -> SessionAnswer:
        return SessionAnswer(name=who.name, roles=sorted(who.roles), open_to_all=access.open_to_all)

    @router.post("/session")
    def sign_in(body: SessionRequest, request: Request, response: Response) -> SessionAnswer:
        who = access.sign_in(request, response, body.token)
        return SessionAnswer(name=who.name, roles=sorted(who.roles), open_to_all=access.open_to_all)

    @router.delete("/session", status_code=204)
    def sign_out(request: Request, response: Response, who: Annotated[Principal, Depends(needs())]) -> None:
        access.sign_out(request, response)

    return router


def make_app(
    access: Access | None = None,
    *,
    lanes: tuple[Lane, ...] = LANES,
    clock: Clock | None = None,
    hosts: tuple[str, ...] = (),
    tell: Sequence[Callable[[Answered], None]] = (log_answer,),
) -> FastAPI:
    """The small service; the TestClient's host is `testserver`, which tests pass in `hosts`."""
    clock = clock or Clock()
    access = access or Access(TokensByHand(), secure_cookies=False, clock=clock)
    app = FastAPI(docs_url=None, redoc_url=None)
    app.include_router(routes(access))

    @app.get("/healthz")
    def healthz() -> str:
        return "ok"

    add_problem_handlers(app)
    complete_openapi(app)
    table = Lanes(lanes)
    app.add_middleware(BodyLimit, lanes=table)
    app.add_middleware(Deadline, lanes=table)
    app.add_middleware(RateLimit, lanes=table, clock=clock)
    app.add_middleware(AccessMiddleware, access=access)
    app.add_middleware(Faults)
    app.add_middleware(SecurityHeaders, host_names=hosts)
    app.add_middleware(Observe, tell=tell)
    return app


@contextmanager
def serving(app: Any, server: type[uvicorn.Server] = uvicorn.Server, **settings: Any) -> Iterator[tuple[str, int]]:
    """An app on a port of the loopback address; gives host and port."""
    config = uvicorn.Config(
        app, host="127.0.0.1", port=0, log_level="critical", ws="none", proxy_headers=False, **settings
    )
    running = server(config)
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        assert thread.is_alive()
        time.sleep(0.005)
    try:
        yield running.servers[0].sockets[0].getsockname()[:2]
    finally:
        running.should_exit = True
        thread.join(10)
        assert not thread.is_alive(), "the service does not stop"
