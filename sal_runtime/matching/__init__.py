"""From a description to hits with their reasons.

scoring.py        query vectors, evidence for each asked attribute, likelihood of match
result.py         the answer
tracks.py         an answer by track
person_search.py  many descriptions against one open gallery
open_and_ask.py   one description against a folder, a file or a collection, in one call
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sal_runtime.lazy import lazy_names

if TYPE_CHECKING:
    from sal_runtime.matching.open_and_ask import search as search
    from sal_runtime.matching.person_search import PersonSearch as PersonSearch
    from sal_runtime.matching.result import AskedTerm as AskedTerm
    from sal_runtime.matching.result import Hit as Hit
    from sal_runtime.matching.result import SearchResult as SearchResult
    from sal_runtime.matching.tracks import ask_by_track as ask_by_track
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "person_search": ("PersonSearch",),
            "result": ("AskedTerm", "Hit", "SearchResult"),
            "open_and_ask": ("search",),
            "tracks": ("ask_by_track",),
        },
    )
