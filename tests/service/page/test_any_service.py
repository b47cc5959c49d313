"""The page of any service that runs: of the one at `$SAL_SERVICE_URL`, if it is set, and else of the stub.

`$SAL_SERVICE_TOKEN` is a token of an administrator (left out where nobody needs one), `$SAL_SERVICE_SENTENCE` a
description that finds somebody and names nothing sensitive.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.service.page.browsing import check_accessible, check_width, open_page, search_by_keyboard, walk
from tests.service.page.stub import Stub
from tests.service.page.stub_service import served

SENTENCE = os.environ.get("SAL_SERVICE_SENTENCE", "red jacket")


@pytest.fixture
def running() -> Iterator[tuple[str, str | None]]:
    """The address of a service, and a token."""
    if url := os.environ.get("SAL_SERVICE_URL"):
        yield url, os.environ.get("SAL_SERVICE_TOKEN")
    else:
        with served(Stub(many=8)) as url:
            yield url, "sal_admin"


@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
def test_all_views_are_accessible(browser: Browser, running: tuple[str, str | None], is_dark: bool) -> None:
    url, token = running
    with open_page(browser, url, is_dark=is_dark) as visit:
        for _ in walk(visit.page, token, SENTENCE):
            check_accessible(visit.page)


def test_a_phone_is_wide_enough(browser: Browser, running: tuple[str, str | None]) -> None:
    url, token = running
    with open_page(browser, url, is_phone=True) as visit:
        for _ in walk(visit.page, token, SENTENCE):
            check_width(visit.page)


def test_a_keyboard_is_enough(browser: Browser, running: tuple[str, str | None]) -> None:
    url, token = running
    with open_page(browser, url) as visit:
        search_by_keyboard(visit.page, token, SENTENCE)
