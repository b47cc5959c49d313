"""JSON bodies, read strictly: UTF-8, each key once, finite numbers.

Python takes the last of two equal keys, and `NaN`; what stands between a client and the service may read them
otherwise.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from sal_service.api.problems import RefusedError


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key appears twice in one object")
    return found


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def read_json(body: bytes) -> Any:
    """What a body holds.

    Raises:
        RefusedError: 400, with the reason and the place.
    """
    try:
        text = body.decode("utf-8")
        return json.loads(text, object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise RefusedError(400, f"The body is no UTF-8: see byte {error.start}.") from error
    except json.JSONDecodeError as error:
        raise RefusedError(400, f"The body is no JSON: {error.msg}, character {error.pos}.") from error
    except RecursionError as error:
        raise RefusedError(400, "The body is no JSON that is read here: it is nested too deeply.") from error
    except ValueError as error:
        raise RefusedError(400, f"The body is no JSON that is read here: {_without_figures(error)}.") from error


def _without_figures(error: ValueError) -> str:
    text = str(error)
    return "a number has too many figures" if "digits" in text else text


class StrictRequest(Request):
    """A request whose JSON is read strictly."""

    async def json(self) -> Any:
        """What the body holds."""
        if not hasattr(self, "_json"):
            self._json = read_json(await self.body())
        return self._json


class StrictRoute(APIRoute):
    """A route whose JSON bodies are read strictly: `APIRouter(route_class=StrictRoute)`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the route, with a request of ours."""
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(StrictRequest(request.scope, request.receive))

        return strict
