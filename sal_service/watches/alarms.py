"""What a `min_likelihood` would have meant: alarms, and wrong ones among them, in the last day that cameras have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sal_runtime.errors import ConfigError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import ItemFilter
from sal_runtime.matching.person_search import PersonSearch
from sal_runtime.query.language import parse_query

DAY_SECONDS = 86400.0
THRESHOLDS = tuple(percent / 100 for percent in range(10, 100, 5))


@dataclass(frozen=True)
class Alarms:
    """What one `min_likelihood` would have meant.

    Attributes:
        min_likelihood: 0..1.
        alarms: tracks that would have fired.
        wrong: how many of them wrongly, as the likelihoods of their best images say.
    """

    min_likelihood: float
    alarms: int
    wrong: float


@dataclass(frozen=True)
class Preview:
    """What each `min_likelihood` would have meant.

    Attributes:
        hours: how much of a day the cameras have.
        tracks: that they saw in it; an image without a track is one.
        thresholds: in ascending order.
        notes: why the numbers deserve less trust.
    """

    hours: float
    tracks: int
    thresholds: tuple[Alarms, ...]
    notes: tuple[str, ...]


def preview(search: PersonSearch, description: str, cameras: Sequence[str] = ()) -> Preview:
    """Estimate the alarms of a watch from the last 24 hours before the newest image of its cameras.

    Args:
        search: of a gallery file.
        description: in the query language.
        cameras: of the watch; empty for all.

    Raises:
        SchemaError: the description is empty, unknown to the schema, or contradicts itself.
        ConfigError: the bundle is not calibrated, so nothing is known of the likelihood.
    """
    query = parse_query(description, search.bundle.schema)
    if search.bundle.calibration is None:
        raise ConfigError(
            f"bundle {search.bundle.name} is not calibrated, so nothing is known of the likelihood; export the bundle "
            "with its data set",
            parameter="gallery",
        )
    gallery = search.gallery
    assert isinstance(gallery, Gallery)
    anywhere = ItemFilter(cameras=cameras)
    newest = _newest(gallery, cameras)
    if newest is None:
        unknown = gallery.unknown_values(anywhere) or ["no image says when it was captured"]
        return Preview(0.0, 0, tuple(Alarms(at, 0, 0.0) for at in THRESHOLDS), tuple(unknown))
    where = ItemFilter(cameras=cameras, captured_from=newest - DAY_SECONDS)
    items = gallery.all_items(where)
    moments = [item.captured_at for item in items if item.captured_at is not None]
    hours = (max(moments) - min(moments)) / 3600
    tracks = {item.uri if item.track is None else (item.camera, item.track) for item in items}
    result = search.ask(query, len(items), where=where)
    best = np.array([hit.likelihood for hit in result.by_track().hits], np.float64)
    thresholds = tuple(Alarms(at, int((best >= at).sum()), float((1.0 - best[best >= at]).sum())) for at in THRESHOLDS)
    notes = [*gallery.unknown_values(anywhere), *result.notes]
    if hours < 23:
        notes.append(f"the cameras have {hours:.1f} hours, not a day; expect more alarms in a whole one")
    return Preview(hours, len(tracks), thresholds, tuple(notes))


def _newest(gallery: Gallery, cameras: Sequence[str]) -> float | None:
    """When the newest image of some cameras was captured, within a second; None if none says when it was.

    Counting what is in a time window reads 8 bytes of an item, and these stay in memory; rows would be read whole.
    """
    captured = gallery.recorded().captured
    if captured is None:
        return None

    def is_some_from(moment: float) -> bool:
        return gallery.count(ItemFilter(cameras=cameras, captured_from=moment)) > 0

    first, last = captured
    if is_some_from(last):
        return last
    if not is_some_from(first):
        return None
    while last - first > 1.0:
        middle = (first + last) / 2
        first, last = (middle, last) if is_some_from(middle) else (first, middle)
    return first
