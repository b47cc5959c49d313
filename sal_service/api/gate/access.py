"""Who is asking, and whether they may: tokens in a header, sessions in a cookie, never a token in an address.

`AccessMiddleware` identifies whoever asks and refuses all but the public routes to strangers, so that a route that
forgets its `needs` is closed to them. `needs` is what a route asks of a role.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Annotated, Protocol
from urllib.parse import unquote_plus, urlsplit

from fastapi import Request, Response, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from sal_service.api.gate.windows import Window, whole_seconds
from sal_service.api.problems import RefusedError, problem_of
from sal_service.governance.tokens import Role

COOKIE = "sal_session"
SESSION_SECONDS = 12 * 3600
MOST_SESSIONS = 20
"""Of one name; the oldest ends when another begins."""
FAILURES = (10, 60.0)
"""How many tokens that are not valid an address may show by default, in how many seconds."""
PUBLIC = frozenset({"GET /", "HEAD /", "GET /healthz", "GET /readyz", "GET /openapi.json", "POST /v1/session"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
TOKEN_NAMES = frozenset(
    {"token", "access_token", "auth", "auth_token", "authorization", "bearer", "api_key", "apikey", "session", COOKIE}
)
LOOKS_LIKE_A_TOKEN = re.compile(r"(?:^|[^A-Za-z0-9])sal_[A-Za-z0-9_-]{32,}")
BEARER = re.compile(r"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/=-]{1,200})")


class Principal(Protocol):
    """Whoever asks; the name is for the audit log and the limits."""

    @property
    def name(self) -> str:
        """Unique among the tokens."""

    @property
    def roles(self) -> Collection[str]:
        """Some of `search`, `ingest`, `admin`."""


class TokenChecker(Protocol):
    """What knows the tokens."""

    def check(self, token: str, now: float) -> Principal | None:
        """Whose token it is; None if it is nobody's, or expired at `now` (seconds since 1970)."""


@dataclass(frozen=True)
class Local:
    """Everybody, where no tokens are asked for."""

    name: str = "local"
    roles: frozenset[str] = frozenset({"search", "ingest", "admin"})


@dataclass(frozen=True)
class _Session:
    name: str
    token: str
    ends_at: float


class Sessions:
    """Sessions in memory: a cookie's value stands for a token, and ends with it, at the latest after 12 hours.

    The values themselves are not kept, only their hashes.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()
        self._lock = threading.Lock()

    @staticmethod
    def _key(value: str) -> bytes:
        return hashlib.sha256(value.encode()).digest()

    def begin(self, name: str, token: str) -> str:
        """Begin a session; gives the cookie's value."""
        now = self._clock()
        value = secrets.token_urlsafe(32)
        with self._lock:
            for key in [key for key, session in self._sessions.items() if session.ends_at <= now]:
                del self._sessions[key]
            own = [key for key, session in self._sessions.items() if session.name == name]
            for key in own[: max(0, len(own) + 1 - MOST_SESSIONS)]:
                del self._sessions[key]
            self._sessions[self._key(value)] = _Session(name, token, now + SESSION_SECONDS)
        return value

    def token(self, value: str) -> str | None:
        """The token that a cookie's value stands for."""
        with self._lock:
            session = self._sessions.get(self._key(value))
        return session.token if session is not None and session.ends_at > self._clock() else None

    def end(self, value: str) -> None:
        """End a session, if there is one."""
        with self._lock:
            self._sessions.pop(self._key(value), None)


class Access:
    """Who may ask the service.

    Args:
        tokens: what knows the tokens; None lets everybody do everything (on a loopback address only: see the service).
        secure_cookies: cookies are sent over TLS only; False for plain HTTP on a loopback address.
        trusted_proxies: networks, such as `10.0.0.0/8`, of reverse proxies whose `X-Forwarded-For` is believed.
        clock: seconds since 1970, to which expiries refer.
        failures: how many tokens that are not valid an address may show.
    """

    def __init__(
        self,
        tokens: TokenChecker | None,
        *,
        secure_cookies: bool,
        trusted_proxies: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
        failures: Window | None = None,
    ) -> None:
        self._tokens = tokens
        self._secure_cookies = secure_cookies
        self._proxies = [ipaddress.ip_network(proxy) for proxy in trusted_proxies]
        self._clock = clock
        self._sessions = Sessions(clock)
        self._failures = Window(*FAILURES) if failures is None else failures

    @property
    def open_to_all(self) -> bool:
        """Whether everybody may do everything."""
        return self._tokens is None

    def identify(self, scope: Scope) -> Principal | None:
        """Whoever asks; None is a stranger who asks a public route.

        Raises:
            RefusedError: 400 for a token in the address, 401, 403 for another site's page, 429 after many failures.
        """
        refuse_tokens_in_address(scope)
        headers = Headers(scope=scope)
        unsafe = scope["method"] not in SAFE
        if unsafe and is_foreign(headers):
            raise RefusedError(403, "A page of another site may not ask this service to change anything.")
        if self._tokens is None:
            return Local()
        if f"{scope['method']} {scope['path']}" in PUBLIC:
            return None
        shown = headers.getlist("authorization")
        if shown:
            found = BEARER.fullmatch(shown[0]) if len(shown) == 1 else None
            return self._check(found.group(1) if found else "", scope)
        value = session_value(headers)
        token = None if value is None else self._sessions.token(value)
        if token is None:
            raise _unauthorized("This address needs a token; send it in the header `Authorization: Bearer ...`.")
        principal = self._check(token, scope)
        if unsafe and headers.get("sec-fetch-site") != "same-origin" and headers.get("x-sal-request") != "1":
            raise RefusedError(403, "A request that changes something with a session needs `X-Sal-Request: 1`.")
        return principal

    def _check(self, token: str, scope: Scope) -> Principal:
        """Whose token it is.

        A valid token is never kept waiting because others fail from the same address: it has 256 random bits, so that
        the limit need not stop guessing, only the work and the lines in the log that guessing costs.
        """
        assert self._tokens is not None
        principal = self._tokens.check(token, self._clock())
        if principal is not None:
            return principal
        wait = self._failures.take(self.address(scope))
        if wait:
            text = "Too many tokens that are not valid came from your address; wait before the next."
            raise RefusedError(429, text, headers={"Retry-After": whole_seconds(wait)})
        raise _unauthorized("This token is not known here, or has expired; ask whoever runs the service for another.")

    def sign_in(self, request: Request, response: Response, token: str) -> Principal:
        """Begin a session of the page: a token becomes a cookie that its scripts cannot read.

        Raises:
            RefusedError: 401 or 429, as for a token in a header.
        """
        if self._tokens is None:
            return Local()
        principal = self._check(token, request.scope)
        response.set_cookie(
            COOKIE,
            self._sessions.begin(principal.name, token),
            max_age=SESSION_SECONDS,
            path="/",
            secure=self._secure_cookies,
            httponly=True,
            samesite="strict",
        )
        return principal

    def sign_out(self, request: Request, response: Response) -> None:
        """End the session of the request, if it has one."""
        value = session_value(request.headers)
        if value is not None:
            self._sessions.end(value)
        response.delete_cookie(COOKIE, path="/", secure=self._secure_cookies, httponly=True, samesite="strict")

    def is_still(self, request: Request) -> Callable[[], bool]:
        """Tells, for as long as a stream takes, whether whoever asked for it could ask now: tokens and sessions end."""

        def still() -> bool:
            try:
                return self.identify(request.scope) is not None
            except RefusedError:
                return False

        return still

    def address(self, scope: Scope) -> str:
        """The address that a request came from, as limits count it: of IPv6, the network of one customer (/64).

        `X-Forwarded-For` is read from its right end, for as long as the addresses are those of trusted proxies.
        """
        client = scope.get("client")
        found = client[0] if client else "unknown"
        lines = Headers(scope=scope).getlist("x-forwarded-for") if self._proxies else []
        named = [part.strip() for line in lines for part in line.split(",")]
        while named and self._is_proxy(found):
            found = named.pop()
        return _counted(found)

    def _is_proxy(self, address: str) -> bool:
        try:
            return any(ipaddress.ip_address(address) in proxy for proxy in self._proxies)
        except ValueError:
            return False


class AccessMiddleware:
    """Puts whoever asks into `scope["sal.principal"]` and their address into `scope["sal.address"]`, or refuses."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self.app = app
        self.access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "http":
            scope["sal.address"] = self.access.address(scope)
            try:
                scope["sal.principal"] = self.access.identify(scope)
            except RefusedError as refusal:
                await problem_of(refusal)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def _unauthorized(detail: str) -> RefusedError:
    return RefusedError(401, detail, headers={"WWW-Authenticate": "Bearer"})


def _counted(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


def refuse_tokens_in_address(scope: Scope) -> None:
    """Refuse a request whose address carries a token: histories, logs and proxies have kept it.

    Raises:
        RefusedError: 400.
    """
    query = scope["query_string"].decode("latin-1")
    pairs = [part.partition("=") for part in re.split("[&;]", query) if part]
    named = any(unquote_plus(name).strip().lower() in TOKEN_NAMES for name, _, _ in pairs)
    if named or LOOKS_LIKE_A_TOKEN.search(unquote_plus(query)) or LOOKS_LIKE_A_TOKEN.search(scope["path"]):
        text = "A token never belongs into an address: others can read it there. Have it replaced by a new one, and "
        raise RefusedError(400, text + "send that in the header `Authorization: Bearer ...`.")


def is_foreign(headers: Headers) -> bool:
    """Whether a browser says that a page of another origin asks."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site not in ("same-origin", "none")
    origin = headers.get("origin")
    try:
        return origin is not None and urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
    except ValueError:
        return True


def session_value(headers: Headers) -> str | None:
    """The cookie of the session; None if there is none, or more than one (somebody put another beside it)."""
    cookies = [part.strip() for line in headers.getlist("cookie") for part in line.split(";")]
    values = [cookie[len(COOKIE) + 1 :] for cookie in cookies if cookie.startswith(f"{COOKIE}=")]
    return values[0] if len(values) == 1 else None


_BEARER = HTTPBearer(auto_error=False, description="A token that `sal token add` gave.")
_COOKIE = APIKeyCookie(name=COOKIE, auto_error=False, description="The session of the page.")


def principal_of(scope: Scope) -> Principal | None:
    """Whoever asks, as `AccessMiddleware` found; None is a stranger."""
    found: Principal | None = scope.get("sal.principal")
    return found


def may(principal: Principal, role: Role) -> bool:
    """Whether somebody has a role; `admin` has all."""
    return role in principal.roles or "admin" in principal.roles


def needs(*roles: Role) -> Callable[..., Awaitable[Principal]]:
    """A dependency that lets only those in who have one of the roles, and gives them; no roles: anybody with a token.

    `principal: Annotated[Principal, Depends(needs("search"))]`
    """

    async def dependency(  # waits for nothing; of another function FastAPI would make a task of a thread
        request: Request,
        _bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
        _cookie: Annotated[str | None, Security(_COOKIE)],
    ) -> Principal:
        principal = principal_of(request.scope)
        if principal is None:
            raise _unauthorized("This address needs a token; send it in the header `Authorization: Bearer ...`.")
        if roles and not any(may(principal, role) for role in roles):
            wanted = " or ".join(roles)
            raise RefusedError(403, f"{principal.name} lacks the role {wanted}, which this address asks for.")
        return principal

    return dependency
