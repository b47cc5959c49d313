"""Moments and ages as people write them."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from sal_runtime.errors import InputError

FILE_TIME = "mtime"
"""Stands for the modification time of the image file, instead of a moment."""
MOMENTS = (
    "ISO 8601 such as 2026-11-23T14:02 (local time) or 2026-11-23T14:02+01:00, today, yesterday, or an age such as "
    "-30m, -2h or -7d, or seconds since 1970"
)
"""The forms of a moment, for messages."""
_SECONDS_SINCE_1970 = re.compile(r"\d{9,11}(\.\d+)?")
"""What pipelines write: seconds between 1973 and 5138."""
_DAYS_AGO = {"today": 0, "yesterday": 1}
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_age(text: str) -> float:
    """Seconds of an age, written as a number and one of m (minutes), h, d, w.

    >>> parse_age("36h") / 3600
    36.0

    Raises:
        InputError: the text is not an age.
    """
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([mhdw])", text.strip().lower())
    if match is None:
        raise InputError(f"got the age {text!r}, expected a number and m, h, d or w, such as 90m, 36h, 30d or 8w")
    return float(match[1]) * _SECONDS[match[2]]


def parse_moment(text: str, now: datetime | None = None) -> float:
    """Seconds since 1970 of a moment as people write it.

    A moment in ISO 8601 is in the local time zone (that of the variable `TZ`, or of the machine) unless it names an
    offset; `today` and `yesterday` begin at midnight there; `-2h` is an age before now. A number of 9 to 11 digits is
    in seconds since 1970.

    Args:
        text: the moment.
        now: the present; None takes the clock.

    >>> parse_moment("1970-01-02T00:00Z")
    86400.0

    Raises:
        InputError: the text is not a moment.
    """
    now, word = now or datetime.now(UTC), text.strip().lower()
    if _SECONDS_SINCE_1970.fullmatch(word):
        return float(word)
    if word in _DAYS_AGO:
        day = now.astimezone().date() - timedelta(days=_DAYS_AGO[word])
        return _seconds(datetime(day.year, day.month, day.day))
    try:
        if word.startswith("-"):
            return now.timestamp() - parse_age(word[1:])
        return _seconds(datetime.fromisoformat(text.strip()))
    except ValueError:
        raise InputError(f"got the moment {text!r}, expected {MOMENTS}") from None


def _seconds(moment: datetime) -> float:
    try:
        return moment.timestamp()
    except (ValueError, OverflowError):  # the first and the last days of the calendar have no local time
        return moment.replace(tzinfo=UTC).timestamp()


def moment_text(seconds: float) -> str:
    """A moment for people, in the local time zone: `2026-11-23 14:02:00 CET`.

    Moments that no calendar has (before the year 1, after 9999) are given as seconds since 1970.
    """
    for zone in (None, UTC):  # the last hours of the calendar may be beyond it in local time
        with suppress(ValueError, OverflowError, OSError):
            return f"{datetime.fromtimestamp(seconds, UTC).astimezone(zone):%Y-%m-%d %H:%M:%S %Z}"
    return f"{seconds:.0f} seconds since 1970"
