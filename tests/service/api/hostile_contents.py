# ruff: noqa: E501 - tables of inputs read better wide
"""Hostile contents: JSON, images, forms, parameters, addresses to call, words that are commands elsewhere."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from urllib.parse import quote

import cv2
import numpy as np

from tests.service.api.hostile import HARMLESS, REFUSED, Hostile, Target

INJECTIONS = (
    "' OR '1'='1", "'; DROP TABLE items; --", '" OR ""="', "1; SELECT pg_sleep(9)", "x' UNION SELECT sqlite_version() --", "%' AND 1=0 --", "x'/**/OR/**/1=1#",
    "'; ATTACH DATABASE 'x.db' AS y; --", "load_extension('/tmp/x')", "1 RLIKE SLEEP(9)", "\\'; exec xp_cmdshell('dir') --", "admin'--", "') OR ('a'='a",
    "camera == 'x' or true", "meta['a'] in ['b'] || 1 == 1", "json_contains(meta, '')", "__import__('os').system('id')", "${7*7}", "{{7*7}}", "{{config}}", "<%= 7*7 %>",
    "#{7*7}", "${jndi:ldap://127.0.0.1/a}", "$(id)", "`id`", "; cat /etc/passwd", "| id", "&& id", "%0a id", "{0.__class__.__mro__}", "{self}", "%s%s%s%n", "%x%x%x",
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "javascript:alert(1)", "\"><svg/onload=alert(1)>", "]]>", "<!--", "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>",
    "*)(uid=*))(|(uid=*", "../../../etc/passwd", "=cmd|' /C calc'!A0", "@SUM(1+1)", "-2+3", "\u202eesrever", "\u0000", "\ufeff", "\u200b\u200b", "Z\u0351\u0343\u0300" * 50, "\U0001f600" * 100,
    "a" * 500, "(" * 250, "!" * 400, "|".join(["red"] * 100), ",".join(["red"] * 100), "!!!!red", "red" + " red" * 120, "=" * 100, "upper-colour==red", "gender=male,gender=female,!gender=male",
    "(a+)+$", "(" * 50 + "a" + ")*" * 50, "[[[[", "\\", "\\\\\\\\", "1e999", "NaN", "-0", "null", "undefined", "true", "[object Object]",
)  # fmt: skip
BAD_JSON = (
    b"", b"{", b"}", b"[", b"nul", b"{'a': 1}", b'{"description": "x",}', b'{"description" "x"}', b'{"description": "x"} {"a": 1}', b'{"description": "x"', b'"', b"\xff\xfe{\x00}\x00", b"\xef\xbb\xbf{}",
    b'{"description": "\xff"}', b'{"description": "\xed\xa0\x80"}', b'{"description": "\\ud800"}', b'{"description": "\\u0000"}', b'{"description": "\x00"}', b'{"description": "\n"}', b'{"description": "\\x41"}',
    b'{"limit": NaN}', b'{"limit": Infinity}', b'{"min_likelihood": NaN}', b'{"min_likelihood": -Infinity}', b'{"min_likelihood": 1e999}', b'{"min_likelihood": -1e-999999}{', b'{"limit": 01}', b'{"limit": +1}', b'{"limit": .5}',
    b'{"limit": 0x10}', b'{"limit": 1_000}', b'{"limit": ' + b"9" * 5000 + b"}", b'{"limit": -' + b"9" * 4000 + b"}", b'{"limit": 1e5}', b'{"limit": 2147483648}', b'{"limit": 9223372036854775808}', b'{"limit": -1}', b'{"limit": 0}', b'{"limit": 1.5}',
    b'{"limit": "ten"}', b'{"limit": null}', b'{"limit": [1]}', b'{"limit": {"a": 1}}', b'{"limit": 3, "limit": 4}', b'{"where": {"tracks": [], "tracks": []}}', b'{"description": ["x"]}', b'{"description": {"$gt": ""}}', b'{"description": 1}', b'{"description": true}',
    b'{"description": ""}', b'{"description": "' + b"x" * 501 + b'"}', b'{"__proto__": {"a": 1}}', b'{"constructor": 1}', b'{"": 1}', b'{"terms": 1}', b'{"terms": [{"values": []}]}', b'{"terms": [{"values": ["a"], "x": 1}]}',
    b'{"like": ["' + b"x" * 1001 + b'"]}', b'{"like": [' + b'"a",' * 20 + b'"a"]}', b'{"where": {"cameras": ["../x"]}}', b'{"where": {"cameras": ["a b"]}}', b'{"where": {"captured_from": "yesterday"}}', b'{"where": {"captured_from": "2026-01-01T00:00:00"}}', b'{"where": {"captured_from": 1e400}}',
    b'{"where": {"captured_from": "99999-01-01T00:00:00Z"}}', b'{"where": {"metadata": {"a": "b"}}}', b'{"where": {"metadata": {"\\u0000": ["b"]}}}', b'{"offset": 10001}', b'{"order": "random()"}', b'{"min_likelihood": 1.01}', b'{"min_likelihood": -0.01}',
    b"[" * 100_000, b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 50_000 + b"1" + b"}" * 50_000, b'{"where": {"metadata": {"a": ' + b"[" * 2000 + b"]" * 2000 + b"}}}", b"1", b"null", b"true", b'"x"', b"[]", b"[{}]", b"\x00", b" ", b"\n\n", b"<a/>", b"a=b", b"%7B%7D",
    b"{" + b",".join(b'"k%d": 1' % number for number in range(10_000)) + b"}", b'{"terms": [' + b'{"values": ["a"]},' * 50 + b'{"values": ["a"]}]}', b'{"like": [' + b",".join(b'"a%d"' % n for n in range(5000)) + b"]}",
)  # fmt: skip


def bodies(target: Target) -> Iterator[Hostile]:
    gallery = f"/v1/galleries/{target.gallery}"
    for body in BAD_JSON:
        yield Hostile("bad JSON", f"search {body[:50]!r}", target.json(f"POST {gallery}/search", body))
    for verb, body in ((verb, body) for verb in ("remove", "purge") for body in BAD_JSON[:60:2]):
        yield Hostile("bad JSON", f"{verb} {body[:50]!r}", target.json(f"POST {gallery}/{verb}", body))
    for body in BAD_JSON[:60:3]:
        yield Hostile("bad JSON", f"session {body[:50]!r}", target.json("POST /v1/session", body))
    good = b'{"description": "red"}'
    for kind in (
        "text/plain",
        "",
        "text/html",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json\x00",
        "*/*",
        "application",
        "/",
        "image/jpeg",
        "a" * 2000,
    ):
        request = target.request(f"POST {gallery}/search", f"Content-Type: {kind}", body=good)
        yield Hostile("other content types", kind[:40], request)
    for encoding in ("gzip", "deflate", "br", "zstd", "compress", "gzip, gzip", "x"):
        packed = gzip.compress(b'{"description": "' + b"a" * 10_000_000 + b'"}')
        lines = ("Content-Type: application/json", f"Content-Encoding: {encoding}")
        yield Hostile("packed bodies", encoding, target.request(f"POST {gallery}/search", *lines, body=packed))


def sizes(target: Target) -> Iterator[Hostile]:
    gallery = f"/v1/galleries/{target.gallery}"
    too_large, refused = frozenset({413}), frozenset({400, 404, 405, 408, 413})
    for route in (
        f"{gallery}/search",
        f"{gallery}/crops?camera=door&captured_at=2026-01-01T00:00:00Z",
        f"{gallery}/search/image",
        "/v1/session",
        f"{gallery}/words",
        "/v1/nowhere",
    ):
        statuses = too_large if route not in (f"{gallery}/words", "/v1/nowhere") else refused
        for length in (300_000_000, 2**32, 2**63 - 1):
            told = (
                target.request(f"POST {route}", "Content-Type: application/json", f"Content-Length: {length}")
                + b"{" * 1000
            )
            yield Hostile("oversized bodies, length told", f"{route} {length}", told, statuses)
            waiting = target.request(f"POST {route}", f"Content-Length: {length}", "Expect: 100-continue")
            yield Hostile("oversized bodies, length told", f"{route} {length} expect", waiting, statuses)
        chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"
        start = target.request(f"POST {route}", "Content-Type: application/json", "Transfer-Encoding: chunked")
        yield Hostile("oversized bodies, no length", route, start, statuses, drip=chunk * 64)
        huge = start + b"7fffffff\r\n" + b" " * 200_000
        yield Hostile(
            "oversized bodies, no length", f"{route} in one chunk", huge, statuses | {408}, drip=b" " * 4_000_000
        )


def injections(target: Target) -> Iterator[Hostile]:
    gallery = f"/v1/galleries/{target.gallery}"
    for text in INJECTIONS:
        places: tuple[object, ...] = (
            {"description": text}, {"terms": [{"values": [text]}]}, {"like": [text]}, {"where": {"tracks": [text]}}, {"where": {"metadata": {text: [text]}}}, {"reason": text, "description": "red"},
        )  # fmt: skip
        for place in places:
            yield Hostile(
                "injection as values", json.dumps(place)[:80], target.json(f"POST {gallery}/search", place), HARMLESS
            )
        bad_name = target.json(f"POST {gallery}/search", {"where": {"cameras": [f"{text} "]}})
        yield Hostile("injection as names", f"camera {text[:50]}", bad_name)
        for path in ("/v1/galleries/{}/words", f"{gallery}/crops/{{}}", "/v1/watches/{}", "/v1/cameras/{}/start"):
            start = ("POST " if "cameras" in path else "GET ") + path.format(quote(text, safe=""))
            yield Hostile("injection as names", start[:80], target.request(start))
        add = f"POST {gallery}/crops?camera={quote(text, safe='')}%20&captured_at={quote(text)}&meta={quote(text)}"
        yield Hostile("injection as names", add[:80], target.request(add, body=b"no image"))


def parameters(target: Target) -> Iterator[Hostile]:
    start = f"POST /v1/galleries/{target.gallery}/search/image"
    for value in (
        "-1",
        "0",
        "201",
        "1e3",
        "nan",
        "inf",
        "0x10",
        "9" * 400,
        "-" + "9" * 400,
        "1.5",
        "",
        "null",
        "[]",
        "1;2",
        "1,2",
        "\u0661" * 20,
        "1%00",
        "ten",
        "++1",
        "1 1",
    ):
        yield Hostile("parameters", f"limit={value[:20]}", target.request(f"{start}?limit={quote(value)}", body=b"x"))
        yield Hostile(
            "parameters",
            f"by_track={value[:20]}",
            target.request(f"{start}?by_track={quote(value)}-&limit=0", body=b"x"),
        )
    for query in (
        "limit=1&" * 3000 + "limit=0",
        "&" * 5000 + "limit=0",
        "=" * 500 + "&limit=0",
        "limit[]=1&limit[$gt]=0&limit=0",
        "camera=" + "a" * 65,
        "camera=..&camera=../..",
        "camera=" + "&camera=".join(["a"] * 1001),
    ):
        yield Hostile("parameters", query[:40], target.request(f"{start}?{query}", body=b"x"))
    crops = f"/v1/galleries/{target.gallery}/crops"
    for box in (
        "1,2,3",
        "1,2,3,4,5",
        "a,b,c,d",
        "-1,-1,-1,-1",
        "0,0,0,0",
        "1e9,1,1,1",
        "9" * 30 + ",1,1,1",
        "nan,1,1,1",
        ",,,",
        "1,2,3,4\x00",
        "1;2;3;4",
    ):
        yield Hostile(
            "parameters",
            f"box={box[:20]}",
            target.request(
                f"POST {crops}?camera=door&captured_at=2026-01-01T00:00:00Z&box={quote(box)}", body=b"no image"
            ),
        )
    for moment in (
        "yesterday",
        "2026-01-01",
        "2026-13-01T00:00:00Z",
        "1e999",
        "nan",
        "-1",
        "9" * 30,
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
        "2026-01-01T00:00:00",
        "2026-01-01T25:00:00Z",
        "' OR 1=1",
    ):
        yield Hostile(
            "parameters",
            f"captured_at={moment}",
            target.request(f"POST {crops}?camera=door&captured_at={quote(moment)}", body=b"no image"),
        )
    for page in (
        "before=-1",
        "before=x",
        "limit=0",
        "limit=-5",
        "limit=99999999999",
        "before=" + "9" * 400,
        "limit=nan",
        "before=1;drop",
    ):
        yield Hostile("parameters", page[:30], target.request(f"GET /v1/audit?{page}"))
    for ranges in (
        "bytes=0-,0-,0-",
        "bytes=" + ",".join(f"{n}-" for n in range(2000)),
        "bytes=-1",
        "bytes=9-1",
        "bytes=" + "0-0," * 3000 + "0-0",
        "items=0-5",
        "bytes=a-b",
        "bytes=0-18446744073709551615",
    ):
        for path in (f"{crops}/a.jpg", "/healthz"):
            yield Hostile(
                "range floods", f"{path} {ranges[:30]}", target.request(f"GET {path}", f"Range: {ranges}"), HARMLESS
            )


def _png(width: int, height: int, pixels: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    more = b"".join(chunk(*pair) for pair in extra)
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _jpeg(progressive: int = 0) -> bytes:
    pixels = np.random.default_rng(19).integers(0, 255, (64, 32, 3), dtype=np.uint8)
    return bytes(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_PROGRESSIVE, progressive])[1])


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../evil.txt", b"0" * 10_000_000)
    return stream.getvalue()


def bad_images() -> Iterator[tuple[str, bytes]]:
    """Files that are no image, or not one that is read."""
    jpeg = _jpeg()
    rows = zlib.compress(b"\x00" * 20_000_000, 9)
    for side in (30_000, 65_535, 100_000, 2**31 - 1):
        yield f"PNG of {side} x {side}", _png(side, side, rows)
    yield "PNG 30,000 x 30,000 with all its pixels packed", _png(30_000, 30_000, _all_zeros(30_000 * (3 * 30_000 + 1)))
    yield "PNG of 0 x 0", _png(0, 0, rows)
    yield "PNG of 1 x 2^31", _png(1, 2**31 - 1, rows)
    yield "PNG with no pixels", _png(64, 64, b"")
    yield "PNG with no PNG in it", _png(64, 64, b"no zlib")
    yield "PNG text bomb", _png(30_000, 30_000, b"", (b"zTXt", b"a\x00\x00" + rows))
    yield "PNG of 20,000 chunks", _png(64, 64, b"", *[(b"tEXt", b"a\x00b")] * 20_000)
    for place in (163, 164):
        offset = jpeg.index(b"\xff\xc0") + 5 if b"\xff\xc0" in jpeg else 0
        huge = jpeg[:offset] + struct.pack(">HH", 65_500, 65_500 - place) + jpeg[offset + 4 :]
        yield f"JPEG that says 65,500 x {65_500 - place}", huge
    for share in range(0, 100, 4):
        yield f"JPEG cut at {share} %", jpeg[: len(jpeg) * share // 100]
    staged = _jpeg(progressive=1)
    scans = staged[:-2] + staged[staged.rindex(b"\xff\xda") : -2] * 3000 + b"\xff\xd9"
    yield "JPEG of 3,000 scans", scans
    for start in (
        b"\xff\xd8",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe1\xff\xff",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\xff\xff\xff\xffWEBPVP8 ",
        b"RIFF\x00\x00\x00\x00WEBP",
        b"BM" + b"\xff" * 60,
        b"BM" + b"\x00" * 60,
        b"II*\x00" + b"\xff" * 100,
        b"MM\x00*" + b"\xff" * 100,
    ):
        yield f"only a beginning: {start[:12]!r}", start
        yield f"a beginning and zeros: {start[:12]!r}", start + b"\x00" * 5000
    yield from (
        ("text", b"hello"), ("page", b"<html><script>alert(1)</script></html>"), ("SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'),
        ("XML entities", b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><svg>&b;</svg>'), ("PDF", b"%PDF-1.7\n1 0 obj\n<<>>"), ("ZIP", _zip()), ("gzip bomb", gzip.compress(b"0" * 30_000_000)), ("ELF", b"\x7fELF" + b"\x00" * 500),
        ("pickle", b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94."), ("numpy", b"\x93NUMPY\x01\x00v\x00" + b" " * 118), ("MP4", b"\x00\x00\x00 ftypisom" + b"\x00" * 500), ("playlist", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"), ("concat", b"ffconcat version 1.0\nfile /etc/passwd\n"),
        ("MVG", b"push graphic-context\nimage over 0,0 0,0 'https://127.0.0.1/x'\npop graphic-context"), ("EPS", b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) (r) file"), ("GIF", b"GIF89a\xff\xff\xff\xff\x80\x00\x00" + b"\x00" * 200), ("GIF of PHP", b"GIF89a<?php system('id'); ?>"), ("empty", b""), ("one byte", b"\x00"), ("a megabyte of zeros", b"\x00" * 1_000_000),
        ("page that begins as JPEG", b"\xff\xd8\xff\xe0<script>alert(1)</script>"), ("PNG header and a page", _png(64, 64, b"")[:33] + b"<script>alert(1)</script>"),
    )  # fmt: skip


def _all_zeros(length: int) -> bytes:
    """Zeros as zlib packs them, quickly: a packed piece repeated; the checksum of zeros is known."""
    piece, rest = 10_000_000, length % 10_000_000
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(b"\x00" * piece) + packer.flush(zlib.Z_FULL_FLUSH)
    ending = zlib.compressobj(9, zlib.DEFLATED, -15)
    last = ending.compress(b"\x00" * rest) + ending.flush()
    return b"\x78\xda" + packed * (length // piece) + last + struct.pack(">I", (length % 65521) << 16 | 1)


def images(target: Target) -> Iterator[Hostile]:
    gallery = f"/v1/galleries/{target.gallery}"
    add = f"POST {gallery}/crops?camera=door&captured_at=2026-01-01T00:00:00Z"
    for name, content in bad_images():
        for route in (add, f"POST {gallery}/search/image"):
            request = target.request(route, "Content-Type: image/jpeg", body=content or b"")
            yield Hostile("images that are none", f"{name}: {route[5:60]}", request)
    jpeg = _jpeg()
    comment = jpeg[:2] + b"\xff\xfe\x00\x1c<script>alert(1)</script>\x00" + jpeg[2:]
    for name, content in (
        ("JPEG and page", jpeg + b"<script>alert(1)</script>"),
        ("JPEG and ZIP", jpeg + _zip()),
        ("JPEG comment", comment),
        ("JPEG and PHP", jpeg + b"<?php ?>"),
    ):
        request = target.request(f"POST {gallery}/search/image", "Content-Type: text/html", body=content)
        yield Hostile("polyglots", name, request, HARMLESS)


def forms(target: Target) -> Iterator[Hostile]:
    start = f"POST /v1/galleries/{target.gallery}/crops/batch"
    part = '--x\r\nContent-Disposition: form-data; name="{}"{}\r\n\r\n{}\r\n'
    items = json.dumps([{"file": "a", "camera": "door", "captured_at": "2026-01-01T00:00:00Z"}])
    name_items = part.format("items", "", items)
    for kind, body in (
        ("multipart/form-data", name_items + "--x--\r\n"), ("multipart/form-data; boundary=", name_items), ("multipart/form-data; boundary=" + "x" * 5000, name_items), ("multipart/form-data; boundary=\u00e4", name_items), ("multipart/form-data; boundary=y", name_items), ("multipart/form-data; boundary=x", name_items),
        ("multipart/form-data; boundary=x", "--x\r\n\r\n\r\n--x--"), ("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data\r\n\r\n--x--"), ("multipart/form-data; boundary=x", "--x--"), ("multipart/form-data; boundary=x", ""), ("multipart/mixed; boundary=x", name_items + "--x--"),
        ("multipart/form-data; boundary=x", name_items * 2 + "--x--\r\n"), ("multipart/form-data; boundary=x", part.format("items", "", "[" * 50_000) + "--x--\r\n"), ("multipart/form-data; boundary=x", part.format("items", "", "{}") + "--x--\r\n"), ("multipart/form-data; boundary=x", part.format("items", "", '[{"file": "a"}]') + "--x--\r\n"),
        ("multipart/form-data; boundary=x", "".join(part.format(f"f{n}", "", "v") for n in range(2000)) + "--x--\r\n"), ("multipart/form-data; boundary=x", "".join(part.format("files", f'; filename="{n}"', "v") for n in range(2000)) + name_items + "--x--\r\n"), ("multipart/form-data; boundary=x", "--x\r\n" + "X: y\r\n" * 5000 + "\r\n--x--"),
        ("multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"" + "a" * 100_000 + '"\r\n\r\nv\r\n--x--'), ("application/x-www-form-urlencoded", "items=" + quote(items)), ("application/json", items), ("text/plain", items),
    ):  # fmt: skip
        line = f"Content-Type: {kind}"
        statuses = HARMLESS if "urlencoded" in kind else REFUSED
        request = target.request(start, line, body=body.encode() or b" ")
        yield Hostile("forms", f"{kind[:40]} {body[:30]!r}", request, statuses)
    for name in (
        "../../evil.jpg",
        "/etc/passwd",
        "a\x00.jpg",
        "a%00.jpg",
        "..\\..\\evil",
        "C:\\evil",
        "a" * 1000,
        "\u202e",
        "'; DROP TABLE items; --",
        'a\\"b',
        "crop:../x",
        "<script>",
    ):
        items = json.dumps([{"file": name, "camera": "door", "captured_at": "2026-01-01T00:00:00Z"}])
        body = part.format("items", "", items) + part.format("files", f'; filename="{name}"', "no image") + "--x--\r\n"
        request = target.request(start, "Content-Type: multipart/form-data; boundary=x", body=body.encode())
        yield Hostile("forms", f"file {name[:40]!r}", request, HARMLESS)


def addresses(target: Target) -> Iterator[Hostile]:
    wrong = (
        "http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://metadata.google.internal/", "http://127.0.0.1:22/", "http://localhost/", "http://[::1]/", "http://0.0.0.0/", "http://0/", "http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://127.1/", "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:a9fe:a9fe]/", "http://[fe80::1]/", "http://10.0.0.1/", "http://192.168.0.1/", "http://127.0.0.1.nip.io/", "http://evil.example@169.254.169.254/", "http://169.254.169.254#@alerts.example.org/", "http://alerts.example.org@127.0.0.1/", "http://alerts.example.org:80@127.0.0.1/", "http://alerts.example.org\\@127.0.0.1/",
        "file:///etc/passwd", "gopher://127.0.0.1:6379/_FLUSHALL", "ftp://127.0.0.1/", "dict://127.0.0.1:11211/", "ldap://127.0.0.1/", "javascript:alert(1)", "data:text/plain,x", "//127.0.0.1/", "http:///", "http://", "", "x", "http://a\r\nX-Injected: 1/", "http://a b/", "http://\u2460\u2461\u2466.0.0.1/", "http://127\u30020\u30020\u30021/", "unix:/run/x.sock", "http+unix://%2frun%2fx.sock/",
    )  # fmt: skip
    for address in wrong:
        watch = {
            "name": "w",
            "gallery": target.gallery,
            "description": "red",
            "min_likelihood": 0.5,
            "reason": "test",
            "expires_at": "2026-12-30T00:00:00Z",
            "deliver": [{"kind": "webhook", "url": address}],
        }
        yield Hostile("addresses to call", f"watch {address[:50]}", target.json("POST /v1/watches", watch))
    for source in (address for address in wrong if not address.startswith(("http", "x", "//"))):
        camera = {"name": "hostile", "source": source, "gallery": target.gallery}
        yield Hostile("addresses to call", f"camera {source[:50]}", target.json("POST /v1/cameras", camera))
    for topic in ("#", "+", "a/#", "a/+/b", "", "\x00", "a" * 501, "$SYS/#"):
        watch = {
            "name": "w",
            "gallery": target.gallery,
            "description": "red",
            "min_likelihood": 0.5,
            "reason": "test",
            "expires_at": "2026-12-30T00:00:00Z",
            "deliver": [{"kind": "mqtt", "topic": topic}],
        }
        yield Hostile("addresses to call", f"topic {topic[:20]!r}", target.json("POST /v1/watches", watch))


KINDS = (bodies, sizes, injections, parameters, images, forms, addresses)
