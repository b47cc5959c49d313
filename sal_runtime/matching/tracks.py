"""Answers by track: a hit for each person whom a camera followed, where a plain answer has one for each image."""

from __future__ import annotations

from collections.abc import Sequence
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
    """Rank the tracks of a gallery by one description; arguments and errors are those of `ask_many_by_track`."""
    return ask_many_by_track(search, [attrs], k, where)[0]


def ask_many_by_track(
    search: PersonSearch, descriptions: Sequence[str | Query], k: int, where: ItemFilter | None = None
) -> list[SearchResult]:
    """Rank the tracks of a gallery by several descriptions. A track ranks where its best image does.

    This is exact: images are ranked until they are of k tracks, and then all images of these tracks.

    Args:
        search: of the gallery; not an approximate one.
        descriptions: in the query language, or parsed already.
        k: tracks wanted for each; fewer come if fewer are allowed. An image without a track is a track of its own.
        where: only these images are ranked; None for all.

    Returns:
        The answer to each description as `SearchResult.by_track` groups it; the `others` of a hit are all other images
        of its track.

    Raises:
        SchemaError: a description is empty, unknown to the schema, or contradicts itself.
        InputError: the gallery is empty, k is below 1, `search` is approximate, or more images have to be ranked than
            the gallery gives at once (Milvus, 16,384).
    """
    results = search.ask_many(descriptions, k * GROWTH, where=where)
    return [_by_track(search, attrs, k, where, found) for attrs, found in zip(descriptions, results, strict=True)]


def _by_track(
    search: PersonSearch, attrs: str | Query, k: int, where: ItemFilter | None, found: SearchResult
) -> SearchResult:
    """The tracks, from the best `k * GROWTH` images."""
    count = k * GROWTH
    while len(found) >= count and _num_tracks(found) < k:
        count *= GROWTH
        found = search.ask(attrs, count, where=where)
    grouped = found.by_track()
    hits = grouped.hits[:k]
    tracks = {hit.item.track for hit in hits if hit.item.track is not None}
    if tracks:
        every = _all_images(search, attrs, k * GROWTH, replace(where or ItemFilter(), tracks=sorted(tracks)))
        members = {(hit.item.camera, hit.item.track): (hit, *hit.others) for hit in every.by_track()}
        hits = tuple(
            replace(hit, others=tuple(replace(other, rank=hit.rank) for other in images if other.uri != hit.uri))
            for hit in hits
            for images in [members.get((hit.item.camera, hit.item.track), ())]
        )
    return replace(grouped, hits=hits)


def _all_images(search: PersonSearch, attrs: str | Query, count: int, where: ItemFilter) -> SearchResult:
    """All images that a filter lets through, of which there may be `count`, or many more."""
    while len(result := search.ask(attrs, count, where=where)) >= count:
        count *= GROWTH
    return result


def _num_tracks(found: SearchResult) -> int:
    return len({(hit.item.camera, hit.item.track, hit.item.track is None and hit.uri) for hit in found})
