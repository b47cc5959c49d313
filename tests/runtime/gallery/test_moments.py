"""Moments as people write them, in the time zone of the machine, against the rules of the calendar."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from sal_runtime.errors import InputError
from sal_runtime.gallery.items import ItemFilter
from sal_runtime.gallery.moments import moment_text, parse_moment
from sal_runtime.gallery.update import Capture

NOW = datetime(2026, 3, 29, 12, 0, tzinfo=UTC)  # in Berlin 14:00 on the day on which summer time began


@pytest.fixture(params=["UTC", "CET-1CEST,M3.5.0,M10.5.0/3", "PST8PDT,M3.2.0,M11.1.0", "LINT-14", "AOE12"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


def local(*calendar: int) -> float:
    """Seconds of a local time, by the C library."""
    return time.mktime((*calendar, *(0,) * (6 - len(calendar)), 0, 0, -1))  # type: ignore[arg-type]


def test_a_moment_without_an_offset_is_local(zone: str) -> None:
    assert parse_moment("2026-11-28T02:30") == local(2026, 11, 28, 2, 30)
    assert parse_moment(" 2026-07-01 ") == local(2026, 7, 1)
    assert parse_moment("2026-11-28T02:30+01:00") == datetime(2026, 11, 28, 1, 30, tzinfo=UTC).timestamp()
    name = time.tzname[time.localtime(local(2026, 7, 1)).tm_isdst]
    assert ItemFilter(captured_from=local(2026, 7, 1)).words() == (f"from 2026-07-01 00:00:00 {name}",)


def test_seconds_since_1970_are_the_same_everywhere(zone: str) -> None:
    assert parse_moment("1764331200.25") == 1_764_331_200.25
    assert parse_moment("100000000") == 1e8
    assert parse_moment("20261123") == local(2026, 11, 23)  # a date without hyphens


def test_days_begin_at_local_midnight(zone: str) -> None:
    today = time.localtime(NOW.timestamp())
    midnight = local(today.tm_year, today.tm_mon, today.tm_mday)
    assert parse_moment("today", NOW) == midnight
    assert parse_moment("Yesterday", NOW) == local(today.tm_year, today.tm_mon, today.tm_mday - 1)


@pytest.mark.parametrize(("text", "seconds"), [("-30m", 1800), ("-2h", 7200), ("-7d", 604_800), ("-1.5h", 5400)])
def test_an_age_is_before_now(text: str, seconds: int) -> None:
    assert parse_moment(text, NOW) == NOW.timestamp() - seconds


@pytest.mark.parametrize("text", ["", "noon", "mtime", "28.11.2026", "-", "-2y", "--2h", "2h", "2026-13-01"])
def test_a_refusal_lists_what_is_accepted_and_nothing_else(text: str) -> None:
    accepted = r"ISO 8601.*today, yesterday.*-30m, -2h or -7d, or seconds since 1970$"
    with pytest.raises(InputError, match=accepted) as raised:
        parse_moment(text)
    assert "or mtime" not in str(raised.value)


def test_the_time_of_a_file_is_offered_where_it_is_accepted() -> None:
    with pytest.raises(InputError, match="or mtime, the time of the image file"):
        Capture(captured_at="noon")
    Capture(captured_at="mtime")


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59", "9999-12-31", "0001-01-01", "0001-01-01T00:00+14:00"])
def test_the_ends_of_the_calendar_are_moments(text: str, zone: str) -> None:
    assert abs(parse_moment(text)) > 6e10
    (words,) = ItemFilter(captured_from=parse_moment(text)).words()
    if zone.startswith(("UTC", "CET")) and text.startswith("9999"):
        assert words.startswith("from 9999-12-31 ")


@pytest.mark.parametrize("seconds", [2.6e11, -1e12, 1e22])
def test_moments_that_no_calendar_has_are_shown(seconds: float, zone: str) -> None:
    assert moment_text(seconds).endswith("seconds since 1970")
