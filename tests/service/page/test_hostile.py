"""Text that wants to be more than text, in everything that people, cameras and files could have named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.service.page.browsing import check_width, open_page, search_for, show_view, sign_in
from tests.service.page.stub import Stub
from tests.service.page.stub_service import served

ATTACKS = {
    "image": '<img src=x onerror="window.hacked=1">',
    "script": "</script><script>window.hacked=1</script>",
    "attribute": '" onfocus="window.hacked=1" autofocus x=\'',
    "template": "${window.hacked=1}{{7*7}}",
    "long": "W" * 140,
}


@pytest.fixture(params=ATTACKS, ids=list(ATTACKS))
def attack(request: pytest.FixtureRequest) -> str:
    return ATTACKS[request.param]


@pytest.fixture
def hostile(attack: str) -> Stub:
    return Stub(suffix=attack)


@pytest.fixture
def visited(browser: Browser, hostile: Stub) -> Iterator[Page]:
    with served(hostile) as url, open_page(browser, url, is_phone=True, refusals=frozenset({400, 401})) as visit:
        sign_in(visit.page, "sal_admin")
        yield visit.page
        assert visit.page.evaluate("window.hacked") is None


def test_names_show_as_text_everywhere(visited: Page, hostile: Stub, attack: str) -> None:
    page = visited
    page.locator("#filters").evaluate("node => node.open = true")
    expect(page.locator("#camera-choice")).to_contain_text(f"door{attack}")
    expect(page.locator("#attributes")).to_contain_text(attack)
    search_for(page, "luggage, red jacket")
    expect(page.get_by_role("list", name="Understood")).to_contain_text(f"luggage{attack}")
    expect(page.locator(".hit").first).to_contain_text(attack)
    expect(page.locator(".hit img").first).to_have_js_property("naturalWidth", 96)
    check_width(page)
    page.locator(".hit .crop").first.click()
    for text in (f"zone{attack}", f"hall{attack}", f".jpg{attack}"):
        expect(page.get_by_role("dialog")).to_contain_text(text)
    check_width(page)
    page.keyboard.press("Escape")
    page.get_by_label("Describe the person").fill("mantle")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text(attack)
    check_width(page)


def test_cameras_watches_and_the_audit_trail_show_text(visited: Page, hostile: Stub, attack: str) -> None:
    page = visited
    show_view(page, "Cameras")
    yard = page.locator(".camera").last
    for text in (f"yard{attack}", f"stream{attack}", f"no frame for 41 s{attack}"):
        expect(yard).to_contain_text(text)
    check_width(page)
    watch = hostile.watch("jacket")
    hostile.watches[watch.id] = watch = watch.model_copy(
        update={"name": f"n{attack}", "reason": f"r{attack}", "created_by": f"c{attack}", "cameras": [f"yard{attack}"]}
    )
    hostile.fire(watch, hostile.people[0])
    expect(page.locator(".notice")).to_contain_text(f"n{attack}")
    show_view(page, "Watches")
    for text in (f"n{attack}", f"r{attack}", f"c{attack}", f"yard{attack}"):
        expect(page.locator(".watch")).to_contain_text(text)
    check_width(page)
    hostile.note(f"w{attack}", f"a{attack}", f"y{attack}", {f"k{attack}": f"v{attack}"})
    show_view(page, "Audit trail")
    for text in (f"w{attack}", f"a{attack}", f"y{attack}", f"k{attack}"):
        expect(page.locator("#audit-lines tr").first).to_contain_text(text)
    check_width(page)


def test_the_policy_stops_what_gets_in_all_the_same(browser: Browser, address: str) -> None:
    with open_page(browser, address) as visit:
        page = visit.page
        page.evaluate("document.head.append(Object.assign(document.createElement('style'), {textContent: 'body {}'}))")
        page.evaluate("document.body.setAttribute('style', 'color: red')")
        with pytest.raises(Exception, match="TrustedHTML"):
            page.evaluate("document.body.innerHTML = '<p>text</p>'")
        with pytest.raises(Exception, match="Failed to fetch"):
            page.evaluate("fetch('http://127.0.0.1:9/')")
        expect(page.get_by_label("Token")).to_be_visible()
        seen = " ".join(visit.troubles)
        visit.troubles.clear()
    for directive in ("style-src-elem", "style-src-attr", "connect-src", "require-trusted-types-for"):
        assert f"CSP {directive}" in seen
