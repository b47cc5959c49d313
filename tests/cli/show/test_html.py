"""The HTML sheet, read back with a parser of its own."""

from __future__ import annotations

import base64
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import cv2
import numpy as np

from sal_cli.show.html import render_html
from sal_cli.show.terminal import SENSITIVE_MARK
from tests.runtime.made_up_result import COLOURS, made_up_result


class Page(HTMLParser):
    """Collects elements with their attributes, and the text of the page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def test_the_page_needs_nothing_else_and_runs_nothing(tmp_path: Path) -> None:
    html = render_html(made_up_result(tmp_path), tmp_path)
    page = Page(html)
    assert page.open == []
    assert not page.all("script")
    assert not page.all("link")
    assert "http" not in html.replace("http-equiv", "")
    assert all(str(image["src"]).startswith("data:image/jpeg;base64,") for image in page.all("img"))


def test_names_and_queries_are_text(tmp_path: Path) -> None:
    page = Page(render_html(made_up_result(tmp_path), tmp_path))
    for text in ("male,<b>upper</b>=red|blue", "<script>alert(1)</script>/a&b.png"):
        assert text in page.text
    assert not page.all("script")
    assert len(page.all("b")) == 4 * 2  # the percentages of each hit and term; the query adds none
    assert "bad & broken.jpg: the file is <empty>" in page.text


def test_pictures_are_those_of_the_hits(tmp_path: Path) -> None:
    page = Page(render_html(made_up_result(tmp_path), tmp_path))
    images = page.all("img")
    assert len(images) == 3
    for image, colour in zip(images, COLOURS, strict=True):
        data = base64.b64decode(str(image["src"]).split(",")[1])
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert pixels is not None
        assert pixels.shape == (256, 96, 3)  # 128 x 48, scaled to fit into 256 x 128
        assert (image["width"], image["height"]) == ("96", "256")
        assert np.abs(pixels.reshape(-1, 3).mean(axis=0) - colour).max() < 12
    assert page.text.count("image gone") == 1


def test_scores_evidence_and_marks(tmp_path: Path) -> None:
    page = Page(render_html(made_up_result(tmp_path), tmp_path))
    assert page.text.count("likelihood of match") == 3
    assert "0.900" in page.text
    assert "0.600" in page.text
    widths = [attributes["style"] for attributes in page.all("i")]
    assert widths == [f"width: {25.0 * number:.1f}%" for number in range(4) for _ in range(2)]
    assert page.text.count(SENSITIVE_MARK) == 1 + 4 + 1  # the query, each card, the footnote
    assert "12,345 images" in page.text
    assert "0123456789ab" in page.text


def test_without_sensitive_terms_or_failures_nothing_is_said_of_them(tmp_path: Path) -> None:
    result = made_up_result(tmp_path)
    plain = type(result)(**{**vars(result), "terms": result.terms[1:], "encoding": None})
    text = Page(render_html(plain, tmp_path)).text
    assert SENSITIVE_MARK not in text
    assert "skipped" not in text


def test_links_lead_to_the_images(tmp_path: Path) -> None:
    """Relative where the image is below the page, so that both can be moved together; else the whole address."""
    folder = tmp_path / "a b%#?"
    result = made_up_result(folder)
    shutil.copy(folder / "blue.png", folder / "x:y.png")
    first = replace(result.hits[0], path=folder / "x:y.png")
    result = replace(result, hits=(first, *result.hits[1:]))
    for place in (folder, tmp_path, tmp_path / "elsewhere"):
        links = [str(link["href"]) for link in Page(render_html(result, place)).all("a")]
        found = [urljoin(f"{place.as_uri()}/hits.html", link) for link in links]
        assert [Path(unquote(urlsplit(address).path)) for address in found] == [hit.path for hit in result.hits[:3]]
        assert {urlsplit(address).query + urlsplit(address).fragment for address in found} == {""}
        assert all(link.startswith("file://" if place.name == "elsewhere" else "./") for link in links)


def test_a_track_opens_to_its_other_images(tmp_path: Path) -> None:
    result = made_up_result(tmp_path)
    best, *others = result.hits
    page = Page(render_html(replace(result, hits=(replace(best, others=tuple(others * 10)),), grouped=True), tmp_path))
    assert "+30 more" in page.text
    assert "and 6 that are not shown" in page.text
    assert len(page.all("img")) == 1 + 16  # of the first 24 others a third is gone
    assert "The best 1 tracks of 12,345 images" in page.text


def test_how_well_words_are_recognised_and_the_licence_are_said(tmp_path: Path) -> None:
    result = made_up_result(tmp_path)
    rates = ({"male": 0.5}, {"upper-colour=red": 0.861, "upper-colour=blue": 0.04})
    terms = tuple(replace(term, recognised=rate) for term, rate in zip(result.terms, rates, strict=True))
    page = Page(render_html(replace(result, terms=terms, licence="Research <only>"), tmp_path))
    assert "recognised 50%" in page.text
    assert "recognised upper-colour=red 86%, upper-colour=blue 4%" in page.text
    negated = replace(terms[0], understood="no-male")  # its own rate would be that of all who are not
    assert "recognised male 50%" in Page(render_html(replace(result, terms=(negated, terms[1])), tmp_path)).text
    assert "tiny: Research <only>" in page.text
    assert "recognised 5" not in Page(render_html(result, tmp_path)).text
