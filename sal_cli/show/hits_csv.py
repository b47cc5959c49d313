"""The hits of a search as CSV, for a spreadsheet: a line for each hit, under a header."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sal_runtime.matching.result import Hit, SearchResult

COLUMNS = ("rank", "likelihood", "score", "uri", "path", "camera", "track", "others", "captured_at", "box")


def render_csv(result: SearchResult) -> str:
    """The columns `COLUMNS`, `meta.KEY` for each metadata key, and the evidence of each term; fractions, UTC.

    `others` is the number of other images of the track, in an answer by track.
    """
    keys = sorted({key for hit in result.hits for key in hit.item.metadata})
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*COLUMNS, *(f"meta.{key}" for key in keys), *(term.understood for term in result.terms)])
    for hit in result.hits:
        evidence = [f"{hit.evidence[term.text]:.4f}" for term in result.terms]
        writer.writerow([*_cells(hit), *(hit.item.metadata.get(key, "") for key in keys), *evidence])
    return file.getvalue()


def _cells(hit: Hit) -> list[object]:
    item = hit.item
    likelihood = "" if hit.likelihood is None else f"{hit.likelihood:.4f}"
    box = "" if item.box is None else " ".join(map(str, item.box))
    known = [item.camera or "", item.track or "", len(hit.others), _moment(item.captured_at), box]
    return [hit.rank, likelihood, f"{hit.score:.4f}", hit.uri, str(hit.path), *known]


def _moment(seconds: float | None) -> str:
    """In ISO 8601; seconds since 1970 where no calendar has it."""
    if seconds is None:
        return ""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return str(seconds)
