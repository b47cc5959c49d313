"""Result files, and the notation of their numbers in a document."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from sal_runtime.errors import InputError


@cache
def read_result(file: Path) -> Any:
    """The content of a result file.

    Raises:
        InputError: the file is missing or is not JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no result file {file.name!r} in {file.parent.name}/") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{file.name} is not JSON: {error}") from None


def row(rows: Iterable[Mapping[str, Any]], **wanted: Any) -> Mapping[str, Any]:
    """The only row that has all wanted values.

    Raises:
        InputError: no row has them, or more than one.
    """
    found = [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]
    if len(found) != 1:
        raise InputError(f"{len(found)} rows have {wanted}, expected one")
    return found[0]


def decimals(value: float, count: int) -> str:
    """A number with `count` decimals and commas between thousands."""
    return f"{value:,.{count}f}"


def digits(value: float, count: int) -> str:
    """A number rounded to `count` significant digits, with commas between thousands."""
    rounded = float(f"{value:.{count - 1}e}")
    exponent = int(f"{rounded:e}".partition("e")[2])
    return decimals(rounded, max(0, count - 1 - exponent))


def percent(fraction: float, count: int = 1) -> str:
    """A fraction in percent, without the sign, with `count` decimals."""
    return decimals(100 * fraction, count)
