"""The site of the documents: all of them, with links that work, and no request to another server."""

from __future__ import annotations

import functools
import http.server
import re
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

import pytest
import yaml
from markdown_it import MarkdownIt

from docs.build import site
from docs.build.pages import REPOSITORY
from docs.build.site import build_site, site_sources
from scripts.release.distributions import version_of

CHROMIUM = Path("/usr/bin/chromium")
ADDRESS = re.compile(r"(?:https?:)?//")


class Page(HTMLParser):
    """The anchors, links, and addresses that a page loads by itself, and the tags of its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.tags: list[str] = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.inside |= tag == "article"
        if self.inside:
            self.tags.append(tag)
        if "id" in values:
            self.anchors.add(values["id"])
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        is_link = tag == "link" and values.get("rel") != "canonical"
        self.loaded += [values[key] for key in ("src", "srcset", "data", "poster") if key in values]
        self.loaded += [values["href"]] if is_link else []

    def handle_endtag(self, tag: str) -> None:
        self.inside &= tag != "article"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("zensical", reason="it builds the site")
    pytest.importorskip("setuptools_scm", reason="the version comes from it")
    out = tmp_path_factory.mktemp("site") / "site"
    build_site(out)
    return out


@pytest.fixture(scope="module")
def pages(built: Path) -> dict[str, Page]:
    """All pages but the one for addresses that do not exist, by their paths in the site."""
    found = {path.relative_to(built).as_posix(): path for path in built.rglob("*.html")}
    return {name: Page(path.read_text(encoding="utf-8")) for name, path in found.items() if name != "404.html"}


def nav_of(entry: Any) -> Iterator[str]:
    """The documents in a part of the navigation."""
    if isinstance(entry, str):
        yield entry
    for part in entry if isinstance(entry, list) else entry.values() if isinstance(entry, dict) else ():
        yield from nav_of(part)


def test_every_document_is_in_the_navigation_once() -> None:
    settings = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))
    named = list(nav_of(settings["nav"]))
    everywhere = {path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("docs/**/*.md")}
    assert len(named) == len(set(named))
    assert everywhere | {"README.md", "CHANGELOG.md", "CONTRIBUTING.md"} <= set(named)
    assert set(named) <= site_sources().keys()


def test_a_link_to_nothing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "REPOSITORY", tmp_path)
    (tmp_path / "README.md").write_text("[a](code.py#L1), [b](https://example.org), [c](#d), [e](docs)")
    (tmp_path / "code.py").write_text("x = 1\n")
    (tmp_path / "docs").mkdir()
    found = site_sources()
    assert found["README.md"] == b"[a](code.py.md#L1), [b](https://example.org), [c](#d), [e](docs.md)"
    assert found["code.py.md"].endswith(b"# code.py\n\n````python\nx = 1\n````\n")
    (tmp_path / "code.py").unlink()
    with pytest.raises(FileNotFoundError, match=r"code\.py"):
        site_sources()


def test_links_and_anchors_lead_somewhere(built: Path, pages: dict[str, Page]) -> None:
    broken = []
    for name, page in pages.items():
        for link in page.links:
            if ADDRESS.match(link) or link.startswith("mailto:"):
                continue
            target, _, anchor = unquote(urljoin(name, link)).partition("#")
            path = target + "index.html" if not target or target.endswith("/") else target
            if not (built / path).is_file() or (anchor and path in pages and anchor not in pages[path].anchors):
                broken.append((name, link))
    assert broken == []
    assert len(pages) > 50


def test_pages_load_nothing_from_elsewhere(pages: dict[str, Page]) -> None:
    assert {address for page in pages.values() for address in page.loaded if ADDRESS.match(address)} == set()


def test_pages_have_the_structure_that_commonmark_sees(pages: dict[str, Page]) -> None:
    """Zensical reads Markdown by other rules than the forges do, about lists above all."""
    reader = MarkdownIt("commonmark").enable("table")
    for source in sorted(REPOSITORY.glob("docs/*.md")):
        name = f"docs/{'index' if source.stem == 'README' else source.stem}.html"
        expected = re.findall(r"<(\w+)", reader.render(source.read_text(encoding="utf-8")))
        for tag in ("li", "ul", "ol", "table", "h2", "h3", "pre", "img"):
            # code blocks have a table or a list of lines around them in no setting of ours
            assert pages[name].tags.count(tag) == expected.count(tag), f"{tag} of {source.name}"


def test_the_site_has_the_version_of_the_package(built: Path) -> None:
    assert f"sal {version_of(REPOSITORY)}</title>" in (built / "docs" / "install.html").read_text(encoding="utf-8")


def test_a_browser_asks_no_other_server_and_finds_what_it_searches(built: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="a browser opens the site")
    if not CHROMIUM.exists():
        pytest.skip("no Chromium")
    handler = functools.partial(_Quiet, directory=str(built))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, playwright.sync_playwright() as tool:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here, asked = f"http://127.0.0.1:{server.server_port}", []
        browser = tool.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page(color_scheme="dark")
        page.on("request", lambda request: asked.append(request.url))
        for name in ("index.html", "docs/service.html", "docs/api/gallery.html", "docs/results.html"):
            page.goto(f"{here}/{name}")
        page.keyboard.press("/")
        page.get_by_placeholder("Search").first.fill("retention")
        page.get_by_text(re.compile("[0-9]+ results?")).first.wait_for()
        browser.close()
        server.shutdown()
    assert len(asked) > 10
    assert [address for address in asked if not address.startswith((here, "data:", "blob:"))] == []


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass
