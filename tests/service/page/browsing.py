"""What a person does with the page, in a headless browser, against any service that serves it.

Nothing here knows the stub: give `open_page` the address of a running service, and `sign_in` a token of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserType, ConsoleMessage, Locator, Page, expect

CHROMIUM = Path("/usr/bin/chromium")
STANDARDS = ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]
MOST_TABS = 150
PATIENCE_MS = 15_000
"""On a busy machine a page is slow, not wrong."""
expect.set_options(timeout=PATIENCE_MS)
NOBODY_YET = frozenset({401})
LISTEN_FOR_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP ${event.violatedDirective}: ${event.blockedURI}`);
});
"""


def launch(chromium: BrowserType) -> Browser:
    return chromium.launch(executable_path=str(CHROMIUM), headless=True, args=["--no-sandbox"])


@dataclass
class Visit:
    """A page that was opened.

    Attributes:
        page: in the browser.
        troubles: what the browser complained of: errors, warnings, and violations of the Content-Security-Policy.
        refusals: statuses of requests that the service refused. The browser calls each an error, but the page is told
            that nobody is signed in, or that a description is not understood, in no other way.
    """

    page: Page
    troubles: list[str] = field(default_factory=list)
    refusals: set[int] = field(default_factory=set)

    def note(self, message: ConsoleMessage) -> None:
        if refused := re.search(r"Failed to load resource.* status of (4\d\d)", message.text):
            self.refusals.add(int(refused[1]))
        elif message.type in ("error", "warning"):
            self.troubles.append(f"{message.text} ({message.location['url']})")


@contextmanager
def open_page(
    browser: Browser, url: str, *, is_phone: bool = False, is_dark: bool = False, refusals: frozenset[int] = NOBODY_YET
) -> Iterator[Visit]:
    """The page of the service at `url`; fails at the end if the browser had anything to complain of but `refusals`."""
    size = {"width": 390, "height": 844} if is_phone else {"width": 1360, "height": 900}
    context = browser.new_context(
        viewport=size,
        is_mobile=is_phone,
        has_touch=is_phone,
        device_scale_factor=2 if is_phone else 1,
        color_scheme="dark" if is_dark else "light",
        locale="en-GB",
        timezone_id="Europe/Berlin",
    )
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(LISTEN_FOR_VIOLATIONS)
    visit = Visit(context.new_page())
    visit.page.on("console", visit.note)
    visit.page.on("pageerror", lambda error: visit.troubles.append(str(error)))
    try:
        visit.page.goto(url)
        yield visit
        assert not visit.troubles, "\n".join(visit.troubles)
        assert visit.refusals <= refusals, f"the service refused with {visit.refusals}"
    finally:
        context.close()


def sign_in(page: Page, token: str) -> None:
    """From the field for the token to a page that is ready to search."""
    page.get_by_label("Token").fill(token)
    page.keyboard.press("Enter")
    wait_until_ready(page)


def wait_until_ready(page: Page) -> None:
    expect(page.locator("#attributes .group").first).to_be_attached()
    expect(page.locator("#live")).to_have_text("live")


def search_for(page: Page, sentence: str) -> None:
    """Types a description, and waits until the answer is there."""
    page.get_by_label("Describe the person").fill(sentence)
    page.keyboard.press("Enter")
    wait_for_answer(page)


def wait_for_answer(page: Page) -> None:
    expect(page.locator("#summary")).to_contain_text("encoders")


def show_view(page: Page, name: str) -> None:
    page.get_by_role("navigation", name="Views").get_by_role("link", name=name).click()
    expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()


def tab_to(page: Page, target: Locator) -> None:
    """Presses Tab until `target` has the focus, which everybody can see at each step."""
    element = target.element_handle()
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        focused = page.evaluate_handle("document.activeElement")
        if page.evaluate("document.activeElement !== document.body"):
            assert page.evaluate(FOCUS_IS_VISIBLE), f"nobody sees that this has the focus: {focused}"
        if page.evaluate("([one, other]) => one === other", [focused, element]):
            return
    raise AssertionError(f"{MOST_TABS} times Tab does not reach {target}")


FOCUS_IS_VISIBLE = """() => {
  const node = document.activeElement;
  const drawn = node.closest(".segment") ?? node;
  const box = node.getBoundingClientRect();
  const x = Math.min(innerWidth - 1, Math.max(0, box.x + box.width / 2));
  const y = Math.min(innerHeight - 1, Math.max(0, box.y + Math.min(box.height / 2, 12)));
  const above = document.elementFromPoint(x, y);
  const isCovered = above !== null && above.closest(".notices") !== null && !above.closest(".notices").contains(node);
  return getComputedStyle(drawn).outlineStyle !== "none" && !isCovered;
}"""


def walk(page: Page, token: str | None, sentence: str) -> Iterator[str]:
    """All views of the page of any service, one after the other; gives the name of each when it is there.

    Args:
        page: just opened.
        token: of an administrator; None where nobody needs one.
        sentence: a description that finds somebody, and names nothing sensitive.
    """
    if token is not None:
        sign_in(page, token)
    wait_until_ready(page)
    page.locator("#filters").evaluate("node => node.open = true")
    yield "filters"
    search_for(page, sentence)
    page.locator(".hit").first.get_by_role("button", name="Right").click()
    yield "answer"
    page.locator(".hit").first.get_by_role("button", name="Open person").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    yield "hit"
    page.keyboard.press("Escape")
    page.locator(".hit").first.get_by_role("button", name="More like").click()
    expect(page.locator("#summary")).to_contain_text("like image 1")
    yield "like"
    show_view(page, "Cameras")
    yield "cameras"
    show_view(page, "Watches")
    page.locator("#watch-description").fill(sentence)
    page.locator("#watch-reason").fill("a test")
    page.get_by_role("button", name="Show what it would have meant").click()
    expect(page.get_by_role("table")).to_be_visible()
    yield "watches"
    show_view(page, "Audit trail")
    expect(page.locator("#audit-lines tr").first).to_be_visible()
    yield "audit trail"


def search_by_keyboard(page: Page, token: str | None, sentence: str) -> None:
    """From signing in (with None: where nobody needs to) to a refined search, without a mouse."""
    tab_to(page, page.get_by_role("link", name="Skip to the content"))
    page.keyboard.press("Enter")
    field = page.get_by_label("Describe the person")
    if token is None:
        tab_to(page, field)
    else:
        tab_to(page, page.get_by_label("Token"))
        page.keyboard.type(token)
        page.keyboard.press("Enter")
    wait_until_ready(page)
    expect(field).to_be_focused()
    page.keyboard.type(sentence)
    page.keyboard.press("Enter")
    wait_for_answer(page)
    cards = page.locator(".hit")
    tab_to(page, cards.first.get_by_role("button", name="Open person"))
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(cards.first.get_by_role("button", name="Open person")).to_be_focused()
    right = cards.first.get_by_role("button", name="Right")
    tab_to(page, right)
    page.keyboard.press("Space")
    expect(right).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Control+Home")
    refine = page.get_by_role("button", name="Refine the search")
    for _ in range(MOST_TABS):
        page.keyboard.press("Shift+Tab")
        if refine.evaluate("node => node === document.activeElement"):
            break
    with page.expect_response(lambda answer: answer.url.endswith("/search")) as refined:
        page.keyboard.press("Space")
    assert refined.value.ok
    assert len(refined.value.request.post_data_json["right"]) == 1


def check_accessible(page: Page) -> None:
    """No violation that axe finds of WCAG 2.2, levels A and AA."""
    options = {"runOnly": STANDARDS, "rules": {"target-size": {"enabled": True}}}
    found = Axe().run(page, options=options).response["violations"]
    lines = [f"{one['id']}: {node['html'][:160]} {node['failureSummary']}" for one in found for node in one["nodes"]]
    assert not lines, "\n".join(lines)


def check_width(page: Page) -> None:
    """Nothing is wider than the window: nobody needs to scroll sideways."""
    sticking_out = page.evaluate(STICKING_OUT)
    assert not sticking_out, "\n".join(sticking_out)
    content, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert content <= window, f"{content} pixels of content in {window}"


STICKING_OUT = """() => [...document.querySelectorAll("main *, header *, .notices *, dialog[open] *")]
  .filter((node) => node.checkVisibility() && !node.closest(".scroll, .unseen"))
  .filter((node) => node.getBoundingClientRect().right > innerWidth + 0.5)
  .map((node) => node.outerHTML.slice(0, 120))"""
