"""Asking and refining: what the page sends for what a person chose, and what it shows of the answer."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.service.page.browsing import open_page, search_for, sign_in, wait_for_answer
from tests.service.page.drawn_people import CAMERAS, START, draw
from tests.service.page.stub import Stub


def ask(page: Page) -> None:
    with page.expect_response(lambda answer: "/search" in answer.url):
        page.get_by_role("button", name="Search", exact=True).click()


def test_attributes_become_the_exact_form_of_a_description(page: Page, stub: Stub) -> None:
    page.get_by_label("Describe the person").fill("red jacket, ")
    page.get_by_role("radiogroup", name="Hat").get_by_text("no", exact=True).click()
    lower = page.get_by_role("group", name="Lower colour")
    lower.get_by_label("blue").check()
    lower.get_by_label("black").check()
    age = page.get_by_role("group", name="Age")
    age.get_by_text("is not").click()
    age.get_by_label("over 60").check()
    page.locator("#reason").fill("case 12")
    ask(page)
    assert stub.asked[-1]["description"] == "red jacket, no-hat, lower-colour=blue|lower-colour=black, !age=over-60"
    assert stub.asked[-1]["reason"] == "case 12"
    chosen = page.get_by_role("list", name="Chosen attributes").get_by_role("listitem")
    assert [text.split("✕")[0] for text in chosen.all_text_contents()] == [
        "age not over 60 ◆ sensitive",
        "lower colour black or blue",
        "no hat",
    ]


def test_dont_care_takes_an_attribute_back(page: Page, stub: Stub) -> None:
    upper = page.get_by_role("group", name="Upper colour")
    upper.get_by_label("red").check()
    expect(upper.get_by_role("radio", name="is", exact=True)).to_be_checked()
    page.get_by_role("radiogroup", name="Backpack").get_by_text("yes").click()
    upper.get_by_text("any", exact=True).click()
    expect(upper.get_by_label("red")).not_to_be_checked()
    ask(page)
    assert stub.asked[-1]["description"] == "backpack"
    page.get_by_role("button", name="Do not ask for backpack").click()
    expect(page.get_by_role("radiogroup", name="Backpack").get_by_label("any")).to_be_checked()
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Describe the person")
    assert len(stub.asked) == 1


def test_words_are_found_by_their_synonyms(page: Page) -> None:
    page.get_by_label("Find an attribute").fill("ruck")
    expect(page.locator("#attributes .group:visible")).to_have_count(1)
    expect(page.locator("#attributes .group:visible")).to_contain_text("Backpack")


def test_colours_have_swatches_and_weak_words_are_marked(page: Page) -> None:
    red = page.get_by_role("group", name="Upper colour").locator(".chip", has_text="red").locator(".swatch")
    assert red.evaluate("node => getComputedStyle(node).backgroundColor") == "rgb(208, 42, 42)"
    under_15 = page.get_by_role("group", name="Age").locator(".chip", has_text="under 15")
    expect(under_15).to_contain_text("weak")
    expect(under_15).to_have_attribute("title", "under-15: recognised in 2% of the test images that show it")


@pytest.mark.parametrize(
    ("step", "ago"),
    [("last hour", timedelta(hours=1)), ("last 24 h", timedelta(days=1)), ("7 days", timedelta(days=7))],
)
def test_quick_steps_count_from_now(page: Page, stub: Stub, step: str, ago: timedelta) -> None:
    page.get_by_text(step, exact=True).click()
    search_for(page, "red jacket")
    sent = datetime.fromisoformat(stub.asked[-1]["where"]["captured_from"])
    now = datetime.fromisoformat(page.evaluate("new Date().toISOString()"))
    assert timedelta(0) <= now - ago - sent < timedelta(minutes=1)
    assert stub.asked[-1]["where"]["captured_until"] is None


def test_camera_and_a_span_of_local_time(page: Page, stub: Stub) -> None:
    page.locator("#camera-choice").get_by_label("door").check()
    page.locator("#camera-choice").get_by_label("yard").check()
    page.get_by_text("from … until").click()
    page.get_by_label("from", exact=True).fill("2026-11-28T13:00")
    page.get_by_label("until", exact=True).fill("2026-11-28T14:00")
    search_for(page, "red jacket")
    where = stub.asked[-1]["where"]
    assert where["cameras"] == ["door", "yard"]
    assert (where["captured_from"], where["captured_until"]) == ("2026-11-28T12:00:00Z", "2026-11-28T13:00:00Z")
    expect(page.locator("#summary")).to_contain_text("only camera door or yard")
    expect(page.locator("#summary")).to_contain_text("Europe/Berlin")


def test_a_card_shows_what_is_known_of_a_hit(page: Page, stub: Stub) -> None:
    search_for(page, "red jacket, backpack")
    card = page.locator(".hit").first
    expect(card).to_contain_text("91% likely")
    expect(card.get_by_role("list", name="How likely each part holds").get_by_role("listitem")).to_have_count(2)
    expect(card).to_contain_text("upper-colour red93%")
    expect(card).to_contain_text("platform-2 · track 47")
    expect(card).to_contain_text("2026-11-28 13:16:11")  # 12:16:11 UTC
    card.get_by_role("button", name="Open other image 2").click()
    dialog = page.get_by_role("dialog", name="Person 1")
    expect(dialog).to_contain_text("crop:47/2.jpg")
    expect(dialog).to_contain_text("zonehall")
    image = dialog.locator(".large img")
    expect(image).to_have_js_property("naturalWidth", 96)


def test_unlikely_hits_are_told_apart(page: Page) -> None:
    search_for(page, "red jacket, backpack")
    rows = page.locator("#hits > li").all_text_contents()
    border = next(number for number, text in enumerate(rows) if text.startswith("No more above 20%"))
    likely = [int(text.split("%")[0]) for text in rows[:border]]
    unlikely = [int(text.split("%")[0]) for text in rows[border + 1 :]]
    assert min(likely) >= 20 >= max(unlikely)
    assert all("unlikely" in text for text in rows[border + 1 :])


def test_nothing_likely_is_said_first(page: Page) -> None:
    search_for(page, "red jacket, lower-colour=red, backpack, hat, luggage")
    expect(page.locator("#hits > li").first).to_contain_text("Nobody is 20% likely or more")
    notes = page.get_by_role("list", name="What to bear in mind")
    expect(notes).to_contain_text("no hit is likely to match: the best likelihood is")


def test_weak_words_are_said_with_the_answer(page: Page) -> None:
    page.locator("#reason").fill("case 12")
    search_for(page, "age=under-15")
    expect(page.get_by_role("list", name="What to bear in mind")).to_contain_text("recognised in 2 of 84 test images")
    understood = page.get_by_role("list", name="Understood")
    expect(understood).to_contain_text("age under-15 ◆ sensitive recognised 2%")


def test_more_results_until_the_end(page: Page, stub: Stub) -> None:
    search_for(page, "red jacket")
    expect(page.locator(".hit")).to_have_count(24)
    expect(page.locator("#summary")).to_contain_text("24 people so far")
    for _ in range(2):
        page.get_by_role("button", name="More", exact=True).click()
        wait_for_answer(page)
    expect(page.locator(".hit")).to_have_count(60)
    expect(page.locator(".hit").nth(48).get_by_role("button", name="Open person")).to_be_focused()
    expect(page.get_by_role("button", name="More", exact=True)).to_be_hidden()
    expect(page.locator("#end")).to_have_text("That is all.")
    assert [asked["offset"] for asked in stub.asked] == [0, 24, 48]
    page.locator(".hit").first.scroll_into_view_if_needed()
    page.wait_for_load_state("load")
    assert max(Counter(stub.viewed).values()) == 1


def test_newest_first_begins_at_a_likelihood(page: Page, stub: Stub) -> None:
    search_for(page, "red jacket")
    page.get_by_label("Order").select_option("newest first")
    expect(page.locator("#end")).to_have_text("No more above 50%.")
    assert (stub.asked[-1]["order"], stub.asked[-1]["min_likelihood"]) == ("newest", 0.5)
    times = page.locator(".hit time").all_text_contents()
    assert times == sorted(times, reverse=True)
    page.get_by_label("Show").select_option("every image")
    expect(page.locator("#summary")).to_contain_text("image")
    assert stub.asked[-1]["by_track"] is False


def test_a_problem_is_said_as_the_service_says_it(browser: Browser, address: str) -> None:
    with open_page(browser, address, refusals=frozenset({400, 401})) as visit:
        sign_in(visit.page, "sal_search")
        visit.page.get_by_label("Describe the person").fill("red mantle")
        visit.page.keyboard.press("Enter")
        expect(visit.page.get_by_role("alert")).to_contain_text("'red mantle' is no word that bundle edge knows")
        visit.page.get_by_role("button", name="Dismiss the message").click()
        expect(visit.page.get_by_role("alert")).to_be_empty()


def test_more_like_this(page: Page, stub: Stub) -> None:
    search_for(page, "red jacket")
    page.locator(".hit").nth(1).get_by_role("button", name="More like").click()
    expect(page.locator("#summary")).to_contain_text("like image 2 of the answer before")
    assert len(stub.asked[-1]["like"]) == 1
    assert stub.asked[-1]["description"] is None
    expect(page.locator(".hit").first).to_contain_text("0.90 alike")
    expect(page.locator(".hit").first.get_by_role("button", name="Right")).to_have_count(0)
    expect(page.get_by_label("Order")).to_be_hidden()
    expect(page.get_by_role("heading", name="People", exact=True)).to_be_focused()


def test_marks_refine_the_search(page: Page, stub: Stub) -> None:
    search_for(page, "red jacket")
    uris = [page.locator(".hit").nth(number).get_attribute("data-uri") for number in range(3)]
    page.locator(".hit").nth(0).get_by_role("button", name="Wrong").click()
    page.locator(".hit").nth(1).get_by_role("button", name="Right").click()
    page.locator(".hit").nth(2).get_by_role("button", name="Right").click()
    page.locator(".hit").nth(2).get_by_role("button", name="Right").click()  # taken back
    expect(page.locator("#marked")).to_have_text("You marked 1 right and 1 wrong.")
    page.get_by_role("button", name="Refine the search").click()
    expect(page.locator(".hit").first).to_have_attribute("data-uri", str(uris[1]))
    assert (stub.asked[-1]["right"], stub.asked[-1]["wrong"]) == ([uris[1]], [uris[0]])
    expect(page.locator(".hit").first.get_by_role("button", name="Right")).to_have_attribute("aria-pressed", "true")
    search_for(page, "blue trousers")
    assert stub.asked[-1]["right"] == stub.asked[-1]["wrong"] == []


def test_search_by_an_uploaded_picture(browser: Browser, address: str, stub: Stub, tmp_path: Path) -> None:
    picture, text = tmp_path / "crop.jpg", tmp_path / "list.txt"
    picture.write_bytes(draw(stub.people[0], 0))
    text.write_text("no picture")
    stub.people += Stub(many=70).people[60:]
    with open_page(browser, address, refusals=frozenset({401, 415})) as visit:
        page = visit.page
        sign_in(page, "sal_search")
        page.locator("#camera-choice").get_by_label("door").check()
        page.get_by_text("last hour").click()
        page.locator("#reason").fill("case 12")
        with page.expect_file_chooser() as chooser:
            page.get_by_role("button", name="Search by picture").click()
        chooser.value.set_files(picture)
        expect(page.locator("#summary")).to_contain_text("like your picture")
        assert stub.asked[-1] == {"picture": len(picture.read_bytes()), "cameras": ["door"], "reason": "case 12"}
        expect(page.locator(".hit")).to_have_count(60)
        expect(page.get_by_role("button", name="More", exact=True)).to_be_hidden()
        expect(page.locator("#end")).to_have_text("These are the 60 most alike.")
        expect(page.get_by_role("list", name="What to bear in mind")).to_contain_text("time is not a condition")
        page.locator("#picture").set_input_files(text)
        expect(page.get_by_role("alert")).to_contain_text("got a file that is no picture")


def test_the_timeline_shows_each_hit_in_the_lane_of_its_camera(page: Page) -> None:
    search_for(page, "red jacket, backpack")
    drawing = page.get_by_role("img", name="Hits by camera.")
    seen = [text.split(" · ")[0] for text in page.locator(".hit .facts").all_text_contents()]
    lanes = ", ".join(f"{camera}: {seen.count(camera)} hits" for camera in CAMERAS)
    expect(drawing).to_have_accessible_name(f"Hits by camera. {lanes}")
    expect(drawing.locator("circle")).to_have_count(24)
    drawing.locator("circle", has=page.locator("title", has_text="person 24")).click()
    expect(page.locator("#hit-24").get_by_role("button", name="Open person")).to_be_focused()


def test_other_encoders_may_know_other_words(page: Page, stub: Stub) -> None:
    page.get_by_role("radiogroup", name="Luggage").get_by_text("yes").click()
    page.get_by_role("radiogroup", name="Hat").get_by_text("yes").click()
    ask(page)
    expect(page.locator(".hit")).to_have_count(24)
    stub.swap()
    page.get_by_role("button", name="More", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Other encoders have taken over")
    expect(page.locator(".hit")).to_have_count(24)
    ask(page)
    expect(page.get_by_role("radiogroup", name="Luggage")).to_have_count(0)
    expect(page.locator("#chosen li")).to_have_count(1)
    expect(page.locator("#gallery-facts")).to_contain_text("encoders: accurate")


def test_the_newest_image_of_the_stub_is_where_the_tests_think() -> None:
    assert max(person.moments[0] for person in Stub().people) <= START
