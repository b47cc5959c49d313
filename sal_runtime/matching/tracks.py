"""Answers by track: a hit for each person whom a camera followed, where a plain answer has one for each image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from sal_runtime.gallery.items import ItemFilter

if TYPE_CHECKING:
    from sal_runtime.matching.person_search import PersonSearch
    from sal_runtime.matching.result import SearchResult
    from sal_runtime.query.language import Query

GROWTH = 4
"""How many times as many images are ranked as before, until they are of enough tracks."""


def ask_by_track(search: PersonSearch, attrs: str | Query, k: int, where: ItemFilter | None = None) -> SearchResult:
    """Rank the tracks of a gallery by one description. A track ranks where its best image does.

    This is exact: images are ranked until they are of k tracks, and then all images of these tracks.

    Args:
        search: of the gallery; not an approximate one.
        attrs: description in the query language, or parsed already.
        k: tracks wanted; fewer come if fewer are allowed. An image without a track is a track of its own.
        where: only these images are ranked; None for all.

    Returns:
        The answer as `SearchResult.by_track` groups it; the `others` of a hit are all other images of its track.

    Raises:
        SchemaError: the description is empty, unknown to the schema, or contradicts itself.
        InputError: the gallery is empty, k is below 1, `search` is approximate, or more images have to be ranked than
            the gallery gives at once (Milvus, 16,384).
    """
    grouped = _best(search, attrs, k * GROWTH, where, lambda found: _num_tracks(found) >= k).by_track()
    hits = grouped.hits[:k]
    tracks = {hit.item.track for hit in hits if hit.item.track is not None}
    if tracks:
        all_of_them = replace(where or ItemFilter(), tracks=sorted(tracks))
        every = _best(search, attrs, k * GROWTH, all_of_them, lambda _: False).by_track()
        members = {(hit.item.camera, hit.item.track): (hit, *hit.others) for hit in every}
        hits = tuple(
            replace(hit, others=tuple(replace(other, rank=hit.rank) for other in found if other.uri != hit.uri))
            for hit in hits
            for found in [members.get((hit.item.camera, hit.item.track), ())]
        )
    return replace(grouped, hits=hits)


def _best(
    search: PersonSearch,
    attrs: str | Query,
    count: int,
    where: ItemFilter | None,
    is_enough: Callable[[SearchResult], bool],
) -> SearchResult:
    """The best `count` images, and so many more until they are enough, or all."""
    while True:
        result = search.ask(attrs, count, where=where)
        if len(result) < count or is_enough(result):
            return result
        count *= GROWTH


def _num_tracks(found: SearchResult) -> int:
    return len({(hit.item.camera, hit.item.track, hit.item.track is None and hit.uri) for hit in found})
