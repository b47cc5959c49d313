# ruff: noqa: E501 - tables of inputs read better wide
"""Hostile requests: paths, headers, methods, lengths, tokens, drips."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from tests.service.api.hostile import HARMLESS, REFUSED, Hostile, Target

UPS = (
    "../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "..\\", "%252e%252e%252f", "..%c0%af", "%c0%ae%c0%ae/", "....//",
    "..;/", "%uff0e%uff0e/", "..%00/", "./../", ".%2e/", "%2f..%2f", "..%ef%bc%8f", "\u2025/", "..//", "..%0d%0a/",
)  # fmt: skip
FILES = ("etc/passwd", "proc/self/environ", "tokens.toml", "secret.txt", "gallery.db", "audit.jsonl")
STRAIGHT = (
    "/etc/passwd", "//etc/passwd", "%2fetc%2fpasswd", "file:///etc/passwd", "C:\\Windows\\win.ini", "\\\\host\\share",
    "crop:../secret.txt", "~/.ssh/id_rsa", "secret.txt%00.jpg", "secret.txt\u0000.jpg", "a.jpg/../secret.txt", "%00",
    "con", ".git/config", "..", ".", "%2e", "%2e%2e", "a" * 5000, "a/" * 2000, "\ud800".encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape"),
)  # fmt: skip


def traversal(target: Target) -> Iterator[Hostile]:
    routes = (f"/v1/galleries/{target.gallery}/crops/{{}}", "/v1/galleries/{}/words", "/{}", "/v1/watches/{}")
    payloads = [*STRAIGHT, *(up * 6 + file for up, file in itertools.product(UPS, FILES[:4]))]
    for route, payload in itertools.product(routes, payloads):
        if " " in payload or (route == "/{}" and payload in (".", "%2e")):
            continue
        path = route.format(payload)
        yield Hostile("traversal", path[:100], target.request(f"GET {path}"))


def tokens(target: Target) -> Iterator[Hostile]:
    good = target.tokens["search"]
    start = f"GET /v1/galleries/{target.gallery}/words"
    wrong = [
        "", " ", "null", "undefined", "sal_", "Bearer", "*", "admin", "' OR '1'='1", "%00", "..", "eyJhbGciOiJub25lIn0.e30.",
        good[:-1], good + "x", good[1:], good.swapcase(), good[::-1], good.replace("_", "-"), good[:20], good * 2,
        f'"{good}"', f"{good},{good}", f"{good}\t", f"{good}%20", f"{good};", f"{good}=", f"={good}", f"sal_{good}", f"{good} x",
        "sal_" + "\u0455" * 43, "x" * 1000, target.expired, "0" * 43, "sal_" + "A" * 43, "sal_" + "=" * 43, "true", "-1",
    ]  # fmt: skip
    wrong += [
        good[:place] + ("b" if good[place] != "b" else "c") + good[place + 1 :] for place in range(0, len(good), 3)
    ]
    statuses = frozenset({400, 401, 429})
    for token in wrong:
        yield Hostile(
            "wrong tokens", token[:60], target.request(start, f"Authorization: Bearer {token}", role=None), statuses
        )
        cookie = target.request(start, f"Cookie: sal_session={token}", role=None)
        yield Hostile("wrong cookies", token[:60], cookie, statuses)
    for header in (
        "Basic {}", "Token {}", "{}", "bearer\t{}", "Bearer{}", "Digest {}", "Bearer  x {}", "Bearer token={}", "BearerX {}",
    ):  # fmt: skip
        line = f"Authorization: {header.format(good)}"
        yield Hostile("wrong tokens", header, target.request(start, line, role=None), statuses)
    for name in (
        "X-Authorization",
        "Proxy-Authorization",
        "X-Api-Key",
        "X-Forwarded-User",
        "X-Remote-User",
        "X-Original-URL",
    ):
        yield Hostile("wrong tokens", name, target.request(start, f"{name}: {good}", role=None), statuses)
    double = target.request(start, f"Authorization: Bearer {target.tokens['admin']}", role="search")
    yield Hostile("wrong tokens", "two headers", double, statuses)


def roles(target: Target) -> Iterator[Hostile]:
    gallery = f"/v1/galleries/{target.gallery}"
    reason = {"reason": "test"}
    asked = [
        ("ingest", f"GET {gallery}/words", b""),
        ("ingest", f"GET {gallery}/crops/a.jpg", b""),
        ("ingest", f"POST {gallery}/search", {"description": "red"}),
        ("ingest", "GET /v1/fails/input", b""),
        ("search", f"POST {gallery}/crops", b"x"),
        *(
            (role, f"POST {gallery}/{verb}", {**reason, **body})
            for role in ("search", "ingest")
            for verb, body in (("remove", {"uris": ["crop:a"]}), ("purge", {}), ("swap", {"bundle": "other"}))
        ),
        *((role, f"{start} /v1/cameras/door{verb}", b"") for role in ("search", "ingest") for start, verb in
          (("POST", "/start"), ("POST", "/stop"), ("DELETE", ""))),
        *((role, f"GET {path}", b"") for role in ("search", "ingest") for path in ("/v1/watches", "/v1/audit", "/metrics")),
    ]  # fmt: skip
    for role, start, body in asked:
        if "fails" not in start:
            yield Hostile(
                "other roles", f"{role}: {start}", target.json(start, body, role=role), frozenset({400, 403, 404, 405})
            )
    for start in (
        f"GET {gallery}/words",
        f"POST {gallery}/search",
        "GET /v1/audit",
        "GET /v1/events",
        "GET /metrics",
        "GET /docs",
    ):
        yield Hostile("other roles", f"nobody: {start}", target.json(start, b"{}", role=None), frozenset({401}))


def tokens_in_addresses(target: Target) -> Iterator[Hostile]:
    good = target.tokens["admin"]
    names = ("token", "access_token", "Token", "ACCESS_TOKEN", "auth", "authorization", "api_key", "apikey", "bearer",
             "auth_token", "session", "sal_session", "%74oken", "t%6Fken", "token%20", "q", "description", "x")  # fmt: skip
    for path in ("/v1/session", f"/v1/galleries/{target.gallery}/words", "/v1/events", "/healthz"):
        for name in names:
            for role in (None, "search"):
                start = f"GET {path}?a=1&{name}={good}"
                yield Hostile(
                    "tokens in addresses", f"{path} {name} {role}", target.request(start, role=role), frozenset({400})
                )
        yield Hostile("tokens in addresses", path, target.request(f"GET {path}/{good}", role=None), frozenset({400}))


def hosts(target: Target) -> Iterator[Hostile]:
    wrong = [
        "evil.example", "localhost.evil.example", "evil.example:80", "", "localhost:80:80", "localhost@evil.example",
        "evil.example/localhost", "localhost,evil.example", "127.0.0.1.nip.io", "0x7f000001", "2130706433x", "[::1",
        "[evil]", "localhost:port", "localhost:-1", "localhost?x", "localhost#x", "http://localhost", "*", "local host",
        "loc\u0430lhost", "xn--localhost", "localhost\\", "169.254.169.254.evil.example", "a" * 5000, "localhost:99999999",
        "localhost%00", "%6cocalhost", "null", "169.254.169.254/x",
    ]  # fmt: skip
    for host in wrong:
        yield Hostile("other hosts", host[:40], target.request("GET /healthz", role=None, host=host), frozenset({400}))
    yield Hostile("other hosts", "none", b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", frozenset({400}))
    yield Hostile("other hosts", "1.0", b"GET /healthz HTTP/1.0\r\n\r\n", frozenset({400}))
    for second in ("localhost", "evil.example"):
        twice = target.request("GET /healthz", f"Host: {second}", role=None)
        yield Hostile("other hosts", f"two, {second}", twice, frozenset({400}))
    for scheme in (
        "http://evil.example/healthz",
        "http://169.254.169.254/",
        "//evil.example/healthz",
        "evil.example:80",
    ):
        absolute = target.request(f"GET {scheme}", role=None, host="evil.example")
        yield Hostile("other hosts", scheme, absolute, frozenset({400}))


def methods(target: Target) -> Iterator[Hostile]:
    paths = (
        f"/v1/galleries/{target.gallery}/words",
        f"/v1/galleries/{target.gallery}/search",
        "/v1/session",
        "/healthz",
    )
    for method in (
        "TRACE", "PATCH", "PUT", "PROPFIND", "MKCOL", "COPY", "LOCK", "SEARCH", "PURGE", "REPORT", "SUBSCRIBE", "BREW",
        "get", "Get", "GETS", "CONNECT", "OPTIONS", "LINK", "QUERY", "PRI", "GET\x00", "G\u00cbT", "\u0000", "-",
    ):  # fmt: skip
        for path in paths:
            yield Hostile("methods", f"{method} {path}", target.request(f"{method} {path}"))
    for name in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "_method"):
        for method in ("DELETE", "PUT"):
            changed = target.request(f"GET {paths[0]}", f"{name}: {method}", role="search")
            yield Hostile("methods", f"{name} {method}", changed, frozenset({200, 400}))


def foreign(target: Target) -> Iterator[Hostile]:
    start = f"POST /v1/galleries/{target.gallery}/crops"
    origins = (
        "https://evil.example",
        "null",
        "http://localhost:1",
        "http://localhost.evil.example",
        "file://",
        "http://[",
        "x",
    )
    for origin in origins:
        for kind in ("text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"):
            lines = (f"Origin: {origin}", f"Content-Type: {kind}")
            yield Hostile(
                "other sites' pages", f"{origin} {kind}", target.request(start, *lines, body=b"x"), frozenset({403})
            )
    for site in ("cross-site", "same-site", "", "evil"):
        line = f"Sec-Fetch-Site: {site}"
        yield Hostile("other sites' pages", site, target.request(start, line, body=b"x"), frozenset({403}))
    for path in ("/v1/session", start.split()[1]):
        lines = (
            "Origin: https://evil.example",
            "Access-Control-Request-Method: POST",
            "Access-Control-Request-Headers: authorization",
        )
        yield Hostile("other sites' pages", f"preflight {path}", target.request(f"OPTIONS {path}", *lines, role=None))


def headers(target: Target) -> Iterator[Hostile]:
    start = f"GET /v1/galleries/{target.gallery}/words"
    for size in (33_000, 70_000, 300_000, 2_000_000):
        for name in ("X-A", "Cookie", "Authorization", "Accept", "Referer", "Host", "Content-Type"):
            yield Hostile("large headers", f"{name} {size}", target.request(start, f"{name}: {'a' * size}", role=None))
    for count in (150, 1000, 20_000):
        yield Hostile("large headers", f"{count} lines", target.request(start, *[f"X-{n}: a" for n in range(count)]))
        cookies = "; ".join(f"c{n}=v" for n in range(count * 3))
        yield Hostile("cookie floods", f"{count} in one", target.request(start, f"Cookie: {cookies}", role=None))
        yield Hostile(
            "cookie floods", f"{count} lines", target.request(start, *["Cookie: sal_session=a"] * count, role=None)
        )
    for size in (33_000, 300_000):
        yield Hostile("large headers", f"path {size}", target.request(f"GET /{'a' * size}"))
        yield Hostile("large headers", f"query {size}", target.request(f"GET /healthz?{'a' * size}"))
        yield Hostile("large headers", f"name {size}", target.request(start, f"{'X' * size}: a"))
    for value in (
        "; " * 900,
        "=" * 4000,
        "sal_session" * 400,
        "sal_session=; " * 400,
        "sal_session==;;;",
        "\u00e9=\u00e9",
        '"' * 50,
    ):
        yield Hostile("cookie floods", value[:20], target.request(start, f"Cookie: {value}", role=None))


def line_breaks(target: Target) -> Iterator[Hostile]:
    start = f"GET /v1/galleries/{target.gallery}/words"
    breaks = ("\r", "\n", "\r\n ", "\n\t", "\x00", "\x0b", "\x0c", "\x1b", "\x7f", "\x01")
    for between in breaks:
        for line in (f"X-A: b{between}X-Injected: 1", f"X{between}A: b", f"X-A{between}: b"):
            refused = REFUSED if between not in ("\x0b", "\x0c") or "b" + between not in line else HARMLESS
            yield Hostile("line breaks in headers", repr(line), target.request(start, line), refused)
        version = target.request(f"GET /healthz{between}X-Injected:1", role=None)
        yield Hostile("line breaks in headers", f"path {between!r}", version)
    for value in (
        "%0d%0aX-Injected:%201",
        "%0aX-Injected:1",
        "%E5%98%8A%E5%98%8DX-Injected:1",
        "%0d%0a%0d%0a<script>",
        "%00%0a",
    ):
        for path in (
            f"/v1/galleries/{value}/words",
            f"/v1/galleries/{target.gallery}/crops/{value}",
            f"/{value}",
            f"/v1/watches/{value}",
        ):
            yield Hostile("line breaks in headers", path, target.request(f"GET {path}"))
    for name in ("X A", "X(A)", "X,A", "X/A", "X@A", "X[A]", "X{A}", 'X"A"', "\u00c4", ":", "", " X-A", "X-A "):
        yield Hostile("line breaks in headers", f"name {name!r}", target.request(start, f"{name}: b"))


def smuggling(target: Target) -> Iterator[Hostile]:
    start = f"POST /v1/galleries/{target.gallery}/crops"
    inner = target.request(f"GET /v1/galleries/{target.gallery}/words")
    told = [
        ("Content-Length: 4", "Transfer-Encoding: chunked"), ("Transfer-Encoding: chunked", "Content-Length: 4"),
        ("Content-Length: 4", "Content-Length: 5"), ("Content-Length: 5", "Content-Length: 5"),
        *((f"Content-Length: {value}",) for value in ("-1", "+5", "0x5", "5 5", "5,5", "5;", "5.0", "1e1", "", " ", "\u0665", "5\x00",
          "18446744073709551616", "99999999999999999999999999", "05x", "five", "5_0", "0b1", "NaN")),
        *((f"Transfer-Encoding: {value}",) for value in ("xchunked", "chunked, identity", "identity, x", "gzip", "chunked;q=1",
          "\x0bchunked", "chunked\x00", "x", "chunked, gzip", "chu nked", '"chunked"', "chunked,,x")),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: identity"), ("Transfer-Encoding: x", "Transfer-Encoding: y"),
        ("Transfer-Encoding : chunked",), ("Transfer-Encoding\t: chunked",), (" Transfer-Encoding: chunked",),
        ("X: y\nTransfer-Encoding: chunked",), ("X: y\rTransfer-Encoding: chunked",), ("Content-Length : 5",),
        ("Content-Length: 5\nContent-Length: 6",), ("Content\x00-Length: 5",),
    ]  # fmt: skip
    for lines in told:
        hidden = target.request(start, *lines) + b"0\r\n\r\n" + inner
        yield Hostile("smuggling", " | ".join(map(repr, lines))[:90], hidden)
    chunked = target.request(start, "Transfer-Encoding: chunked")
    for body in (
        b"-1\r\nx\r\n", b"0x1\r\nx\r\n", b"g\r\nx\r\n", b"1 \nx\r\n", b"\r\n", b"1\rx", b"ffffffffffffffff\r\nx", b"fffffffffffffffff\r\nx",
        b"1\r\nxy\r\n0\r\n\r\n", b"1\r\nx0\r\n\r\n", b"+1\r\nx\r\n", b"1\x00\r\nx\r\n", b"\xef\xbc\x91\r\nx\r\n", b"1_0\r\nx", b"1\r\nx\r\n0\r\nX A: b\r\n\r\n",
        b"1;" + b"a" * 200_000, b"0\r\nX: " + b"a" * 200_000, b"0\r\n" + b"X: b\r\n" * 50_000, b"1\r\nx\r\n" * 3 + b"zz\r\n", b"0" * 200_000,
    ):  # fmt: skip
        yield Hostile("chunks", repr(body[:30]), chunked + body + inner)


def noise(target: Target) -> Iterator[Hostile]:
    generator = random.Random(19)
    starts = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1.1\r\n\r\n", b"GET / HTTP/1.1x\r\n\r\n", b"GET\t/ HTTP/1.1\r\nHost: localhost\r\n\r\n", b"SSH-2.0-x\r\n\r\n", b"EHLO x\r\n\r\n", b"*1\r\n$4\r\nPING\r\n",
        b"GET / FTP/1.1\r\n\r\n", b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x00" * 100, b"\xff" * 100, b"GET \x00 HTTP/1.1\r\n\r\n", b"{}\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HTTP/1.1\nHost: x\n\n", b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", b"RTSP/1.0 200 OK\r\n\r\n",
    ]  # fmt: skip
    starts += [generator.randbytes(generator.randint(1, 3000)) + b"\r\n\r\n" for _ in range(40)]
    for start in starts:
        yield Hostile("noise", repr(start[:30]), start)


def odd_texts(target: Target) -> Iterator[Hostile]:
    gallery = f"/v1/galleries/{target.gallery}"
    texts = (
        "%ff",
        "%fe%ff",
        "%c3%28",
        "%ed%a0%80",
        "%00",
        "a%00b",
        "%f8%88%80%80%80",
        "%80",
        "%e0%80%af",
        "%",
        "%zz",
        "%u0041",
        "%2",
        "\u00e4%ff",
    )
    for text in texts:
        for path in (f"{gallery}/crops/{text}", f"/v1/galleries/{text}/words", f"/v1/watches/{text}"):
            yield Hostile("invalid UTF-8 and NUL", path, target.request(f"GET {path}"))
        for query in (f"limit={text}", f"{text}=1&limit={text}", f"camera={text}&limit=0"):
            start = f"POST {gallery}/search/image?{query}"
            yield Hostile("invalid UTF-8 and NUL", start, target.request(start, body=b"x"))


def drips(target: Target) -> Iterator[Hostile]:
    add = f"POST /v1/galleries/{target.gallery}/crops"
    slow = frozenset({400, 408})
    for name, send, drip in (
        ("line breaks", b"", b"\r\n"), ("method", b"", b"G"), ("path", b"GET /", b"a"), ("version", b"GET / HTTP/1.", b""), ("nothing", b"", b""),
        ("names", b"GET / HTTP/1.1\r\n", b"X"), ("values", b"GET / HTTP/1.1\r\nX: ", b"y"), ("lines", b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
        ("host", b"GET / HTTP/1.1\r\nHost: ", b"l"), ("blank", b"GET / HTTP/1.1\r\nHost: localhost\r\n", b""), ("folded", b"GET / HTTP/1.1\r\nX: y\r\n", b" "),
    ):  # fmt: skip
        yield Hostile("dripped headers", name, send, slow, drip)
    bodies = (
        ("length", "Content-Length: 10000", b"", b"x"), ("chunks", "Transfer-Encoding: chunked", b"", b"1\r\nx\r\n"),
        ("chunk size", "Transfer-Encoding: chunked", b"", b"0"), ("extension", "Transfer-Encoding: chunked", b"1;", b"a"),
        ("in a chunk", "Transfer-Encoding: chunked", b"ffff\r\n", b"x"), ("trailers", "Transfer-Encoding: chunked", b"0\r\n", b"X: y\r\n"),
        ("nothing", "Content-Length: 10000", b"", b""), ("last byte", "Content-Length: 10", b"123456789", b""),
    )  # fmt: skip
    for name, told, beginning, drip in bodies:
        yield Hostile("dripped bodies", name, target.request(add, told) + beginning, slow, drip)
    search = f"POST /v1/galleries/{target.gallery}/search"
    json_lines = ("Content-Type: application/json", "Content-Length: 10000")
    yield Hostile("dripped bodies", "json", target.request(search, *json_lines) + b'{"description": "', slow, b"a")
    yield Hostile(
        "dripped bodies", "no such route", target.request("POST /v1/nowhere", "Content-Length: 9999"), REFUSED, b"x"
    )


KINDS = (
    traversal, tokens, roles, tokens_in_addresses, hosts, methods, foreign, headers, line_breaks, smuggling, noise, odd_texts,
    drips,
)  # fmt: skip
