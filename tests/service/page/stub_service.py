"""The routes of the stub that the page asks, on loopback."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse

from sal_service.api import models
from sal_service.page.page import read_page
from tests.service.page.drawn_people import CAMERAS, draw
from tests.service.page.stub import TOKENS, RefusedError, Stub, understood_terms

COOKIE = "sal_session"


def build_app(stub: Stub) -> FastAPI:
    """The page and all routes."""
    app = FastAPI()

    @app.exception_handler(RefusedError)
    async def refused(request: Request, error: RefusedError) -> Response:
        problem = error.problem
        return JSONResponse(problem.model_dump(), problem.status, media_type="application/problem+json")

    @app.get("/")
    def page() -> Response:
        page = read_page()
        return HTMLResponse(page.html, headers={"Content-Security-Policy": page.csp, "ETag": page.etag})

    for add in (add_session, add_gallery, add_cameras, add_watches, add_events):
        add(app, stub)
    return app


def roles_of(request: Request, stub: Stub) -> list[models.Role]:
    roles = stub.sessions.get(request.cookies.get(COOKIE, ""))
    if stub.is_open:
        return ["search", "ingest", "admin"]
    if roles is None:
        raise RefusedError(401, "no token was given: sign in")
    return roles


def check_access(request: Request, stub: Stub, role: models.Role) -> None:
    roles = roles_of(request, stub)
    if role not in roles and "admin" not in roles:
        raise RefusedError(403, f"this needs the role {role}; you have {', '.join(roles)}")
    if request.method != "GET" and request.headers.get("X-Sal-Request") != "1":
        raise RefusedError(403, "a request with a cookie needs the header X-Sal-Request: 1")


def add_session(app: FastAPI, stub: Stub) -> None:
    @app.get("/v1/session")
    def session(request: Request) -> models.SessionAnswer:
        name = "local" if stub.is_open else "control room"
        return models.SessionAnswer(name=name, roles=roles_of(request, stub), open_to_all=stub.is_open)

    @app.post("/v1/session")
    def begin(asked: models.SessionRequest, response: Response) -> models.SessionAnswer:
        if asked.token not in TOKENS:
            raise RefusedError(401, "the token is unknown or has expired: ask whoever runs the service for a new one")
        secret = secrets.token_hex(16)
        stub.sessions[secret] = TOKENS[asked.token]
        response.set_cookie(COOKIE, secret, httponly=True, samesite="strict")
        return models.SessionAnswer(name="control room", roles=TOKENS[asked.token], open_to_all=False)

    @app.delete("/v1/session", status_code=204)
    def end(request: Request) -> None:
        stub.sessions.pop(request.cookies.get(COOKIE, ""), None)

    @app.get("/v1/health")
    def health(request: Request) -> models.HealthAnswer:
        devices = [models.DeviceAnswer(part="image encoder", device="CPU", precision="fp32")]
        return models.HealthAnswer(ready=True, problems=[], version="0.9", devices=devices, uptime_seconds=60)

    @app.get("/v1/audit")
    def audit(request: Request, before: int | None = None, limit: int = 100) -> models.AuditAnswer:
        check_access(request, stub, "admin")
        lines = [line for line in stub.audit if before is None or line.sequence < before][:limit]
        return models.AuditAnswer(lines=lines, head=stub.audit[0].hash)


def add_gallery(app: FastAPI, stub: Stub) -> None:
    @app.get("/v1/galleries")
    def galleries(request: Request) -> models.GalleriesAnswer:
        check_access(request, stub, "search")
        return models.GalleriesAnswer(galleries=[stub.gallery()])

    @app.get("/v1/galleries/station/words")
    def words(request: Request) -> models.WordsAnswer:
        check_access(request, stub, "search")
        return stub.words()

    @app.post("/v1/galleries/station/search")
    def search(request: Request, asked: models.SearchRequest) -> models.SearchAnswer:
        check_access(request, stub, "search")
        stub.asked.append(asked.model_dump(mode="json"))
        stub.note("control room", "search", asked.reason, {"description": asked.description, "like": asked.like})
        return stub.find(asked)

    @app.post("/v1/galleries/station/search/image")
    async def search_image(request: Request, limit: int = 20, reason: str | None = None) -> models.SearchAnswer:
        check_access(request, stub, "search")
        body = await request.body()
        if not body.startswith((b"\xff\xd8", b"\x89PNG")):
            raise RefusedError(415, "got a file that is no picture; send a JPEG or PNG of one person")
        stub.asked.append({"picture": len(body), "cameras": request.query_params.getlist("camera"), "reason": reason})
        return stub.find(models.SearchRequest(like=["crop:0/0.jpg"], limit=limit))

    @app.get("/v1/galleries/station/crops/{path:path}")
    def crop(request: Request, path: str) -> Response:
        check_access(request, stub, "search")
        number, _, image = path.removesuffix(stub.suffix).removesuffix(".jpg").partition("/")
        person = next((one for one in stub.people if str(one.number) == number), None)
        if person is None:
            raise HTTPException(404)
        stub.viewed.append(path)
        return Response(draw(person, int(image)), media_type="image/jpeg")


def add_cameras(app: FastAPI, stub: Stub) -> None:
    @app.get("/v1/cameras")
    def cameras(request: Request) -> models.CamerasAnswer:
        check_access(request, stub, "search")
        return models.CamerasAnswer(cameras=[stub.camera(name) for name in CAMERAS])

    @app.post("/v1/cameras/{name}/{verb}")
    def turn(request: Request, name: str, verb: str) -> models.CameraAnswer:
        check_access(request, stub, "admin")
        stub.cameras[name] = verb == "start"
        return stub.camera(name)


def add_watches(app: FastAPI, stub: Stub) -> None:
    @app.get("/v1/watches")
    def watches(request: Request) -> models.WatchesAnswer:
        check_access(request, stub, "admin")
        return models.WatchesAnswer(watches=list(stub.watches.values()))

    @app.post("/v1/watches", status_code=201)
    def watch(request: Request, asked: models.WatchRequest) -> models.WatchAnswer:
        check_access(request, stub, "admin")
        return stub.keep_watch(asked)

    @app.post("/v1/watches/preview")
    def preview(request: Request, asked: models.WatchPreviewRequest) -> models.WatchPreviewAnswer:
        check_access(request, stub, "admin")
        understood_terms(asked.description, stub.suffix)
        rows = [
            models.ThresholdAnswer(min_likelihood=step, alarms=int(90 * (1 - step) ** 1.5), wrong=70 * (1 - step) ** 3)
            for step in (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
        ]
        return models.WatchPreviewAnswer(hours=11.5, tracks=842, thresholds=rows, notes=[])

    @app.delete("/v1/watches/{name}", status_code=204)
    def forget(request: Request, name: str) -> None:
        check_access(request, stub, "admin")
        del stub.watches[name]

    @app.get("/v1/watches/{name}/messages")
    def messages(request: Request, name: str) -> models.WatchMessagesAnswer:
        check_access(request, stub, "admin")
        return models.WatchMessagesAnswer(messages=[one for one in stub.messages if one.watch == name])


def add_events(app: FastAPI, stub: Stub) -> None:
    @app.get("/v1/events")
    async def events(request: Request) -> StreamingResponse:
        check_access(request, stub, "search")
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        stub.loop = asyncio.get_running_loop()
        stub.listeners.append(queue)

        async def stream() -> AsyncIterator[str]:
            yield "retry: 500\n\n"
            try:
                while (text := await queue.get()) is not None:
                    yield text
            finally:
                stub.listeners.remove(queue)

        return StreamingResponse(stream(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})


@contextmanager
def served(stub: Stub) -> Iterator[str]:
    """The stub on loopback; gives its address."""
    config = uvicorn.Config(build_app(stub), host="127.0.0.1", port=0, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
