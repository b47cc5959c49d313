"""The result of `sal bench engine`: a table for people, a JSON document, a plot."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from sal_cli.bench.engine import EngineBench, Row, bench_document
from sal_cli.show.bench_report import (
    libraries_text,
    number_text,
    plot_footer,
    print_legend,
    print_result,
    variation_text,
)
from sal_cli.show.plots import draw_latency_plot
from sal_cli.show.terminal import console, table, write_file
from sal_runtime.bundle.bundle import IMAGE_ROLE

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("a second", "x fp32", "median", "p95", "spread")
LEGEND = """
a second: images, or attribute vectors, a second of wall clock; x fp32: ratio to
ONNX Runtime in fp32 on the same device; median, p95: latency of a batch in ms;
spread: standard deviation of the latencies over their mean"""


def report_bench(bench: EngineBench, out: Path | None, plot: Path | None, *, as_json: bool) -> None:
    """Print the result, say on stderr what was left out, and write the files that are wanted.

    Raises:
        SalError: a file cannot be written.
    """
    document = bench_document(bench)
    print_result(document, partial(print_bench, bench), bench.notes, out, as_json=as_json)
    if plot is not None:
        rows = [row for row in bench.rows if row.contender.role == IMAGE_ROLE]
        title = f"image encoder of {bench.bundle.name} ({bench.bundle.fingerprint[:12]})"
        settings = f"threads {bench.options.threads}, streams {bench.options.timing.streams}"
        write_file(plot, draw_latency_plot(rows, title, plot_footer(document, settings)))


def print_bench(bench: EngineBench) -> None:
    """Print a table for each batch size, with contenders below each other."""
    screen = console()
    options = bench.options
    screen.print(f"bundle {bench.bundle.name} ({bench.bundle.fingerprint[:12]}), golden vectors hold")
    screen.print(libraries_text(row.contender.library for row in bench.rows), end="; ")
    screen.print(f"threads {options.threads}, streams {options.timing.streams}")
    for batch_size, rows in groupby(bench.rows, key=lambda row: row.batch_size):
        screen.print()
        screen.print(bench_table(f"batch of {batch_size}", list(rows)))
    print_legend(screen, LEGEND, (row.timing for row in bench.rows))


def bench_table(title: str, rows: list[Row]) -> Table:
    """The rows of one batch size; a narrow terminal cuts the names of contenders."""
    made = table(title, "precision", "device", *COLUMNS, left=3)
    made.columns[0].min_width = 18
    for row in rows:
        made.add_row(
            row.contender.artefact.removesuffix(".onnx"),
            row.contender.precision,
            row.contender.device,
            number_text(row.throughput),
            "-" if row.relative_throughput is None else f"{row.relative_throughput:.2f}",
            number_text(row.timing.percentile_ms(50)),
            number_text(row.timing.percentile_ms(95)),
            variation_text(row.timing),
        )
    return made
