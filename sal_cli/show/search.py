"""The answer to a search: hits as a table, and the sheets that are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import TYPE_CHECKING

from sal_cli.show.terminal import SENSITIVE_MARK, console, print_failed, print_json, printable, table, write_file

if TYPE_CHECKING:
    from rich.table import Table

    from sal_runtime.matching.result import Hit, SearchResult

NARROWEST_NAME = 24
"""Characters of an image's name that are always shown."""
OTHER_COLUMNS = 22
"""Characters for rank, score and match, with the gaps between all columns."""
WEAKEST_WIDTH = 30


def write_sheets(result: SearchResult, html: Path | None, grid: Path | None) -> None:
    """Write the hits as an HTML page, a JPEG, or both.

    Raises:
        SalError: a file cannot be written.
    """
    if html is not None:
        from sal_cli.show.html import render_html

        write_file(html, render_html(result).encode())
    if grid is not None:
        from sal_cli.show.grid import draw_grid

        write_file(grid, draw_grid(result))


def print_search(result: SearchResult, html: Path | None, grid: Path | None, *, as_json: bool) -> None:
    """Print hits on stdout and skipped images on stderr, and write the sheets that are wanted.

    Raises:
        SalError: a sheet cannot be written.
    """
    if as_json:
        print_json(result.to_json())
    else:
        print_hits(result)
    print_failed(result.failed)
    write_sheets(result, html, grid)


def print_hits(result: SearchResult) -> None:
    """Print the hits as a table, as wide as the terminal; in a pipe, as wide as its content."""
    screen = console()
    labels = [f"{term.understood} {SENSITIVE_MARK}" if term.sensitive else term.understood for term in result.terms]
    headers = evidence_headers(labels, screen.width)
    keys = [f"{header} " if header != label else "" for header, label in zip(headers, labels, strict=False)]
    shown = [key + label for key, label in zip(keys or [""] * len(labels), labels, strict=True)]
    screen.print("asked: " + " · ".join(shown))
    if result.conditions:
        screen.print("only: " + printable(" · ".join(result.conditions)))
    if not result.hits:
        screen.print(f"none of {result.num_items:,} images fulfils these conditions")
    else:
        screen.print(hits_table(result, headers, screen.width))
        screen.print(
            f"the best {len(result.hits):,} of {result.num_items:,} images; {result.num_encoded:,} encoded now"
        )
    for note in result.notes:
        screen.print(f"note: {printable(note)}")
    if result.hits and any(term.sensitive for term in result.terms):
        screen.print(f"{SENSITIVE_MARK} sensitive attribute", style="dim")


def evidence_headers(labels: Sequence[str], width: int) -> list[str]:
    """Headers for the evidence of each asked term: labels if they fit into `width`, else letters, else none."""
    for headers in (list(labels), list(ascii_lowercase[: len(labels)])):
        if len(headers) == len(labels) and OTHER_COLUMNS + NARROWEST_NAME + _evidence_width(headers) <= width:
            return headers
    return []


def _evidence_width(headers: Sequence[str]) -> int:
    return sum(max(len(header), len("100%")) + 2 for header in headers)


def hits_table(result: SearchResult, headers: Sequence[str], width: int) -> Table:
    """A row for each hit, with a column for the evidence of each term, or a single column for the weakest evidence.

    Args:
        result: the hits.
        headers: from `evidence_headers`; none makes the single column.
        width: width of the whole table, in characters.
    """
    made = table("#", "image", "score", "match", *headers, left=2)
    made.columns[0].justify = "right"
    if not headers:
        made.add_column("weakest evidence", no_wrap=True, max_width=WEAKEST_WIDTH)
    name_width = width - OTHER_COLUMNS - (_evidence_width(headers) or WEAKEST_WIDTH)
    for hit in result.hits:
        likelihood = "-" if hit.likelihood is None else f"{hit.likelihood:.0%}"
        evidence = [f"{hit.evidence[term.text]:.0%}" for term in result.terms] if headers else [_weakest(result, hit)]
        # the end of a path says more than its beginning
        name = printable(hit.uri)
        name = name if len(name) <= name_width else "…" + name[len(name) - name_width + 1 :]
        made.add_row(str(hit.rank), name, f"{hit.score:.3f}", likelihood, *evidence)
    return made


def _weakest(result: SearchResult, hit: Hit) -> str:
    term = min(result.terms, key=lambda term: hit.evidence[term.text])
    return f"{hit.evidence[term.text]:4.0%}  {term.understood}"
