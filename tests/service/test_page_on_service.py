"""The page on the real service, in a real browser: sign-in, a refined search, a watch that fires, the audit trail."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from sal_service.api.app import create_app
from sal_service.api.gate.access import Access
from sal_service.api.service import Service, ServiceSettings
from sal_service.governance.audit import read_lines
from sal_service.governance.tokens import Tokens, add_token
from tests.runtime.calibrated_bundle import make_calibrated_bundle
from tests.service.api.serving import served_app
from tests.service.api.test_service import picture
from tests.service.page.browsing import check_accessible, open_page, search_by_keyboard, search_for, show_view, sign_in
from tests.service.page.conftest import browser as browser

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Eight images of four people at the door."""
    bundle = make_calibrated_bundle(tmp_path / "tiny.bundle")
    settings = ServiceSettings({"yard": tmp_path / "yard.sal"}, tmp_path / "state", bundle=bundle)
    with Service(settings) as service:
        for number in range(8):
            add(service, number)
        yield service


def add(service: Service, number: int) -> None:
    intake = service.galleries["yard"].ingest.intake
    track = f"t{number % 4}" if number < 8 else f"t{number}"
    intake.submit(picture(number), camera="door", captured_at=NOON + number, track=track).result(60)


@pytest.fixture
def token(tmp_path: Path) -> str:
    return add_token(tmp_path / "tokens.toml", "control-room", ["admin"], time.time() + 1000)


@pytest.fixture
def address(service: Service, tmp_path: Path, token: str) -> Iterator[str]:
    access = Access(Tokens.read(tmp_path / "tokens.toml"), secure_cookies=False)
    with served_app(create_app(service, access)) as url:
        yield url


def test_a_keyboard_is_enough_for_the_real_service(
    browser: Browser, address: str, token: str, service: Service
) -> None:
    with open_page(browser, address) as visit:
        search_by_keyboard(visit.page, token, "hat, red top")
        expect(visit.page.locator(".hit")).to_have_count(4)
        first = visit.page.locator(".hit img").first
        assert first.evaluate("node => node.complete && node.naturalWidth > 0")
        check_accessible(visit.page)
    told = [line.action for line in reversed(read_lines(service.audit.path, None, 1000))]
    assert told[:2] == ["service.start", "session.begin"]
    assert told.count("search") == 2
    assert "view" in told


def test_new_people_and_a_watch_are_seen_at_once(browser: Browser, address: str, token: str, service: Service) -> None:
    with open_page(browser, address) as visit:
        page = visit.page
        sign_in(page, token)
        search_for(page, "hat")
        show_view(page, "Watches")
        page.locator("#watch-name").fill("hats")
        page.locator("#watch-description").fill("hat")
        page.locator("#watch-reason").fill("case 12")
        page.get_by_role("button", name="Show what it would have meant").click()
        page.get_by_role("radio", name="10%").check()
        page.get_by_role("button", name="Start the watch").click()
        expect(page.locator(".watch")).to_have_count(1)
        (watch,) = service.store.watches()
        assert (watch.reason, watch.created_by, watch.min_likelihood) == ("case 12", "control-room", 0.1)
        assert watch.expires_at < (datetime.now(UTC) + timedelta(days=31)).timestamp()
        for number in range(8, 16):
            add(service, number)
        expect(page.locator(".notice").first).to_contain_text("hats")
        show_view(page, "Audit trail")
        expect(page.locator("#audit-lines")).to_contain_text("watch.create")
        expect(page.locator("#audit-lines")).to_contain_text("case 12")


def test_what_the_policy_asks_for_is_asked_by_the_page(browser: Browser, address: str, token: str) -> None:
    with open_page(browser, address, refusals=frozenset({401, 403})) as visit:
        sign_in(visit.page, token)
        visit.page.get_by_label("Describe the person").fill("female")
        visit.page.keyboard.press("Enter")
        expect(visit.page.get_by_text("state one")).to_be_visible()
        visit.page.get_by_label("Reason", exact=False).first.fill("case 12")
        search_for(visit.page, "female")
        expect(visit.page.locator(".hit")).to_have_count(4)
