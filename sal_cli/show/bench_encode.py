"""The result of `sal bench encode` for people and programs: a table of 80 columns, a JSON document, a plot."""

from __future__ import annotations

import statistics
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sal_cli.bench.encode import EncodeBench, encode_document
from sal_cli.bench.plots import draw_throughput_plot
from sal_cli.bench.record import command_line
from sal_cli.show.bench_engine import hand_out, number_text, plot_footer
from sal_cli.show.terminal import write_file

if TYPE_CHECKING:
    from rich.table import Table

LEGEND = """
session: bare ONNX Runtime session with its defaults; side by side: one engine
arranged like the pipeline; both on batches in memory. x session: median, least
and greatest of the ratios of each round"""


def report_encode_bench(bench: EncodeBench, out: Path | None, plot: Path | None, *, as_json: bool) -> None:
    """Print the result, and write the files that are wanted; `check_report` says before whether they can be.

    Raises:
        SalError: a file cannot be written.
    """
    document = encode_document(bench, command_line(sys.argv))
    hand_out(document, partial(print_encode_bench, bench), (), out, as_json=as_json)
    if plot is not None:
        panels: dict[str, dict[str, tuple[float, ...]]] = {}
        for row in bench.rows:
            panels.setdefault(f"{row.precision} on {bench.options.device}", {})[row.work] = row.throughputs
        title = f"encoding with {bench.bundle.name} ({bench.bundle.fingerprint[:12]})"
        settings = f"{bench.options.images:,} images, {bench.options.rounds} rounds"
        write_file(plot, draw_throughput_plot(panels, title, plot_footer(document, settings)))


def print_encode_bench(bench: EncodeBench) -> None:
    """A table, contenders below each other, those of one precision together."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 80)
    options = bench.options
    console.print(f"bundle {bench.bundle.name} ({bench.bundle.fingerprint[:12]}) on {options.device}")
    agreement = ", ".join(f"{value:.0e} in {precision}" for precision, value in bench.max_abs.items())
    console.print(f"pipeline and bare session agree to {agreement}")
    console.print()
    console.print(encode_table(bench))
    console.print(LEGEND, style="dim")


def encode_table(bench: EncodeBench) -> Table:
    """The rows of all precisions."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(f"{bench.options.images:,} images", no_wrap=True)
    table.add_column("precision", no_wrap=True)
    for header in ("images/s", "least", "greatest", "x session", "least", "greatest"):
        table.add_column(header, justify="right", no_wrap=True)
    previous = None
    for row in bench.rows:
        if previous not in (None, row.precision):
            table.add_row()
        previous = row.precision
        speeds = (statistics.median(row.throughputs), min(row.throughputs), max(row.throughputs))
        ratios = (statistics.median(row.ratios), min(row.ratios), max(row.ratios))
        table.add_row(row.work, row.precision, *map(number_text, speeds), *(f"{ratio:.2f}" for ratio in ratios))
    return table
