"""What every answer says to browsers, and which names of hosts are answered to.

A page of the internet can point its own name at this machine (DNS rebinding) and would then be of the same origin as
the service; the `Host` header gives it away. CORS is never granted.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sal_service.api.problems import problem

LOOPBACK_NAMES = frozenset({"localhost"})
HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?")
ALWAYS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"x-frame-options": b"DENY",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"permissions-policy": b"camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}
USUALLY = {
    b"content-security-policy": b"default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    b"cache-control": b"no-store",
}
"""Unless the route says otherwise: the page has a policy of its own, and may be kept."""


class SecurityHeaders:
    """A middleware: headers on every answer, and 400 for a name of a host that is not one of the service's.

    Args:
        app: the app inside.
        host_names: names that people reach the service by, besides `localhost` and addresses in figures (a name of
            somebody else's cannot be one of those).
    """

    def __init__(self, app: ASGIApp, host_names: Collection[str] = ()) -> None:
        self.app = app
        self._names = LOOPBACK_NAMES | {name.lower().rstrip(".") for name in host_names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name.lower(): value for name, value in message.get("headers", [])}
                kept = [pair for pair in message.get("headers", []) if pair[0].lower() not in ALWAYS]
                usual = [pair for pair in USUALLY.items() if pair[0] not in own]
                message = {**message, "headers": [*kept, *ALWAYS.items(), *usual]}
            await send(message)

        wrong = self._wrong_host(scope)
        if wrong is None:
            await self.app(scope, receive, with_headers)
        else:
            await problem(400, wrong)(scope, receive, with_headers)

    def _wrong_host(self, scope: Scope) -> str | None:
        values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        found = HOST.fullmatch(values[0]) if len(values) == 1 else None
        if found is None:
            return "The request needs one header `Host`, with a name and perhaps a port."
        name = found.group(1).lower().rstrip(".")
        if name in self._names or _is_address(name.strip("[]")):
            return None
        return "The header `Host` is none of this service's names; whoever runs it can add the name."


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
