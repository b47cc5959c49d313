"""Who may ask: tokens, roles, sessions, other sites' pages."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from fastapi import Request, Response
from fastapi.testclient import TestClient

from sal_service.api.gate.access import MOST_SESSIONS, SESSION_SECONDS, Access
from sal_service.api.gate.windows import Window
from tests.service.api.small_app import EXPIRES_AT, TOKENS, Clock, TokensByHand, bearer, make_app

WORDS = "/v1/galleries/door/words"
CROPS = "/v1/galleries/door/crops"


class Asked:
    """A service, its clock and its tokens."""

    def __init__(self, tokens: TokensByHand | None, **settings: object) -> None:
        self.clock = Clock()
        self.tokens = tokens
        self.access = Access(
            tokens, secure_cookies=False, clock=self.clock, failures=Window(10, 60.0, clock=self.clock), **settings
        )
        self.app = make_app(self.access, clock=self.clock, hosts=("testserver",))

    def client(self, **settings: object) -> TestClient:
        return TestClient(self.app, **settings)


@pytest.fixture
def asked() -> Asked:
    return Asked(TokensByHand())


@pytest.mark.parametrize(
    ("role", "words", "crops"), [("search", 200, 403), ("ingest", 403, 201), ("admin", 200, 201), (None, 401, 401)]
)
def test_each_role_may_do_its_own(asked: Asked, role: str | None, words: int, crops: int) -> None:
    client = asked.client(headers=bearer(role) if role else {})
    assert client.get(WORDS).status_code == words
    assert client.post(CROPS, content=b"picture").status_code == crops


def test_a_route_whose_author_forgot_the_role_is_closed_to_strangers(asked: Asked) -> None:
    assert asked.client().get("/v1/forgotten").status_code == 401
    assert asked.client().get("/v1/no/such/route").status_code == 401
    assert asked.client().get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "value",
    ["", "Bearer", "Bearer ", "Basic " + TOKENS["search"], TOKENS["search"], "Bearer " + TOKENS["search"] + "x"],
)
def test_a_header_that_holds_no_token_is_401(asked: Asked, value: str) -> None:
    answer = asked.client().get(WORDS, headers={"Authorization": value})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_two_headers_are_401_even_if_one_is_right(asked: Asked) -> None:
    pairs = [("authorization", f"Bearer {TOKENS['search']}"), ("authorization", f"Bearer {TOKENS['admin']}")]
    assert asked.client().get(WORDS, headers=pairs).status_code == 401


def test_tokens_expire(asked: Asked) -> None:
    client = asked.client(headers=bearer("search"))
    asked.clock.now = EXPIRES_AT - 1
    assert client.get(WORDS).status_code == 200
    asked.clock.now = EXPIRES_AT
    assert client.get(WORDS).status_code == 401


def test_failures_are_limited_by_address_and_nobody_is_locked_out(asked: Asked) -> None:
    client = asked.client()
    statuses = [client.get(WORDS, headers={"Authorization": f"Bearer sal_{n}"}).status_code for n in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    assert client.get(WORDS, headers={"Authorization": "Bearer no"}).headers["retry-after"] == "60"
    assert client.get(WORDS, headers=bearer("search")).status_code == 200
    other = asked.client(client=("10.0.0.9", 1))
    assert other.get(WORDS, headers={"Authorization": "Bearer no"}).status_code == 401
    asked.clock.now += 60
    assert client.get(WORDS, headers={"Authorization": "Bearer no"}).status_code == 401


def test_signing_in_counts_as_well(asked: Asked) -> None:
    statuses = []
    for n in range(12):
        asked.clock.now += 4  # the lane of the route allows fewer in a minute, from one address
        client = asked.client(client=(f"2001:db8::{n}", 1))
        statuses.append(client.post("/v1/session", json={"token": f"sal_{n}"}).status_code)
    assert statuses == [401] * 5 + [429] * 7


@pytest.mark.parametrize(
    "query",
    [
        "token=x",
        "access_token=x",
        "a=1&API_KEY=x",
        "%74oken=x",
        "q=" + TOKENS["search"],
        "q=1;token=2",
        TOKENS["admin"],
    ],
)
def test_a_token_in_an_address_is_refused_even_beside_a_right_one(asked: Asked, query: str) -> None:
    answer = asked.client(headers=bearer("search")).get(f"{WORDS}?{query}")
    assert answer.status_code == 400
    assert TOKENS["search"] not in answer.text
    assert asked.client(headers=bearer("search")).get(f"{CROPS}/{TOKENS['search']}").status_code == 400


def test_names_that_begin_like_a_token_are_names(asked: Asked) -> None:
    client = asked.client(headers=bearer("search"))
    assert client.get(f"{CROPS}/sal_door.jpg?camera=sal_door&description=author").status_code == 200


def test_a_session_is_a_cookie_that_scripts_cannot_read(asked: Asked) -> None:
    client = asked.client()
    answer = client.post("/v1/session", json={"token": TOKENS["search"]})
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/", f"Max-Age={SESSION_SECONDS}"} <= set(cookie.split("; "))
    assert TOKENS["search"] not in cookie
    assert client.get("/v1/session").json()["name"] == "the search"
    assert client.get(WORDS).status_code == 200


def test_cookies_are_for_tls_only_where_it_says_so() -> None:
    access = Access(TokensByHand(), secure_cookies=True, clock=Clock())
    client = TestClient(make_app(access, hosts=("testserver",)))
    assert "Secure" in client.post("/v1/session", json={"token": TOKENS["search"]}).headers["set-cookie"]


def test_a_session_that_changes_something_must_show_that_the_page_asks(asked: Asked) -> None:
    client = asked.client()
    client.post("/v1/session", json={"token": TOKENS["ingest"]})
    assert client.post(CROPS, content=b"p").status_code == 403
    for header in ({"Sec-Fetch-Site": "same-origin"}, {"X-Sal-Request": "1"}):
        assert client.post(CROPS, content=b"p", headers=header).status_code == 201
    for site in ("cross-site", "same-site"):
        foreign = {"X-Sal-Request": "1", "Sec-Fetch-Site": site}
        assert client.post(CROPS, content=b"p", headers=foreign).status_code == 403


def test_a_session_ends_at_sign_out_with_its_token_and_by_itself(asked: Asked) -> None:
    client = asked.client()
    client.post("/v1/session", json={"token": TOKENS["search"]})
    value = client.cookies["sal_session"]
    old = asked.client(cookies={"sal_session": value})
    assert client.delete("/v1/session", headers={"X-Sal-Request": "1"}).status_code == 204
    assert "sal_session" not in client.cookies
    assert old.get(WORDS).status_code == 401

    client.post("/v1/session", json={"token": TOKENS["search"]})
    asked.tokens.removed.add("search")
    assert client.get(WORDS).status_code == 401
    asked.tokens.removed.clear()
    asked.clock.now += SESSION_SECONDS
    assert client.get(WORDS).status_code == 401


def test_the_oldest_session_of_a_name_makes_room(asked: Asked) -> None:
    clients = []
    for _ in range(MOST_SESSIONS + 1):
        asked.clock.now += 13
        clients.append(asked.client())
        assert clients[-1].post("/v1/session", json={"token": TOKENS["search"]}).status_code == 200
    statuses = []
    for client in clients:
        asked.clock.now += 1
        statuses.append(client.get(WORDS).status_code)
    assert statuses == [401] + [200] * MOST_SESSIONS


def test_sessions_begin_and_end_in_many_threads(asked: Asked) -> None:
    def begin_and_end(number: int) -> bool:
        answer = Response()
        strangers = {"type": "http", "headers": [], "client": ("10.0.0.1", 1)}
        asked.access.sign_in(Request(strangers), answer, list(TOKENS.values())[number % 3])
        cookie = answer.headers["set-cookie"].partition(";")[0].encode()
        asked.access.sign_out(Request({"type": "http", "headers": [(b"cookie", cookie)]}), answer)
        return cookie.startswith(b"sal_session=")

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(begin_and_end, range(2000)))


def test_a_second_cookie_of_that_name_spoils_both(asked: Asked) -> None:
    client = asked.client()
    client.post("/v1/session", json={"token": TOKENS["search"]})
    value = client.cookies["sal_session"]
    client.cookies.clear()
    assert client.get(WORDS, headers={"Cookie": f"sal_session={value}; a=b"}).status_code == 200
    assert client.get(WORDS, headers={"Cookie": f"sal_session={value}; sal_session=x"}).status_code == 401


def test_without_tokens_everybody_may_but_no_page_of_another_site() -> None:
    asked = Asked(None)
    client = asked.client()
    assert client.get("/v1/session").json()["open_to_all"] is True
    assert client.post("/v1/session", json={"token": "any"}).json()["name"] == "local"
    assert client.post(CROPS, content=b"p").status_code == 201
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://testserver:81"},
        {"Origin": "http://[bad"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        assert client.post(CROPS, content=b"p", headers=headers).status_code == 403, headers
    for headers in ({"Origin": "http://testserver"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
        assert client.post(CROPS, content=b"p", headers=headers).status_code == 201, headers


@pytest.mark.parametrize(
    ("client", "forwarded", "address"),
    [
        ("203.0.113.5", "1.1.1.1", "203.0.113.5"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "<script>", "unknown"),
        ("2001:db8:1:2:3:4:5:6", None, "2001:db8:1:2::/64"),
        ("::ffff:198.51.100.7", None, "198.51.100.7"),
    ],
)
def test_addresses_behind_trusted_proxies_only(client: str, forwarded: str | None, address: str) -> None:
    access = Access(None, secure_cookies=False, trusted_proxies=["10.0.0.0/8"])
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    assert access.address({"type": "http", "client": (client, 1), "headers": headers}) == address
    nobody = Access(None, secure_cookies=False)
    assert nobody.address({"type": "http", "client": ("10.0.0.1", 1), "headers": headers}) == "10.0.0.1"
