"""The page for everybody: axe in both themes, keyboard only, the width of a phone, and no complaint of the browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.service.page.browsing import (
    check_accessible,
    check_width,
    open_page,
    search_for,
    show_view,
    sign_in,
)
from tests.service.page.stub import Stub
from tests.service.page.stub_service import served

WALK = frozenset({400, 401})


@pytest.fixture
def few() -> Iterator[tuple[str, Stub]]:
    """A stub with few people: axe takes long for each card."""
    stub = Stub(many=8)
    with served(stub) as url:
        yield url, stub


def states(page: Page, stub: Stub) -> Iterator[str]:
    """Opens one state of the page after another; gives its name each time."""
    yield "sign in"
    sign_in(page, "sal_admin")
    yield "before a search"
    page.locator("#filters").evaluate("node => node.open = true")
    page.get_by_role("group", name="Upper colour").get_by_label("red").check()
    page.get_by_text("from … until").click()
    yield "filters"
    page.get_by_text("any time").click()
    search_for(page, "blue trousers")
    page.locator(".hit").nth(1).get_by_role("button", name="Wrong").click()
    page.locator(".hit").nth(2).get_by_role("button", name="Right").click()
    stub.see(2)
    expect(page.locator("#fresh")).to_be_visible()
    yield "an answer"
    page.locator(".hit").first.get_by_role("button", name="Open person").click()
    yield "one hit"
    page.keyboard.press("Escape")
    show_view(page, "Cameras")
    expect(page.locator(".camera")).to_have_count(3)
    yield "cameras"
    show_view(page, "Watches")
    page.locator("#watch-name").fill("jacket")
    page.locator("#watch-reason").fill("case 12")
    page.get_by_role("button", name="Show what it would have meant").click()
    page.get_by_role("radio", name="80%").check()
    yield "a new watch"
    page.get_by_role("button", name="Start the watch").click()
    expect(page.locator(".watch")).to_have_count(1)
    for person in stub.people[:4]:
        stub.fire(next(iter(stub.watches.values())), person)
    expect(page.locator(".notice-rest")).to_be_visible()
    page.get_by_role("button", name="Last messages").click()
    page.get_by_role("button", name="Delete jacket").click()
    yield "a watch that fired"
    show_view(page, "Audit trail")
    expect(page.locator("#audit-lines tr").first).to_be_visible()
    yield "audit trail"
    show_view(page, "Search")
    search_for(page, "red mantle")
    yield "a problem"


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing(browser: Browser, few: tuple[str, Stub], is_dark: bool) -> None:
    address, stub = few
    with open_page(browser, address, is_dark=is_dark, refusals=WALK) as visit:
        for _ in states(visit.page, stub):
            check_accessible(visit.page)


def test_a_phone_is_wide_enough(browser: Browser, few: tuple[str, Stub]) -> None:
    address, stub = few
    with open_page(browser, address, is_phone=True, is_dark=True, refusals=WALK) as visit:
        for state in states(visit.page, stub):
            check_width(visit.page)
            visit.page.set_viewport_size({"width": 320, "height": 640})  # as 1280 enlarged to 400 %
            check_width(visit.page)
            visit.page.set_viewport_size({"width": 390, "height": 844})
            if state in ("an answer", "one hit", "a watch that fired"):
                check_accessible(visit.page)


def test_arrow_keys_choose_and_space_ticks(page: Page, stub: Stub) -> None:
    page.get_by_role("radiogroup", name="Backpack").get_by_label("any").focus()
    page.keyboard.press("ArrowRight")
    red = page.get_by_role("group", name="Upper colour").get_by_label("red")
    red.focus()
    page.keyboard.press("Space")
    expect(red).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".hit").first).to_be_visible()
    assert stub.asked[-1]["description"] == "backpack, upper-colour=red"


def test_what_has_the_focus_does_not_hide_below_a_notice(page: Page, stub: Stub) -> None:
    search_for(page, "red jacket")
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    watch = stub.watch("jacket")
    for person in stub.people[:3]:
        stub.fire(watch, person)
    expect(page.locator(".notice")).to_have_count(3)
    covered = (
        "node => node.getBoundingClientRect().top < document.getElementById('notices').getBoundingClientRect().bottom"
    )
    page.locator(".hit").nth(20).get_by_role("button", name="Wrong").focus()
    for _ in range(30):
        page.keyboard.press("Shift+Tab")
        assert not page.evaluate_handle("document.activeElement").as_element().evaluate(covered)


def test_nothing_moves_for_people_who_want_less_motion(page: Page, stub: Stub) -> None:
    page.emulate_media(reduced_motion="reduce")
    stub.fire(stub.watch("jacket"), stub.people[0])
    assert page.locator(".notice").evaluate("node => getComputedStyle(node).animationName") == "none"
    assert page.evaluate(
        "[...document.querySelectorAll('*')].every(node => parseFloat(getComputedStyle(node).transitionDuration) === 0)"
    )
