"""The answer to a search on the terminal, and the files that are wanted."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sal_cli.options import refuse_options
from sal_cli.show.terminal import SENSITIVE_MARK, check_places, console, print_failed, print_json, printable, write_file
from sal_runtime.errors import ConfigError
from sal_runtime.images.folder import counts_by_suffix

if TYPE_CHECKING:
    from sal_runtime.matching.result import SearchResult

STDOUT = Path("-")
FORMATS = {"--html": (".html", ".htm"), "--grid": (".jpg", ".jpeg", ".png"), "--csv": (".csv",)}
"""The suffixes of each option's file; a name without a known suffix takes the first format."""
OTHER_SUFFIXES = {".gif", ".json", ".jsonl", ".parquet", ".pdf", ".sal", ".svg", ".tif", ".tiff", ".tsv", ".webp"}


@dataclass(frozen=True)
class Files:
    """The files that hits are written to; None for those that are not wanted."""

    html: Path | None
    grid: Path | None
    csv: Path | None


def check_files(html: Path | None, grid: Path | None, csv: Path | None, *, as_json: bool) -> Files:
    """The files that are wanted, before the work is done.

    Raises:
        ConfigError: a name promises another format than the one that is written, or CSV and JSON both go to stdout.
        InputError: a file is a folder, or its folder does not exist.
    """
    known = OTHER_SUFFIXES.union(*FORMATS.values())
    for (option, suffixes), file in zip(FORMATS.items(), (html, grid, csv), strict=True):
        if file is not None and file.suffix.lower() in known - set(suffixes):
            raise ConfigError(
                f"{option} {file}: got a name that ends in {file.suffix}, expected {' or '.join(suffixes)}"
            )
    if STDOUT in (html, grid):
        raise ConfigError("got - as a file; only --csv can write to stdout, so name a file")
    if csv == STDOUT:
        refuse_options({"--json": as_json}, "--csv - writes to stdout, too; leave one of them out")
    check_places(html, grid, csv)
    return Files(html, grid, csv)


def print_search(result: SearchResult, files: Files, *, as_json: bool) -> None:
    """Print hits on stdout and skipped images on stderr, and write the files that are wanted.

    Raises:
        SalError: a file cannot be written.
    """
    if as_json:
        print_json(result.to_json())
    elif files.csv != STDOUT:
        print_hits(result)
    print_failed(result.failed)
    if result.num_encoded and "research" in (result.licence or "").lower():  # the first search of a folder
        print(f"sal: bundle {result.bundle_name}: {result.licence}", file=sys.stderr)
    if files.html is not None:
        from sal_cli.show.html import render_html

        write_file(files.html, render_html(result, files.html.parent).encode())
    if files.grid is not None:
        from sal_cli.show.grid import draw_grid

        write_file(files.grid, draw_grid(result, ".png" if files.grid.suffix.lower() == ".png" else ".jpg"))
    if files.csv is not None:
        from sal_cli.show.hits_csv import render_csv

        if files.csv == STDOUT:
            sys.stdout.write(render_csv(result))
            for note in result.notes:
                print(f"sal: note: {printable(note)}", file=sys.stderr)
        else:
            write_file(files.csv, render_csv(result).encode())


def print_hits(result: SearchResult) -> None:
    """Print hits as a table, as wide as the terminal; in a pipe nothing is cut."""
    from sal_cli.show.hits_table import hits_table, marked

    screen = console()
    screen.print("asked: " + " · ".join(marked(term) for term in result.terms))
    if result.conditions:
        screen.print("only: " + printable(" · ".join(result.conditions)))
    if result.hits:
        made, legend = hits_table(result, screen.width if screen.is_terminal else None)
        screen.print(made)
        for line in legend:
            screen.print(line, style="dim")
        found = f"the best {len(result.hits):,} {'tracks ' if result.grouped else ''}of {result.num_items:,} images"
    else:
        found = f"none of {result.num_items:,} images fulfils these conditions"
    encoded = f"; {result.num_encoded:,} encoded now" if result.num_encoded else ""
    passed_over = counts_by_suffix(result.passed_over)
    screen.print(f"{found}{encoded}" + (f"; files passed over: {printable(passed_over)}" if passed_over else ""))
    for note in result.notes:
        screen.print(f"note: {printable(note)}")
    if result.hits and any(term.sensitive for term in result.terms):
        screen.print(f"{SENSITIVE_MARK} sensitive attribute", style="dim")
