"""Moments and ages as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from sal_runtime.errors import InputError

FILE_TIME = "mtime"
"""Stands for the modification time of the image file, instead of a moment."""
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


def parse_moment(text: str) -> float:
    """Seconds since 1970 of a moment in ISO 8601, in UTC unless it names a time zone.

    >>> parse_moment("1970-01-02T00:00Z")
    86400.0

    Raises:
        InputError: the text is not a moment.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"got the moment {text!r}, expected ISO 8601 such as 2026-11-23T14:02:00+01:00, or {FILE_TIME}"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
