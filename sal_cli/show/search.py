"""The hits of a search as a table, in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import TYPE_CHECKING

from sal_cli.show.terminal import print_failed, print_json, printable, write_file

if TYPE_CHECKING:
    from rich.table import Table

    from sal_runtime.matching.result import Hit, SearchResult

SENSITIVE_MARK = "◆"
NARROWEST_NAME = 24
"""Characters of the name of an image that are shown, whatever else is."""
OTHER_COLUMNS = 22
"""Characters that rank, score and match take, with the gaps between all columns."""
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
    """The answer to a search: hits on stdout, sheets where they are wanted, what was skipped on stderr."""
    if as_json:
        print_json(result.to_json())
    else:
        print_hits(result)
    print_failed(result.failed)
    write_sheets(result, html, grid)


def print_hits(result: SearchResult) -> None:
    """The hits as a table, as wide as the terminal (80 columns where there is none)."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 80)
    labels = [f"{term.understood} {SENSITIVE_MARK}" if term.sensitive else term.understood for term in result.terms]
    headers = evidence_headers(labels, console.width)
    keys = [f"{header} " if header != label else "" for header, label in zip(headers, labels, strict=False)]
    shown = [key + label for key, label in zip(keys or [""] * len(labels), labels, strict=True)]
    console.print(Text("asked: " + " · ".join(shown)))
    if result.conditions:
        console.print(Text("only: " + printable(" · ".join(result.conditions))))
    if not result.hits:
        console.print(f"none of {result.num_items:,} images fulfils these conditions")
        return
    console.print(hits_table(result, headers, console.width))
    console.print(f"the best {len(result.hits):,} of {result.num_items:,} images; {result.num_encoded:,} encoded now")
    if any(term.sensitive for term in result.terms):
        console.print(f"{SENSITIVE_MARK} sensitive attribute", style="dim")


def evidence_headers(labels: Sequence[str], width: int) -> list[str]:
    """Headers for the evidence of each asked term: the terms where that fits into `width`, else letters, else none."""
    for headers in (list(labels), list(ascii_lowercase[: len(labels)])):
        if len(headers) == len(labels) and OTHER_COLUMNS + NARROWEST_NAME + _evidence_width(headers) <= width:
            return headers
    return []


def _evidence_width(headers: Sequence[str]) -> int:
    return sum(max(len(header), len("100%")) + 2 for header in headers)


def hits_table(result: SearchResult, headers: Sequence[str], width: int) -> Table:
    """A row for each hit, with a column for each of `headers`; without any, one for the term with the least evidence.

    Args:
        result: the hits.
        headers: as `evidence_headers` gives them.
        width: of all, in characters.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("image", no_wrap=True)
    for header in ("score", "match", *headers):
        table.add_column(header, justify="right", no_wrap=True)
    if not headers:
        table.add_column("weakest evidence", no_wrap=True, overflow="ellipsis", max_width=WEAKEST_WIDTH)
    name_width = width - OTHER_COLUMNS - (_evidence_width(headers) or WEAKEST_WIDTH)
    for hit in result.hits:
        likelihood = "-" if hit.likelihood is None else f"{hit.likelihood:.0%}"
        evidence = [f"{hit.evidence[term.text]:.0%}" for term in result.terms] if headers else [_weakest(result, hit)]
        # The end of a path says more than its beginning.
        name = printable(hit.uri)
        name = name if len(name) <= name_width else "…" + name[len(name) - name_width + 1 :]
        table.add_row(str(hit.rank), Text(name), f"{hit.score:.3f}", likelihood, *evidence)
    return table


def _weakest(result: SearchResult, hit: Hit) -> str:
    term = min(result.terms, key=lambda one: hit.evidence[one.text])
    return f"{hit.evidence[term.text]:4.0%}  {term.understood}"
