"""The hits of a search as a table that fits the terminal, with a legend."""

from __future__ import annotations

from string import ascii_uppercase
from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len

from sal_cli.show.terminal import SENSITIVE_MARK, printable, table
from sal_runtime.gallery.moments import moment_text

if TYPE_CHECKING:
    from rich.table import Table

    from sal_runtime.matching.result import AskedTerm, Hit, SearchResult

GAP = 2
"""Characters between two columns."""
WIDE_NAME, SHORT_NAME = 24, 12
"""Characters of an image's name that are shown before evidence is, and in any case."""
LONGEST_TEXT = 20
"""Characters of a camera or a track on a terminal."""
LONGEST_TERM = 24


class Column(NamedTuple):
    """A column of the table: its header, a cell for each hit, and whether it is text or numbers."""

    header: str
    cells: list[str]
    is_text: bool = False

    @property
    def width(self) -> int:
        """Characters that it takes, with the gap behind it."""
        return max(map(cell_len, (self.header, *self.cells))) + GAP


def hits_table(result: SearchResult, width: int | None) -> tuple[Table, list[str]]:
    """A row for each hit, and the lines that explain the columns.

    Args:
        result: has hits.
        width: characters in a line of the terminal; None shows everything whole. Where it is narrow, evidence is left
            out first, then the time, the camera and the track.
    """
    known, legend = _known(result, whole=width is None)
    first = [Column("#", [str(hit.rank) for hit in result.hits]), _match(result)]
    names = [printable(hit.uri) for hit in result.hits]
    if width is None:
        evidence = _evidence(result, None)
    else:
        left = width - sum(column.width for column in [*first, *known]) - GAP
        evidence = _evidence(result, left - min(WIDE_NAME, max(map(cell_len, names))))
        while (name_width := left - sum(column.width for column in evidence)) < SHORT_NAME and (evidence or known):
            left += 0 if evidence else known.pop().width
            evidence = []
        names = [_end_of(name, max(name_width, SHORT_NAME)) for name in names]
    columns = [*first, Column("image", names, is_text=True), *known, *evidence]
    made = table(*(column.header for column in columns))
    for shown, column in zip(made.columns, columns, strict=True):
        shown.justify = "left" if column.is_text else "right"
    for row in zip(*(column.cells for column in columns), strict=True):
        made.add_row(*row)
    if evidence and evidence[0].header == ascii_uppercase[0] != marked(result.terms[0]):
        keys = (f"{column.header}: {marked(term)}" for column, term in zip(evidence, result.terms, strict=True))
        legend.insert(0, " · ".join(keys))
    return made, legend


def marked(term: AskedTerm) -> str:
    """A term for reading, with the mark of sensitive ones."""
    return f"{term.understood} {SENSITIVE_MARK}" if term.sensitive else term.understood


def _match(result: SearchResult) -> Column:
    """The number that a person should look at first: the likelihood of match, or the score where none is known."""
    if all(hit.likelihood is None for hit in result.hits):
        return Column("score", [f"{hit.score:.3f}" for hit in result.hits])
    return Column("match", ["-" if hit.likelihood is None else f"{hit.likelihood:.0%}" for hit in result.hits])


def _known(result: SearchResult, *, whole: bool) -> tuple[list[Column], list[str]]:
    """Track, camera and time as far as they are known, and the lines that explain them and the numbers."""
    hits, columns, legend = result.hits, [], []
    if result.grouped:
        columns.append(Column("track", [_track(hit) for hit in hits], is_text=True))
    if any(hit.item.camera is not None for hit in hits):
        columns.append(Column("camera", [printable(hit.item.camera or "-") for hit in hits], is_text=True))
    if not whole:
        columns = [column._replace(cells=[_end_of(cell, LONGEST_TEXT) for cell in column.cells]) for column in columns]
    if any(hit.item.captured_at is not None for hit in hits):
        times, day = _times(result, whole=whole)
        columns.append(times)
        legend += [f"captured on {day}"] if day else []
    if any(hit.likelihood is not None for hit in hits):
        legend.insert(0, "match: likelihood of the whole description; beside it: of each word alone")
    else:
        legend.insert(0, "score: similarity, -1 to 1; no likelihood, because the bundle is not calibrated")
    return columns, legend


def _track(hit: Hit) -> str:
    name = "-" if hit.item.track is None else printable(hit.item.track)
    return f"{name} +{len(hit.others):,} more" if hit.others else name


def _times(result: SearchResult, *, whole: bool) -> tuple[Column, str]:
    """When images were captured, with the zone in the header, and the day if all are of one and it is left out."""
    moments = [hit.item.captured_at for hit in result.hits]
    texts = ["-" if moment is None else moment_text(moment) for moment in moments]
    parts = [text.rsplit(" ", 2) for text in texts if text != "-"]
    days, zones = ({part[index] for part in parts} for index in (0, -1))
    if len(zones) > 1 or "1970" in zones:  # a moment that no calendar has
        return Column("time", texts, is_text=True), ""
    (zone,) = zones
    day = "" if whole or len(days) > 1 else f"{days.pop()} "
    cells = [text.removeprefix(day).removesuffix(f" {zone}") for text in texts]
    return Column(f"time ({zone})", cells, is_text=True), day.strip()


def _evidence(result: SearchResult, room: int | None) -> list[Column]:
    """A column for each term, under the term or under a letter; where there is no room, only the weakest evidence."""
    cells = [[f"{hit.evidence[term.text]:.0%}" for hit in result.hits] for term in result.terms]
    for headers in ([marked(term) for term in result.terms], list(ascii_uppercase)):
        columns = [Column(*pair) for pair in zip(headers, cells, strict=False)]
        if room is None or (len(columns) == len(cells) and sum(column.width for column in columns) <= room):
            return columns
    weakest = [min(result.terms, key=lambda term: hit.evidence[term.text]) for hit in result.hits]
    texts = [
        f"{hit.evidence[term.text]:4.0%}  {_start_of(term.understood, LONGEST_TERM)}"
        for hit, term in zip(result.hits, weakest, strict=True)
    ]
    return [Column("weakest evidence", texts, is_text=True)]


def _start_of(text: str, width: int) -> str:
    shown = text
    while cell_len(shown) > width:
        text = text[:-1]
        shown = f"{text}…"
    return shown


def _end_of(text: str, width: int) -> str:
    """As much of a text as fits: the end of a path says more than its beginning."""
    shown = text
    while cell_len(shown) > width:
        text = text[1:]
        shown = f"…{text}"
    return shown
