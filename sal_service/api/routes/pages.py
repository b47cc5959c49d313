"""The page."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, Response
from starlette.requests import Request

from sal_service.page.page import read_page

router = APIRouter(include_in_schema=False)
PAGE = read_page()


@router.get("/", response_class=HTMLResponse)
def index(request: Request) -> Response:
    """The page; it asks for a token where one is needed."""
    headers = {"Content-Security-Policy": PAGE.csp, "ETag": PAGE.etag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == PAGE.etag:
        return Response(status_code=304, headers=headers)
    return HTMLResponse(PAGE.html, headers=headers)
