"""What the commands show to people: a progress bar and a table; results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

from sal_runtime.errors import InputError, SalError

if TYPE_CHECKING:
    from rich.table import Table

    from sal_runtime.bulk_ray import ArchiveReport
    from sal_runtime.gallery_admin import Status
    from sal_runtime.gallery_reindex import ReindexReport
    from sal_runtime.gallery_update import Progress, UpdateReport
    from sal_runtime.search_result import Hit, SearchResult

SENSITIVE_MARK = "◆"
NARROWEST_NAME = 24
"""Characters of the name of an image that are shown, whatever else is."""
OTHER_COLUMNS = 22
"""Characters that rank, score and match take, with the gaps between all columns."""
WEAKEST_WIDTH = 30


@contextmanager
def progress_bar(label: str) -> Iterator[Progress]:
    """A bar on stderr that appears with the first call of what it gives, and only where a person is looking.

    Usage: `with progress_bar("encoding") as progress: progress(done, total)`.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    bar = Bar(TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True))
    task = bar.add_task(label)

    def show(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()


def print_json(document: dict[str, Any]) -> None:
    """The one JSON document of a command, on stdout."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def write_sheets(result: SearchResult, html: Path | None, grid: Path | None) -> None:
    """Write the hits as an HTML page, a JPEG, or both.

    Raises:
        SalError: a file cannot be written.
    """
    if html is not None:
        from sal_runtime.html_sheet import render_html

        write_file(html, render_html(result).encode())
    if grid is not None:
        from sal_runtime.grid import draw_grid

        write_file(grid, draw_grid(result))


def write_file(path: Path, data: bytes) -> None:
    """Write a file that appears under its name only when whole, and say so on stderr.

    Raises:
        SalError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise SalError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)
    print(f"wrote {path}", file=sys.stderr)


def check_places(*files: Path | None) -> None:
    """Refuse results that cannot be written, before the work is done.

    Raises:
        InputError: the folder of a file does not exist.
    """
    for file in files:
        if file is not None and not file.parent.is_dir():
            raise InputError(f"{file}: the folder {file.parent} does not exist; make it first")


def print_search(result: SearchResult, html: Path | None, grid: Path | None, *, as_json: bool) -> None:
    """The answer to a search: hits on stdout, sheets where they are wanted, what was skipped on stderr."""
    if as_json:
        print_json(result.to_json())
    else:
        print_hits(result)
    print_failed(result.failed)
    write_sheets(result, html, grid)


def printable(text: str) -> str:
    """`text` with escapes for what cannot be printed: the name of a file must not steer a terminal."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def print_failed(failed: Sequence[tuple[str, str]]) -> None:
    """Name on stderr what was skipped, and why."""
    for path, reason in failed:
        print(f"sal: skipped {printable(path)}: {printable(reason)}", file=sys.stderr)


def print_update(report: UpdateReport, *, as_json: bool) -> None:
    """What `sal gallery add` did."""
    counts = {name: getattr(report, name) for name in ("added", "changed", "removed", "unchanged")}
    if as_json:
        print_json({**counts, "failed": [{"path": path, "reason": reason} for path, reason in report.failed]})
    else:
        print(", ".join(f"{count:,} {name}" for name, count in counts.items()))
    print_failed(report.failed)


def print_status(status: Status, *, as_json: bool) -> None:
    """What `sal gallery status` found."""
    if as_json:
        print_json(status.to_json())
        return
    print(f"gallery  {status.path}")
    print(f"images   {status.items:,}")
    print(f"size     {status.bytes / 1e6:,.1f} MB, {status.embedding_dim} numbers an image")
    print(f"bundle   {status.bundle} ({status.fingerprint[:12]})")
    if status.follows is not None:
        print(f"follows  {status.follows}")
    if status.pending is not None:
        waiting = ", ".join(f"{count:,} {name}" for name, count in status.pending.items() if count)
        print(f"pending  {waiting or 'nothing, it is up to date'}")


def print_count(done: str, count: int, *, as_json: bool) -> None:
    """How many images something was done to."""
    if as_json:
        print_json({done: count})
    else:
        print(f"{done} {count:,} {'image' if count == 1 else 'images'}")


def print_reindex(report: ReindexReport, *, as_json: bool) -> None:
    """What `sal gallery reindex` did."""
    if as_json:
        dropped = [{"path": path, "reason": reason} for path, reason in report.dropped]
        print_json({"encoded": report.encoded, "kept": report.kept, "dropped": dropped})
    else:
        print(f"{report.encoded:,} encoded, {report.kept:,} encoded before, {len(report.dropped):,} dropped")
    print_failed(report.dropped)


def print_archive(report: ArchiveReport, *, as_json: bool) -> None:
    """What `sal gallery encode` did."""
    if as_json:
        print_json(vars(report))
    else:
        print(
            f"{report.images:,} images in {report.parts:,} files, {report.unchanged:,} of them there before; "
            f"{report.failed:,} failed"
        )


def print_problems(problems: Sequence[str], *, as_json: bool) -> None:
    """What `sal gallery verify` found."""
    if as_json:
        print_json({"ok": not problems, "problems": list(problems)})
    else:
        print("\n".join(map(printable, problems)) if problems else "ok")


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
