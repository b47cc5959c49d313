"""The result of `sal bench search` for people and programs: a table of 80 columns, a JSON document, a plot."""

from __future__ import annotations

import sys
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from sal_cli.bench.plots import COLOURS, GREY, draw_medians_plot
from sal_cli.bench.record import command_line
from sal_cli.bench.search import BASELINES, SearchBench, SearchRow, search_document
from sal_cli.bench.statistics import STABLE_VARIATION, percentile
from sal_cli.show.bench_engine import UNSTABLE_MARK, hand_out, number_text, plot_footer
from sal_cli.show.terminal import write_file

if TYPE_CHECKING:
    from rich.table import Table

LEGEND = """
median, p90: latency of all queries together, ms; var.: standard deviation of
the latencies to their mean; / read, / GEMM, / faiss: median to that of the
fastest way to read all vectors, to multiply them with the queries, and to faiss"""


def report_search(bench: SearchBench, out: Path | None, plot: Path | None, *, as_json: bool) -> None:
    """Print the result, say on stderr what was left out, and write the files that are wanted.

    `bench_report.check_report` refuses files that could not be written, before anything is measured.

    Raises:
        SalError: a file cannot be written.
    """
    document = search_document(bench, command_line(sys.argv))
    hand_out(document, partial(print_search_bench, bench), bench.notes, out, as_json=as_json)
    if plot is not None:
        panels = {
            _queries(number): [(_label(row), percentile(row.timing.latencies_ms, 50), _colour(row)) for row in rows]
            for number, rows in _by_queries(bench)
        }
        write_file(plot, draw_medians_plot(panels, _title(bench), plot_footer(document, f"seed {bench.options.seed}")))


def print_search_bench(bench: SearchBench) -> None:
    """A table for each number of queries, contenders below each other."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 80)
    console.print(_title(bench))
    console.print(", ".join(dict.fromkeys(row.contender.engine for row in bench.rows)))
    console.print("all exact contenders give the same answers")
    for number, rows in _by_queries(bench):
        console.print()
        console.print(search_table(_queries(number), rows))
    console.print(LEGEND, style="dim")
    if not all(row.timing.is_stable for row in bench.rows):
        console.print(f"{UNSTABLE_MARK} above {STABLE_VARIATION:.0%}: unstable; measure again while nothing else runs")


def search_table(title: str, rows: list[SearchRow]) -> Table:
    """The rows of one number of queries."""
    from rich.table import Table

    baselines = [name for name in BASELINES if name in rows[0].relative]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(title, no_wrap=True, overflow="ellipsis", min_width=24)
    for header in ("median", "p90", "var.", *(f"/ {name}" for name in baselines)):
        table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        latencies = row.timing.latencies_ms
        mark = " " if row.timing.is_stable else UNSTABLE_MARK
        table.add_row(
            _label(row),
            number_text(percentile(latencies, 50)),
            number_text(percentile(latencies, 90)),
            f"{row.timing.variation:.0%}{mark}",
            *(f"{row.relative[name]:.2f}" for name in baselines),
        )
    return table


def _title(bench: SearchBench) -> str:
    options = bench.options
    return f"top {options.k} of {options.items:,} vectors, d = {options.dimension}"


def _queries(number: int) -> str:
    return f"{number} {'query' if number == 1 else 'queries'}"


def _by_queries(bench: SearchBench) -> list[tuple[int, list[SearchRow]]]:
    return [(number, list(rows)) for number, rows in groupby(bench.rows, key=lambda row: row.num_queries)]


def _label(row: SearchRow) -> str:
    """The name, with the recall of what is not exact."""
    name = row.contender.name
    return f"{name} ({row.recall:.1%})" if row.contender.kind == "approximate" else name


def _colour(row: SearchRow) -> str:
    if row.contender.kind == "bound":
        return GREY
    return COLOURS[0] if row.contender.is_own else COLOURS[1]
