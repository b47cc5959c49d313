"""The page as a document: one file, a policy that fits it, nothing that turns text into markup."""

from __future__ import annotations

import base64
import hashlib
import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from sal_service.page.page import SCRIPTS, read_page

REPOSITORY = Path(__file__).parents[3]
FOLDER = REPOSITORY / "sal_service" / "page"
LONGEST_FILE = 450
FILES = sorted(path for path in FOLDER.rglob("*") if path.suffix in (".js", ".css", ".html"))


def between(start: str, end: str) -> str:
    (found,) = re.findall(f"{re.escape(start)}(.*?){re.escape(end)}", read_page().html, re.DOTALL)
    return str(found)


@pytest.mark.parametrize(("directive", "tag"), [("script-src", '<script type="module">'), ("style-src", "<style>")])
def test_the_policy_names_the_script_and_the_style_by_their_hash(directive: str, tag: str) -> None:
    text = between(tag, f"</{tag[1:-1].split()[0]}>")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    assert f"{directive} 'sha256-{digest}';" in read_page().csp
    assert len(text) > 1000


def test_the_policy_allows_nothing_else() -> None:
    policy = dict(part.split(" ", 1) for part in read_page().csp.split("; "))
    assert policy.pop("script-src").startswith("'sha256-")
    assert policy.pop("style-src").startswith("'sha256-")
    assert policy == {
        "default-src": "'none'",
        "connect-src": "'self'",
        "img-src": "'self' blob: data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }


def test_all_scripts_are_in_the_page_and_in_their_order() -> None:
    assert sorted(SCRIPTS) == sorted(path.stem for path in FOLDER.glob("script/*.js"))
    script = between('<script type="module">', "</script>")
    firsts = [(FOLDER / "script" / f"{name}.js").read_text(encoding="utf-8").splitlines()[0] for name in SCRIPTS]
    places = [script.index(first) for first in firsts]
    assert places == sorted(places)


def test_the_page_asks_nobody_else_and_has_no_inline_handlers_or_styles() -> None:
    html = read_page().html
    assert set(re.findall(r"https?://[^\s'\"]*", html)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    body = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<[^>]*\s(on\w+|style)=", body)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|Function\(", html)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_stay_readable_and_are_in_the_wheel(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE
    setuptools = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert "sal_service.page" in setuptools["packages"]
    name = path.relative_to(FOLDER).as_posix()
    assert any(fnmatch(name, pattern) for pattern in setuptools["package-data"]["sal_service.page"])


def test_the_page_is_the_same_at_each_call() -> None:
    assert read_page() is read_page()
    assert re.fullmatch(r'"[0-9a-f]{32}"', read_page().etag)
