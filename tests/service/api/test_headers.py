"""Headers of every answer, and names of hosts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi.testclient import TestClient

from sal_service.api.gate.headers import SecurityHeaders
from tests.service.api.small_app import bearer, make_app

EXPECTED = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "x-frame-options": "DENY",
}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/galleries/door/words", 200),
        ("GET", "/v1/galleries/door/crops/a.jpg", 200),
        ("GET", "/healthz", 200),
        ("GET", "/v1/nowhere", 404),
        ("PATCH", "/healthz", 405),
        ("POST", "/v1/galleries/door/search", 400),
        ("POST", "/v1/galleries/door/crops", 403),
        ("GET", "/v1/fails/unknown", 500),
        ("GET", "/v1/fails/busy", 503),
        ("GET", "/v1/session?token=x", 400),
        ("OPTIONS", "/v1/session", 405),
    ],
)
def test_every_answer_has_them(method: str, path: str, status: int) -> None:
    client = TestClient(make_app(hosts=("testserver",)), headers=bearer("search"))
    answer = client.request(method, path, headers={"Origin": "http://testserver"})
    assert answer.status_code == status
    assert {name: answer.headers.get(name) for name in EXPECTED} == EXPECTED
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_route_may_have_its_own_policy_but_not_weaken_the_rest() -> None:
    own = [(b"Content-Security-Policy", b"default-src 'self'"), (b"X-Frame-Options", b"ALLOW")]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": own})

    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"localhost")]}
    asyncio.run(SecurityHeaders(app)(scope, None, send))  # type: ignore[arg-type]
    names = [name.lower() for name, _ in sent[0]["headers"]]
    assert len(names) == len(set(names))
    assert dict(sent[0]["headers"])[b"Content-Security-Policy"] == b"default-src 'self'"
    assert dict(sent[0]["headers"])[b"x-frame-options"] == b"DENY"


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "localhost.", "127.0.0.1:80", "[::1]:8000", "192.168.1.7", "sal.example.org:443"],
)
def test_names_of_the_service_are_answered_to(host: str) -> None:
    client = TestClient(make_app(hosts=("Sal.Example.org",)))
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "", "localhost, evil.example", "user@localhost", "localhost:x", "[::1",
     "127.0.0.1.nip.io", "0x7f.1", "localhost:8000:9", "sal.example.org.evil.example", "[localhost]", "localhost\x00"],
)  # fmt: skip
def test_other_names_are_not(host: str) -> None:
    client = TestClient(make_app(hosts=("sal.example.org",)))
    answer = client.get("/healthz", headers={"Host": host})
    assert answer.status_code == 400
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_two_hosts_are_refused() -> None:
    client = TestClient(make_app())
    answer = client.get("/healthz", headers=[("host", "localhost"), ("host", "localhost")])
    assert answer.status_code == 400
