"""Puts the page together from the files beside this one, and derives the policy that lets a browser run only these."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

SCRIPTS = (
    "state",
    "dom",
    "service",
    "attributes",
    "filters",
    "search",
    "answer",
    "hits",
    "timeline",
    "cameras",
    "watches",
    "notices",
    "audit",
    "live",
    "start",
)
"""The files of `script/`, in the order in which they become one module."""


@dataclass(frozen=True)
class Page:
    """The page as it is sent.

    Attributes:
        html: the whole document.
        csp: the value of its header `Content-Security-Policy`: only the script and the style of this document run, it
            talks to the service that sent it and to nobody else, and text cannot become markup.
        etag: the value of its header `ETag`.
    """

    html: str
    csp: str
    etag: str


@cache
def read_page() -> Page:
    """The page, put together from the files of this package; the same object at each call."""
    folder = files(__package__)
    style = folder.joinpath("style.css").read_text(encoding="utf-8")
    script = "\n".join(folder.joinpath("script", f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS)
    html = folder.joinpath("index.html").read_text(encoding="utf-8")
    html = _put_inside(html, "<style>", style, "</style>")
    html = _put_inside(html, '<script type="module">', script, "</script>")
    policy = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "connect-src": "'self'",
        "img-src": "'self' blob: data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    csp = "; ".join(f"{name} {value}" for name, value in policy.items())
    return Page(html, csp, f'"{hashlib.sha256(html.encode()).hexdigest()[:32]}"')


def _put_inside(html: str, start: str, text: str, end: str) -> str:
    """`text` between the tags `start` and `end`, which the document has once, with nothing between them."""
    if html.count(start + end) != 1 or end in text:
        raise ValueError(f"index.html must hold {start + end} once, and no other file {end}")
    return html.replace(start + end, start + text + end)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
