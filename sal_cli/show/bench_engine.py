"""The result of `sal bench engine` for people and programs: a table of 80 columns, a JSON document, a plot."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sal_cli.bench.engine import EngineBench, Row, bench_document
from sal_cli.bench.plots import check_plot, draw_latency_plot
from sal_cli.bench.record import command_line
from sal_cli.bench.statistics import STABLE_VARIATION, percentile
from sal_cli.show.terminal import check_places, print_json, write_file
from sal_runtime.bundle.bundle import IMAGE_ROLE

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("rows/s", "x fp32", "median", "p95", "var.")
UNSTABLE_MARK = "!"
LEGEND = """
rows/s: images or attribute vectors per second of wall clock; x fp32: to ONNX
Runtime fp32 on the same device; median, p95: latency of a batch, ms; var.:
standard deviation of the latencies to their mean"""


def check_report(out: Path | None, plot: Path | None) -> None:
    """Refuse results that could not be written, before anything is measured.

    Raises:
        ConfigError: the plot cannot be drawn.
        InputError: the folder of a file does not exist.
    """
    check_places(out, plot)
    if plot is not None:
        check_plot(plot)


def report_bench(bench: EngineBench, out: Path | None, plot: Path | None, *, as_json: bool) -> None:
    """Print the result, say on stderr what was left out, and write the files that are wanted.

    Raises:
        SalError: a file cannot be written.
    """
    document = bench_document(bench, command_line(sys.argv))
    hand_out(document, partial(print_bench, bench), bench.notes, out, as_json=as_json)
    if plot is not None:
        rows = [row for row in bench.rows if row.contender.role == IMAGE_ROLE]
        title = f"image encoder of {bench.bundle.name} ({bench.bundle.fingerprint[:12]})"
        settings = f"threads {bench.options.threads}, streams {bench.options.timing.streams}"
        write_file(plot, draw_latency_plot(rows, title, plot_footer(document, settings)))


def hand_out(
    document: dict[str, Any], show: Callable[[], None], notes: Sequence[str], out: Path | None, *, as_json: bool
) -> None:
    """Print a result as JSON or as `show` does, say on stderr what was left out, and write the JSON if that is wanted.

    Raises:
        SalError: the file cannot be written.
    """
    if as_json:
        print_json(document)
    else:
        show()
    for note in notes:
        print(f"sal: {note}", file=sys.stderr)
    if out is not None:
        write_file(out, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


def plot_footer(document: dict[str, Any], settings: str) -> str:
    """What a plot must say about where its numbers come from."""
    machine = document["machine"]
    where = [machine["cpu"], machine["gpu"], settings]
    return " · ".join(str(part) for part in (*where, document["commit"], document["created"][:10]) if part)


def print_bench(bench: EngineBench) -> None:
    """A table for each batch size, contenders below each other."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 80)
    options = bench.options
    console.print(f"bundle {bench.bundle.name} ({bench.bundle.fingerprint[:12]}), golden vectors hold")
    console.print(", ".join(dict.fromkeys(row.contender.engine for row in bench.rows)), end="; ")
    console.print(f"threads {options.threads}, streams {options.timing.streams}")
    for batch_size, rows in groupby(bench.rows, key=lambda row: row.batch_size):
        console.print()
        console.print(bench_table(f"batch of {batch_size}", list(rows)))
    console.print(LEGEND, style="dim")
    if not all(row.timing.is_stable for row in bench.rows):
        console.print(f"{UNSTABLE_MARK} above {STABLE_VARIATION:.0%}: unstable; measure again while nothing else runs")


def bench_table(title: str, rows: list[Row]) -> Table:
    """The rows of one batch size."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(title, no_wrap=True, overflow="ellipsis", min_width=18)
    table.add_column("precision", no_wrap=True)
    table.add_column("device", no_wrap=True)
    for header in COLUMNS:
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        latencies = row.timing.latencies_ms
        relative = "-" if row.relative_throughput is None else f"{row.relative_throughput:.2f}"
        mark = " " if row.timing.is_stable else UNSTABLE_MARK
        table.add_row(
            row.contender.artefact.removesuffix(".onnx"),
            row.contender.precision,
            row.contender.device,
            number_text(row.throughput),
            relative,
            number_text(percentile(latencies, 50)),
            number_text(percentile(latencies, 95)),
            f"{row.timing.variation:.0%}{mark}",
        )
    return table


def number_text(value: float) -> str:
    """Three digits that count, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.{1 if value >= 10 else 2 if value >= 1 else 3}f}"
