"""The result of `sal bench search`: a table for people, a JSON document, a plot."""

from __future__ import annotations

from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from sal_cli.bench.search import BASELINES, SearchBench, SearchRow, search_document
from sal_cli.show.bench_report import (
    libraries_text,
    number_text,
    plot_footer,
    print_legend,
    print_result,
    variation_text,
)
from sal_cli.show.plots import COLOURS, GREY, draw_medians_plot
from sal_cli.show.terminal import console, table, write_file

if TYPE_CHECKING:
    from rich.table import Table

LEGEND = """
median, p90: latency of all queries together in ms; spread: standard deviation
of the latencies over their mean; / read, / GEMM, / faiss: median divided by
that of the fastest way to read all vectors, to multiply them with the queries,
and by that of faiss"""


def report_search(bench: SearchBench, out: Path | None, plot: Path | None, *, as_json: bool) -> None:
    """Print the result, say on stderr what was left out, and write the files that are wanted.

    Raises:
        SalError: a file cannot be written.
    """
    document = search_document(bench)
    print_result(document, partial(print_search_bench, bench), bench.notes, out, as_json=as_json)
    if plot is not None:
        panels = {
            _queries(number): [(_label(row), row.timing.percentile_ms(50), _colour(row)) for row in rows]
            for number, rows in _by_queries(bench)
        }
        write_file(plot, draw_medians_plot(panels, _title(bench), plot_footer(document, f"seed {bench.options.seed}")))


def print_search_bench(bench: SearchBench) -> None:
    """Print a table for each number of queries, with contenders below each other."""
    screen = console()
    screen.print(_title(bench))
    screen.print(libraries_text(row.contender.library for row in bench.rows))
    screen.print("all exact contenders give the same answers")
    for number, rows in _by_queries(bench):
        screen.print()
        screen.print(search_table(_queries(number), rows))
    print_legend(screen, LEGEND, (row.timing for row in bench.rows))


def search_table(title: str, rows: list[SearchRow]) -> Table:
    """The rows of one number of queries; a narrow terminal cuts the names of contenders."""
    baselines = [name for name in BASELINES if name in rows[0].relative]
    made = table(title, "median", "p90", "spread", *(f"/ {name}" for name in baselines))
    made.columns[0].min_width = 24
    for row in rows:
        made.add_row(
            _label(row),
            number_text(row.timing.percentile_ms(50)),
            number_text(row.timing.percentile_ms(90)),
            variation_text(row.timing),
            *(f"{row.relative[name]:.2f}" for name in baselines),
        )
    return made


def _title(bench: SearchBench) -> str:
    options = bench.options
    return f"top {options.k} of {options.items:,} vectors, d = {options.dimension}"


def _queries(number: int) -> str:
    return f"{number} {'query' if number == 1 else 'queries'}"


def _by_queries(bench: SearchBench) -> list[tuple[int, list[SearchRow]]]:
    return [(number, list(rows)) for number, rows in groupby(bench.rows, key=lambda row: row.num_queries)]


def _label(row: SearchRow) -> str:
    """The name of the contender, with its recall if that is not exact."""
    name = row.contender.name
    return f"{name} ({row.recall:.1%})" if row.contender.kind == "approximate" else name


def _colour(row: SearchRow) -> str:
    if row.contender.kind == "bound":
        return GREY
    return COLOURS[0] if row.contender.is_own else COLOURS[1]
