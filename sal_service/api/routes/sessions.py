"""Who is asking: sessions of the page."""

from __future__ import annotations

from typing import cast

from fastapi import APIRouter, Response
from starlette.requests import Request

from sal_service.api import models
from sal_service.api.gate.access import Access, Principal
from sal_service.api.gate.json_bodies import StrictRoute
from sal_service.api.held import Anybody, Held, HeldAccess
from sal_service.api.problems import RefusedError
from sal_service.governance.tokens import Role

router = APIRouter(route_class=StrictRoute, prefix="/v1/session", tags=["sessions"])


def _told(principal: Principal, access: Access) -> models.SessionAnswer:
    roles = sorted(cast(set[Role], set(principal.roles)))
    return models.SessionAnswer(name=principal.name, roles=roles, open_to_all=access.open_to_all)


@router.get("", response_model=models.SessionAnswer)
def who(access: HeldAccess, principal: Anybody) -> models.SessionAnswer:
    """Who is asking."""
    return _told(principal, access)


@router.post("", response_model=models.SessionAnswer)
def begin(
    asked: models.SessionRequest, request: Request, response: Response, service: Held, access: HeldAccess
) -> models.SessionAnswer:
    """Begin a session: the token becomes a cookie that scripts cannot read."""
    try:
        principal = access.sign_in(request, response, asked.token)
    except RefusedError as error:
        if error.status_code == 401:
            service.audit.append("stranger", "session.refused", None, {"address": access.address(request.scope)})
        raise
    service.audit.append(principal.name, "session.begin", None, {"address": access.address(request.scope)})
    return _told(principal, access)


@router.delete("", status_code=204, response_class=Response)
def end(request: Request, access: HeldAccess, _: Anybody) -> Response:
    """End the session of the cookie."""
    response = Response(status_code=204)
    access.sign_out(request, response)
    return response
