"""What a request that fails is answered with: `application/problem+json` (RFC 9457), and how `openapi.json` tells it.

An answer never repeats the value that was refused: it may be a token, or not fit into JSON.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sal_runtime.errors import BusyError, ConfigError, InputError, ReindexedError, SalError, SchemaError
from sal_service.api.models import Problem

log = logging.getLogger("sal.service")
MEDIA_TYPE = "application/problem+json"
LONGEST_DETAIL = 1000
STATUSES: Mapping[type[Exception], int] = {
    InputError: 400,
    SchemaError: 400,
    ConfigError: 400,
    ReindexedError: 409,
    BusyError: 503,
}
"""The statuses of errors whose text is meant for whoever asks; any other `SalError` is 500, with a text of ours."""
EVERYWHERE = (400, 401, 403, 408, 413, 429, 500, 503)
"""Statuses of problems that any route may answer."""
SECONDS_BUSY = 1
"""After how many seconds to ask again, where the service is busy."""
BETTER_DETAILS = {
    (404, "Not Found"): "There is nothing at this address.",
    (400, "There was an error parsing the body"): "The body cannot be read; expected what openapi.json says.",
}


class RefusedError(HTTPException):
    """A request is refused with a status, a text for whoever asks, and the parameter that is to blame."""

    def __init__(
        self, status: int, detail: str, *, parameter: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, detail, headers)
        self.parameter = parameter


def problem(
    status: int, detail: str, *, parameter: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """The answer to a request that failed; it is an ASGI app, so that a middleware can send it."""
    body = Problem(status=status, title=HTTPStatus(status).phrase, detail=detail[:LONGEST_DETAIL], parameter=parameter)
    content = body.model_dump(exclude_none=True)
    return JSONResponse(content, status_code=status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def problem_of(error: HTTPException) -> Response:
    """The answer that a refusal asks for."""
    detail = BETTER_DETAILS.get((error.status_code, error.detail), error.detail)
    allowed = (error.headers or {}).get("Allow")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and allowed:
        detail = f"This address does not take this method; it takes {allowed}."
    return problem(error.status_code, detail, parameter=getattr(error, "parameter", None), headers=error.headers)


def too_busy(detail: str) -> RefusedError:
    """A refusal of work that the service has no room for now."""
    return RefusedError(503, detail, headers={"Retry-After": str(SECONDS_BUSY)})


def request_id(scope: Scope) -> str:
    """The id under which the log tells of a request."""
    found: str = scope.setdefault("sal.request_id", secrets.token_hex(8))
    return found


def _failed(scope: Scope, error: Exception) -> Response:
    """500 and a line in the log that has the same id."""
    number = request_id(scope)
    log.error("a request failed", exc_info=error, extra={"request": number})
    return problem(500, f"The service failed; its log tells why, under {number}.")


def _invalid(error: RequestValidationError) -> Response:
    """400 with what is wrong, where, for up to three parameters."""
    errors = [(".".join(str(part) for part in found["loc"][1:]), str(found["msg"])) for found in error.errors()]
    texts = [f"{place}: {text}" if place else text for place, text in errors]
    detail = "; ".join(texts[:3]) + (f"; and {len(texts) - 3} more" if len(texts) > 3 else "")
    return problem(400, detail, parameter=errors[0][0] or None)


def add_problem_handlers(app: FastAPI, statuses: Mapping[type[Exception], int] = STATUSES) -> None:
    """Let an app answer its errors with problems.

    Args:
        app: the app.
        statuses: by type of error, for errors whose text is meant for whoever asks. 503 comes with `Retry-After`.
    """

    async def told(request: Request, error: Exception) -> Response:
        status = next(statuses[kind] for kind in type(error).__mro__ if kind in statuses)
        headers = {"Retry-After": str(SECONDS_BUSY)} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
        return problem(status, str(error), parameter=getattr(error, "parameter", None), headers=headers)

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return problem_of(error)

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _invalid(error)

    async def failed(request: Request, error: Exception) -> Response:
        return _failed(request.scope, error)

    for kind in statuses:
        app.add_exception_handler(kind, told)
    app.add_exception_handler(SalError, failed)
    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)


class Faults:
    """A middleware: an error that nothing else has caught is 500 and a line in the log, not a broken connection."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except ClientDisconnect:
            log.info("a client left before its request was here", extra={"request": request_id(scope)})
        except Exception as error:
            answer = _failed(scope, error)
            if not started and scope["type"] == "http":
                await answer(scope, receive, send)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that also answers these statuses, besides those that any route may answer."""
    schema = {"$ref": "#/components/schemas/Problem"}
    content = {MEDIA_TYPE: {"schema": schema}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


def complete_openapi(app: FastAPI) -> None:
    """Let `openapi.json` tell the problems of every route, and not FastAPI's 422, which is 400 here."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _tell_problems(plain())
        return plain()

    app.openapi = openapi  # type: ignore[method-assign]


def _tell_problems(description: dict[str, Any]) -> None:
    schemas = description.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema()
    everywhere = {str(status): answer for status, answer in problems(*EVERYWHERE).items()}
    for path in description["paths"].values():
        for operation in path.values():
            told = operation["responses"]
            told.pop("422", None)
            operation["responses"] = dict(sorted({**everywhere, **told}.items()))
