"""Who is asking: sessions of the page."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import APIRouter, Depends, Response
from starlette.requests import Request

from sal_service.api import models
from sal_service.api.access import Access, Principal, needs
from sal_service.api.json_bodies import StrictRoute
from sal_service.api.problems import RefusedError
from sal_service.api.service import Service

Anybody = Annotated[Principal, Depends(needs())]


def session_routes(service: Service, access: Access) -> APIRouter:
    """The routes of sessions."""
    router = APIRouter(route_class=StrictRoute, prefix="/v1/session", tags=["sessions"])

    def told(principal: Principal) -> models.SessionAnswer:
        roles = sorted(cast(set[models.Role], set(principal.roles)))
        return models.SessionAnswer(name=principal.name, roles=roles, open_to_all=access.open_to_all)

    @router.get("", response_model=models.SessionAnswer)
    def who(principal: Anybody) -> models.SessionAnswer:
        """Who is asking."""
        return told(principal)

    @router.post("", response_model=models.SessionAnswer)
    def begin(asked: models.SessionRequest, request: Request, response: Response) -> models.SessionAnswer:
        """Begin a session: the token becomes a cookie that scripts cannot read."""
        try:
            principal = access.sign_in(request, response, asked.token)
        except RefusedError as error:
            if error.status_code == 401:
                service.audit.append("stranger", "session.refused", None, {"address": access.address(request.scope)})
            raise
        service.audit.append(principal.name, "session.begin", None, {"address": access.address(request.scope)})
        return told(principal)

    @router.delete("", status_code=204, response_class=Response)
    def end(request: Request, _: Anybody) -> Response:
        """End the session of the cookie."""
        response = Response(status_code=204)
        access.sign_out(request, response)
        return response

    return router
