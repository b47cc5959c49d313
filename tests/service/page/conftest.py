"""A browser for the tests of the page, and a stub of the service for each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.service.page.browsing import CHROMIUM, launch, open_page, sign_in
from tests.service.page.stub import Stub
from tests.service.page.stub_service import served


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for the tests of a file: while it is open, no other test can run asyncio in this thread."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing: install Debian's package chromium")
    with sync_playwright() as playwright:
        browser = launch(playwright.chromium)
        yield browser
        browser.close()


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest.fixture
def address(stub: Stub) -> Iterator[str]:
    with served(stub) as url:
        yield url


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The page on a wide window, where an administrator has signed in."""
    with open_page(browser, address) as visit:
        sign_in(visit.page, "sal_admin")
        yield visit.page
