"""The result of `sal bench encode`: a table for people, a JSON document, a plot."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from sal_cli.bench.encode import EncodeBench, encode_document
from sal_cli.show.bench_report import number_text, plot_footer, print_legend, print_result
from sal_cli.show.plots import Spread, draw_throughput_plot
from sal_cli.show.terminal import console, table, write_file

if TYPE_CHECKING:
    from rich.table import Table

LEGEND = """
session: bare ONNX Runtime session with its defaults; side by side: one engine
arranged like the pipeline; both on batches in memory. x session: median, least
and greatest of the ratios of each round"""


def report_encode_bench(bench: EncodeBench, out: Path | None, plot: Path | None, *, as_json: bool) -> None:
    """Print the result, and write the files that are wanted.

    Raises:
        SalError: a file cannot be written.
    """
    document = encode_document(bench)
    print_result(document, partial(print_encode_bench, bench), (), out, as_json=as_json)
    if plot is not None:
        panels: dict[str, dict[str, Spread]] = {}
        for row in bench.rows:
            panels.setdefault(f"{row.precision} on {bench.options.device}", {})[row.work] = row.images_per_second
        title = f"encoding with {bench.bundle.name} ({bench.bundle.fingerprint[:12]})"
        settings = f"{bench.options.images:,} images, {bench.options.rounds} rounds"
        write_file(plot, draw_throughput_plot(panels, title, plot_footer(document, settings)))


def print_encode_bench(bench: EncodeBench) -> None:
    """Print a table, with contenders below each other and a gap between precisions."""
    screen = console()
    screen.print(f"bundle {bench.bundle.name} ({bench.bundle.fingerprint[:12]}) on {bench.options.device}")
    agreement = ", ".join(f"{value:.0e} in {precision}" for precision, value in bench.max_abs.items())
    screen.print(f"pipeline and bare session agree to {agreement}")
    screen.print()
    screen.print(encode_table(bench))
    print_legend(screen, LEGEND, ())


def encode_table(bench: EncodeBench) -> Table:
    """The rows of all precisions."""
    numbers = ("images/s", "least", "greatest", "x session", "least", "greatest")
    made = table(f"{bench.options.images:,} images", "precision", *numbers, left=2)
    for number, (precision, rows) in enumerate(groupby(bench.rows, key=lambda row: row.precision)):
        if number > 0:
            made.add_row()
        for row in rows:
            speeds, ratios = row.images_per_second, row.to_session
            made.add_row(
                row.work,
                precision,
                *(number_text(speeds[key]) for key in ("median", "min", "max")),
                *(f"{ratios[key]:.2f}" for key in ("median", "min", "max")),
            )
    return made
