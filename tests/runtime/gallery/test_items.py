"""Filters refuse what cannot be a condition."""

from __future__ import annotations

from typing import Any

import pytest

from sal_runtime.errors import InputError
from sal_runtime.gallery.items import ItemFilter


@pytest.mark.parametrize(
    "conditions",
    [
        {"cameras": "door"},
        {"tracks": "17"},
        {"cameras": b"door"},
        {"tracks": [17]},
        {"tracks": 17},
        {"cameras": ["door", None]},
        {"metadata": {"zone": "north"}},
        {"metadata": {"zone": ["north"], "frame": [3]}},
    ],
)
def test_a_text_is_not_several_texts(conditions: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"expected several texts, such as \['door', 'yard'\]"):
        ItemFilter(**conditions)


def test_several_texts_are_several_conditions() -> None:
    where = ItemFilter(cameras=("door", "yard"), tracks=["17"], metadata={"zone": ["north"]})
    assert where.words() == ("camera door or yard", "track 17", "zone north")
