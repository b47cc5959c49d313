"""Filters as boolean expressions of Milvus, and metadata in a form that these expressions can address.

Milvus compares the key in `metadata["key"]` without undoing its escapes, and cuts it at `][`. So keys are stored
percent-encoded: letters, digits and `_.-~` stay as they are, everything else is %XX of its UTF-8.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from sal_runtime.errors import InputError

if TYPE_CHECKING:
    from sal_runtime.gallery.items import ItemFilter

EVERYTHING = "id >= 0"
"""Ids are never negative."""

_EMPTY_KEY = "%"
"""The stored form of the empty key, which Milvus cannot address; no other key is encoded to it."""
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"})
"""The characters that need an escape between quotes; the embedded edition knows few other escapes."""


def filter_expression(where: ItemFilter | None) -> str:
    """A filter in the language of Milvus, which lets the same items through.

    Raises:
        InputError: a bound of the time window is not finite.
    """
    if where is None:
        return EVERYTHING
    conditions = []
    if where.cameras:
        conditions.append(_is_one_of("camera", where.cameras))
    if where.tracks:
        conditions.append(_is_one_of("track", where.tracks))
    if where.captured_from is not None:
        conditions.append(f"captured_at >= {_number(where.captured_from)}")
    if where.captured_until is not None:
        conditions.append(f"captured_at < {_number(where.captured_until)}")
    for key, values in where.metadata.items():
        # the embedded edition has no `in` for a value inside a JSON field
        field = _field(key)
        conditions.append(f"({' or '.join(f'{field} == {_text(value)}' for value in values)})")
    for key, values in where.without_metadata.items():
        # what a comparison with a missing value gives depends on the version of the server
        field = _field(key)
        others = " and ".join(f"{field} != {_text(value)}" for value in values)
        conditions.append(f"(not exists {field} or ({others}))")
    return " and ".join(conditions) or EVERYTHING


def store_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata with encoded keys."""
    return {_stored_key(key): value for key, value in metadata.items()}


def restore_metadata(stored: Mapping[str, str]) -> dict[str, str]:
    """The inverse of `store_metadata`."""
    return {"" if key == _EMPTY_KEY else unquote(key): value for key, value in stored.items()}


def _stored_key(key: str) -> str:
    return quote(key, safe="") or _EMPTY_KEY


def _field(key: str) -> str:
    return f'metadata["{_stored_key(key)}"]'


def _is_one_of(field: str, values: Iterable[str]) -> str:
    return f"{field} in [{', '.join(map(_text, values))}]"


def _text(value: str) -> str:
    return f'"{value.translate(_ESCAPES)}"'


def _number(value: float) -> str:
    if not math.isfinite(value):
        raise InputError(f"got {value} as a bound of a time window, expected seconds; leave an open end out")
    return repr(float(value))
