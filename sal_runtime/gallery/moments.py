"""Moments and ages as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from sal_runtime.errors import InputError

FILE_TIME = "mtime"
"""In place of a moment: the time of the image file."""
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def parse_age(text: str) -> float:
    """Seconds of an age: a number and one of m (minutes), h, d, w.

    >>> parse_age("36h") / 3600
    36.0

    Raises:
        InputError: it is none.
    """
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([mhdw])", text.strip().lower())
    if match is None:
        raise InputError(f"got the age {text!r}, expected a number and m, h, d or w, such as 90m, 36h, 30d or 8w")
    return float(match[1]) * _SECONDS[match[2]]


def parse_moment(text: str) -> float:
    """Seconds since 1970 of a moment in ISO 8601; UTC unless it says otherwise.

    >>> parse_moment("1970-01-02T00:00Z")
    86400.0

    Raises:
        InputError: it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"got the moment {text!r}, expected ISO 8601 such as 2026-11-23T14:02:00+01:00, or {FILE_TIME}"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
