"""Who may see what: signing in and out, roles, reasons, watches with an end, the audit trail."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.service.page.browsing import open_page, search_for, show_view, sign_in, wait_until_ready
from tests.service.page.stub import GROUPS, Stub
from tests.service.page.stub_service import served


def test_a_wrong_token_is_refused_in_the_words_of_the_service(browser: Browser, address: str) -> None:
    with open_page(browser, address) as visit:
        visit.page.get_by_label("Token").fill("sal_guessed")
        visit.page.get_by_role("button", name="Sign in").click()
        expect(visit.page.get_by_role("alert")).to_contain_text("the token is unknown or has expired")
        expect(visit.page.get_by_role("navigation")).to_be_hidden()


def test_a_service_open_to_all_asks_for_no_token(browser: Browser) -> None:
    with served(Stub(is_open=True)) as url, open_page(browser, url, refusals=frozenset()) as visit:
        wait_until_ready(visit.page)
        expect(visit.page.locator("#user")).to_have_text("no sign-in needed")
        for hidden in ("Sign in", "Sign out"):
            expect(visit.page.get_by_role("button", name=hidden)).to_be_hidden()


def test_whoever_searches_sees_no_watches_and_no_audit_trail(browser: Browser, address: str) -> None:
    with open_page(browser, f"{address}/#audit") as visit:
        sign_in(visit.page, "sal_search")
        links = visit.page.get_by_role("navigation").get_by_role("link")
        assert [link.text_content() for link in links.all()] == ["Search", "Cameras 1 lost"]
        expect(visit.page.get_by_label("Describe the person")).to_be_visible()
        show_view(visit.page, "Cameras")
        expect(visit.page.locator(".camera")).to_have_count(3)
        expect(visit.page.get_by_role("button", name="Stop camera")).to_have_count(0)


def test_a_token_that_only_adds_images_is_told_so(browser: Browser, address: str) -> None:
    with open_page(browser, address) as visit:
        visit.page.get_by_label("Token").fill("sal_ingest")
        visit.page.keyboard.press("Enter")
        expect(visit.page.get_by_role("alert")).to_contain_text("Your token may add images, but not search")
        expect(visit.page.get_by_role("button", name="Sign out")).to_be_visible()


def test_when_a_session_ends_nothing_of_the_answer_stays_on_the_screen(page: Page, stub: Stub) -> None:
    search_for(page, "red jacket")
    page.locator(".hit").first.get_by_role("button", name="Open person").click()
    stub.end_sessions()
    page.get_by_role("dialog").get_by_role("button", name="More like this").click()
    expect(page.get_by_role("alert")).to_contain_text("Your session has ended")
    expect(page.get_by_label("Token")).to_be_focused()
    expect(page.locator(".hit, dialog img, .notice")).to_have_count(0)
    sign_in(page, "sal_search")
    expect(page.get_by_label("Describe the person")).to_have_value("red jacket")
    expect(page.get_by_role("navigation").get_by_role("link", name="Watches")).to_be_hidden()


def test_an_open_page_notices_by_itself_that_its_session_has_ended(page: Page, stub: Stub) -> None:
    search_for(page, "red jacket")
    stub.end_sessions()
    stub.drop_listeners()
    expect(page.get_by_role("alert")).to_contain_text("Your session has ended", timeout=15_000)
    expect(page.locator(".hit")).to_have_count(0)


def test_signing_out_forgets_everything(page: Page, stub: Stub) -> None:
    search_for(page, "red jacket")
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    expect(page.locator(".hit")).to_have_count(0)
    expect(page.locator("#sentence")).to_have_value("")
    assert stub.sessions == {}


def test_the_token_is_kept_nowhere(page: Page) -> None:
    assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie, token.value]") == [0, 0, "", ""]


def test_a_sensitive_attribute_needs_a_reason_before_anything_is_sent(page: Page, stub: Stub) -> None:
    page.get_by_role("group", name="Age").get_by_label("16-30").check()
    expect(page.locator("#reason-why")).to_contain_text("needed")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("write the reason")
    expect(page.locator("#reason")).to_be_focused()
    assert stub.asked == []
    page.keyboard.type("missing person, case 12")
    page.keyboard.press("Enter")
    expect(page.locator(".hit").first).to_be_visible()
    assert stub.asked[-1]["reason"] == "missing person, case 12"


def test_a_reason_that_the_policy_wants_is_asked_for(browser: Browser, address: str) -> None:
    with open_page(browser, address, refusals=frozenset({401, 403})) as visit:
        sign_in(visit.page, "sal_search")
        visit.page.get_by_label("Describe the person").fill("female, red jacket")
        expect(visit.page.locator("#reason-why")).to_contain_text("needed")
        visit.page.keyboard.press("Enter")
        expect(visit.page.get_by_role("alert")).to_contain_text("the policy wants a reason for gender")
        expect(visit.page.locator("#reason")).to_be_focused()


def test_what_the_policy_forbids_is_not_offered(page: Page) -> None:
    expect(page.locator("#attributes .group")).to_have_count(7)
    expect(page.locator("#attributes")).not_to_contain_text("Skin")
    expect(page.locator("#withheld")).to_have_text("The policy does not allow: skin.")


def test_a_single_word_that_the_policy_forbids_is_neither_offered_nor_left_over(browser: Browser) -> None:
    stub = Stub(is_open=True)
    stub.forbidden = {"age=under-15"}
    with served(stub) as url, open_page(browser, url, refusals=frozenset()) as visit:
        wait_until_ready(visit.page)
        age = visit.page.get_by_role("group", name="Age")
        assert age.locator("[type=checkbox]").count() == len(GROUPS[1][3]) - 1
        expect(age.get_by_label("under 15")).to_have_count(0)
        expect(age.get_by_text("is not")).to_have_count(0)
        expect(visit.page.get_by_role("group", name="Upper colour").get_by_text("is not")).to_have_count(1)
        expect(visit.page.locator("#withheld")).to_have_text("The policy does not allow: age under 15, skin.")


def fill_watch(page: Page, name: str) -> None:
    page.locator("#watch-name").fill(name)
    page.locator("#watch-reason").fill("theft, case 12")
    page.get_by_role("button", name="Show what it would have meant").click()
    expect(page.get_by_role("table")).to_be_visible()


def test_a_watch_begins_with_what_it_would_have_meant(page: Page, stub: Stub) -> None:
    search_for(page, "red jacket")
    page.get_by_role("button", name="Watch for this").click()
    expect(page.locator("#watch-name")).to_be_focused()
    expect(page.locator("#watch-description")).to_have_value("red jacket")
    start = page.get_by_role("button", name="Start the watch")
    expect(start).to_be_disabled()
    page.locator("#watch-cameras").get_by_label("yard").check()
    page.locator("#watch-end").fill("2026-12-01T08:00")
    page.locator("#watch-webhook").fill("https://alerts.example.org/sal")
    fill_watch(page, "jacket")
    row = page.get_by_role("row").filter(has_text="50%")
    assert row.get_by_role("cell").all_text_contents() == ["50%", "31", "8.8", "65", "18"]
    row.get_by_role("radio").check()
    start.click()
    expect(page.locator(".watch")).to_contain_text("from 50% likely · yard · gallery station")
    (watch,) = stub.watches.values()
    assert watch.model_dump(
        mode="json", include={"description", "cameras", "min_likelihood", "reason", "expires_at"}
    ) == {
        "description": "red jacket",
        "cameras": ["yard"],
        "min_likelihood": 0.5,
        "reason": "theft, case 12",
        "expires_at": "2026-12-01T07:00:00Z",
    }
    assert [target.model_dump() for target in watch.deliver] == [
        {"kind": "webhook", "url": "https://alerts.example.org/sal"}
    ]


@pytest.mark.parametrize("change", ["description", "cameras"])
def test_an_estimate_is_of_one_description_and_its_cameras(page: Page, change: str) -> None:
    show_view(page, "Watches")
    page.locator("#watch-description").fill("red jacket")
    fill_watch(page, "jacket")
    page.get_by_role("radio", name="80%").check()
    expect(page.get_by_role("button", name="Start the watch")).to_be_enabled()
    if change == "cameras":
        page.locator("#watch-cameras").get_by_label("yard").check()
    else:
        page.locator("#watch-description").fill("blue trousers")
    expect(page.get_by_role("table")).to_have_count(0)
    expect(page.get_by_role("button", name="Start the watch")).to_be_disabled()


def test_a_watch_is_deleted_by_the_second_press(page: Page, stub: Stub) -> None:
    watch = stub.watch("jacket")
    stub.fire(watch, stub.people[4])
    show_view(page, "Watches")
    page.get_by_role("button", name="Last messages of jacket").click()
    expect(page.locator(".messages li")).to_have_text(["came · 91% · platform-2 · 2026-11-28 15:18:10 · track 4"])
    delete = page.get_by_role("button", name="Delete jacket")
    delete.press("Enter")
    expect(delete).to_have_text("Delete for good")
    delete.press("Escape")
    expect(delete).to_have_text("Delete")
    assert len(stub.watches) == 1
    delete.press("Enter")
    delete.press("Enter")
    expect(page.locator("#watches-none")).to_be_visible()
    assert stub.watches == {}


def test_the_audit_trail_goes_back_to_its_beginning(page: Page, stub: Stub) -> None:
    for number in range(70):
        stub.note("control room", "view", None, {"uri": f"crop:{number}", "empty": []})
    show_view(page, "Audit trail")
    rows = page.locator("#audit-lines tr")
    expect(rows).to_have_count(50)
    expect(page.locator("#audit-head")).to_have_text(f"{71:064x}")
    assert rows.first.get_by_role("cell").all_text_contents()[2:] == ["control room", "view", "", "uri: crop:69"]
    page.get_by_role("button", name="Older lines").click()
    expect(rows).to_have_count(71)
    expect(page.get_by_role("button", name="Older lines")).to_be_hidden()
