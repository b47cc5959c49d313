"""What arrives while the page is open: people, cameras, watches; and what becomes of it when the service is away."""

from __future__ import annotations

from playwright.sync_api import Browser, Page, Route, expect

from tests.service.page.browsing import open_page, search_for, show_view, sign_in
from tests.service.page.stub import Stub
from tests.service.page.stub_service import served


def test_new_people_are_counted_once_each_and_shown_when_asked(page: Page, stub: Stub) -> None:
    stub.see(1)
    expect(page.locator("#gallery-facts")).to_contain_text("61 tracks", timeout=15_000)
    expect(page.locator("#fresh")).to_be_hidden()  # nothing was searched for yet
    search_for(page, "red jacket")
    stub.see(2)
    stub.see(2)
    expect(page.locator("#fresh")).to_have_text("1 new person since this search: search again")
    stub.see(3)
    page.get_by_role("button", name="2 new people since this search").click()
    expect(page.locator("#fresh")).to_be_hidden()
    assert len(stub.asked) == 2


def test_people_of_other_cameras_are_not_news(page: Page, stub: Stub) -> None:
    page.locator("#camera-choice").get_by_label("door").check()
    search_for(page, "red jacket")
    cameras = []
    for number in range(1, 9):
        stub.see(number)
        cameras.append(stub.people[-1].camera)
    assert {"door", "yard"} <= set(cameras)
    expect(page.locator("#fresh")).to_contain_text(f"{cameras.count('door')} new p")


def test_a_camera_changes_in_place(page: Page, stub: Stub) -> None:
    show_view(page, "Cameras")
    door = page.locator('.camera[data-camera="door"]')
    stop = door.get_by_role("button", name="Stop camera door")
    stop.focus()
    told = stub.camera("door").model_dump(mode="json") | {"condition": "lost", "age_seconds": 75, "dropped": 5000}
    page.route("**/v1/cameras", lambda route: None)  # no answer: it is told, not read
    stub.publish("camera", told)
    expect(door.locator(".state")).to_have_text("lost")
    expect(door).to_contain_text("75 s ago")
    expect(door).to_contain_text("5,000 (27%)")
    page.unroute("**/v1/cameras")
    expect(stop).to_be_focused()
    stop.press("Enter")
    expect(door.get_by_role("button", name="Start camera door")).to_be_visible()
    assert stub.cameras["door"] is False


def test_cameras_are_read_again_while_somebody_looks(page: Page, stub: Stub) -> None:
    show_view(page, "Cameras")
    yard = page.locator('.camera[data-camera="yard"] dd').first
    expect(yard).to_have_text("41 s ago")
    stub.age = 600.0
    expect(yard).to_have_text("10 min ago")


def test_every_view_says_how_many_cameras_are_lost(page: Page, stub: Stub) -> None:
    link = page.get_by_role("link", name="Cameras")
    expect(link).to_have_text("Cameras 1 lost")
    for name in ("yard", "door"):
        stub.publish("camera", stub.camera(name).model_dump(mode="json") | {"condition": "live"})
    expect(link).to_have_text("Cameras")


def test_a_watch_that_fires_shows_a_notice_until_it_is_dismissed(page: Page, stub: Stub) -> None:
    watch = stub.watch("jacket")
    stub.fire(watch, stub.people[0])
    notice = page.get_by_role("article")
    expect(notice).to_contain_text("Watch jacket: 91% likely")
    expect(notice.locator("img")).to_have_js_property("naturalWidth", 96)
    assert page.title() == "(1) Search · sal"
    notice.get_by_role("button", name="Show").click()
    expect(page.get_by_role("dialog")).to_contain_text("Watch jacket, 91% likely")
    page.keyboard.press("Escape")
    stub.fire(watch, stub.people[0], "update")
    expect(notice).to_contain_text("better image")
    stub.fire(watch, stub.people[0], "end")
    expect(notice).to_contain_text("left")
    expect(notice).to_have_count(1)
    notice.get_by_role("button", name="Dismiss").click()
    expect(notice).to_have_count(0)
    stub.fire(watch, stub.people[0], "update")
    stub.fire(watch, stub.people[1])
    expect(notice).to_have_count(1)  # what was dismissed does not come back


def test_another_notice_leaves_the_focus_where_it_is(page: Page, stub: Stub) -> None:
    watch = stub.watch("jacket")
    stub.fire(watch, stub.people[0])
    dismiss = page.get_by_role("article").first.get_by_role("button", name="Dismiss").element_handle()
    dismiss.focus()
    stub.fire(watch, stub.people[1])
    expect(page.get_by_role("article")).to_have_count(2)
    assert page.evaluate("node => node === document.activeElement", dismiss)


def test_a_service_that_is_away_is_said(browser: Browser) -> None:
    stub = Stub(is_open=True)
    with served(stub) as url, open_page(browser, url) as visit:
        expect(visit.page.locator("#live")).to_have_text("live")
        visit.page.route("**/search", lambda route: route.abort())
        visit.page.get_by_label("Describe the person").fill("red jacket")
        visit.page.keyboard.press("Enter")
        expect(visit.page.get_by_role("alert")).to_contain_text("The service does not answer")
        visit.troubles.clear()  # the browser's own word for it


def test_a_slow_answer_does_not_replace_a_newer_one(page: Page, stub: Stub) -> None:
    held = []

    def hold_red(route: Route) -> None:
        if "red jacket" in (route.request.post_data or ""):
            held.append(route)
        else:
            route.continue_()

    page.route("**/search", hold_red)
    page.get_by_label("Describe the person").fill("red jacket")
    page.keyboard.press("Enter")
    expect(page.locator("#summary")).to_have_text("Searching …")
    search_for(page, "blue trousers")
    expect(page.get_by_role("list", name="Understood")).to_contain_text("blue")
    assert len(held) == 1
    expect(page.get_by_role("alert")).to_be_empty()


def test_events_go_on_after_the_connection_was_lost(browser: Browser, address: str, stub: Stub) -> None:
    with open_page(browser, address) as visit:
        sign_in(visit.page, "sal_search")
        search_for(visit.page, "red jacket")
        stub.drop_listeners()
        expect(visit.page.locator("#live")).to_have_text("reconnecting")
        expect(visit.page.locator("#live")).to_have_text("live")
        stub.see(2)
        expect(visit.page.locator("#fresh")).to_contain_text("1 new person")
