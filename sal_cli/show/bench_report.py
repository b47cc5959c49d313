"""What all benchmarks show in the same way: JSON, files, notes, unstable rows, and the origin of a plot."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sal_cli.bench.statistics import STABLE_VARIATION
from sal_cli.show.plots import check_plot
from sal_cli.show.terminal import check_places, console, print_json, write_file

if TYPE_CHECKING:
    from rich.console import Console

    from sal_cli.bench.timing import Timing

UNSTABLE_MARK = "!"


def check_report(out: Path | None, plot: Path | None) -> None:
    """Refuse results that could not be written, before anything is measured.

    Raises:
        ConfigError: the plot cannot be drawn.
        InputError: a file cannot be written where it should be.
    """
    check_places(out, plot)
    if plot is not None:
        check_plot(plot)


def print_result(
    document: dict[str, Any], show: Callable[[], None], notes: Sequence[str], out: Path | None, *, as_json: bool
) -> None:
    """Print a result, say on stderr what was left out, and write the JSON if that is wanted.

    Args:
        document: the result as JSON.
        show: prints the result for people.
        notes: a line for each contender that was left out.
        out: the JSON file to write, if any.
        as_json: print the document instead of calling `show`.

    Raises:
        SalError: the file cannot be written.
    """
    if as_json:
        print_json(document)
    else:
        show()
    for note in notes:
        console(stderr=True).print(f"sal: {note}")
    if out is not None:
        write_file(out, (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())


def print_legend(console: Console, legend: str, timings: Iterable[Timing]) -> None:
    """Print what the columns of a table mean, and what the mark means if a timing is unstable."""
    console.print(legend, style="dim")
    if not all(timing.is_stable for timing in timings):
        console.print(f"{UNSTABLE_MARK} above {STABLE_VARIATION:.0%}: unstable; measure again while nothing else runs")


def libraries_text(libraries: Iterable[str]) -> str:
    """The libraries of all contenders, each named once; a contender may use several, with commas between them."""
    return ", ".join(dict.fromkeys(name for listed in libraries for name in listed.split(", ")))


def variation_text(timing: Timing) -> str:
    """The variation of a timing in percent, marked if it is unstable."""
    return f"{timing.variation:.0%}{' ' if timing.is_stable else UNSTABLE_MARK}"


def plot_footer(document: dict[str, Any], settings: str) -> str:
    """The origin of a plot's numbers: processor, GPU, settings, commit and day."""
    machine = document["machine"]
    origin = (machine["cpu"], machine["gpu"], settings, document["commit"], document["created"][:10])
    return " · ".join(str(part) for part in origin if part)


def number_text(value: float) -> str:
    """A number with three significant digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.{1 if value >= 10 else 2 if value >= 1 else 3}f}"
