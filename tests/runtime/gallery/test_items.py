"""Filters refuse what cannot be a condition."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sal_runtime.errors import InputError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem, ItemFilter
from tests.runtime.gallery.test_gallery import fake_bundle, unit_vectors


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
        {"metadata": {"zone": ["north"]}, "without_metadata": {"zone": "north"}},
    ],
)
def test_a_text_is_not_several_texts(conditions: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"expected several texts, such as \['door', 'yard'\]"):
        ItemFilter(**conditions)


def test_several_texts_are_several_conditions() -> None:
    where = ItemFilter(cameras=("door", "yard"), tracks=["17"], metadata={"zone": ["north"]})
    where = replace(where, without_metadata={"zone": ["south", "east"], "colourless": ["yes"]})
    words = ("camera door or yard", "track 17", "zone north", "not zone south or east", "not colourless yes")
    assert where.words() == words


@pytest.mark.parametrize("moment", [datetime(2026, 1, 1), "2026-01-01"])
def test_a_moment_that_is_no_number_is_refused(tmp_path: Path, moment: Any) -> None:
    with pytest.raises(InputError, match="in a time window, expected seconds since 1970"):
        ItemFilter(captured_from=moment)
    with Gallery.create(tmp_path / "yard.sal", fake_bundle()) as gallery:
        with pytest.raises(InputError, match=r"a.jpg: captured_at is .*, expected seconds since 1970, UTC"):
            gallery.add([GalleryItem("a.jpg", captured_at=moment)], unit_vectors(1))
        assert len(gallery) == 0
