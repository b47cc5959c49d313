"""Latencies and throughputs as one SVG file. matplotlib is imported only when something is drawn."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sal_cli.bench.engine import HARDWARE, Row
from sal_runtime.errors import ConfigError, install

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# Okabe and Ito's colours, which people with any colour vision can tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
GREY = "#666666"
Spread = Mapping[str, float]
"""`median`, `min` and `max` of repeated measurements."""
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "svg.hashsalt": "sal",  # ids inside the file are random without it: the same numbers give the same file
}


def check_plot(path: Path) -> None:
    """Refuse a plot that cannot be drawn.

    Raises:
        ConfigError: the name does not end in .svg, or matplotlib is not installed.
    """
    if path.suffix != ".svg":
        raise ConfigError(f"--plot {path}: plots are SVG; expected a name that ends in .svg")
    if find_spec("matplotlib") is None:
        raise ConfigError(f"--plot {path}: matplotlib is not installed; {install('plot')}")


def draw_latency_plot(rows: Sequence[Row], title: str, footer: str) -> bytes:
    """Median latency of a batch (logarithmic) against throughput, a line for each encoder on each device.

    Devices that compute on the same hardware share a panel; a GPU beside a CPU would flatten it.

    Args:
        rows: any number of encoders, each at several batch sizes.
        title: text above the panels.
        footer: small text below the panels.

    Returns:
        An SVG file.
    """
    panels: dict[str, dict[tuple[str, str], list[Row]]] = {}
    for row in rows:
        hardware = HARDWARE.get(row.contender.device, row.contender.device)
        line = (row.contender.artefact, row.contender.device)
        panels.setdefault(hardware, {}).setdefault(line, []).append(row)

    def draw(axes: Axes, hardware: str) -> None:
        _draw_panel(axes, list(panels[hardware].values()))

    return _draw_figure(list(panels), 3.6, draw, title, footer)


def draw_throughput_plot(panels: Mapping[str, Mapping[str, Spread]], title: str, footer: str) -> bytes:
    """Images per second as bars: the median, with a line from the least to the greatest.

    Args:
        panels: images per second of each bar, by name of the panel and name of the bar.
        title: text above the panels.
        footer: small text below the panels.

    Returns:
        An SVG file.
    """

    def draw(axes: Axes, name: str) -> None:
        bars = panels[name]
        medians = [speeds["median"] for speeds in bars.values()]
        spans = [
            [speeds["median"] - speeds["min"] for speeds in bars.values()],
            [speeds["max"] - speeds["median"] for speeds in bars.values()],
        ]
        colours = [colour for colour, _ in zip(cycle(COLOURS), bars)]
        axes.barh(list(bars), medians, xerr=spans, color=colours, ecolor=GREY, height=0.65)
        for position, median in enumerate(medians):
            axes.annotate(f"{median:,.0f}", (0, position), (6, 0), textcoords="offset points", va="center", color="w")
        axes.invert_yaxis()
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel("images per second (median, least and greatest)")

    return _draw_figure(list(panels), 2.4, draw, title, footer)


def _draw_figure(
    panels: Sequence[str], panel_height: float, draw: Callable[[Axes, str], None], title: str, footer: str
) -> bytes:
    """An SVG file with panels below each other; the same numbers give the same file."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 0.8 + panel_height * len(panels)), layout="constrained")
        for name, axes in zip(panels, figure.subplots(len(panels), squeeze=False)[:, 0], strict=True):
            draw(axes, name)
        figure.suptitle(title, x=0.01, horizontalalignment="left", weight="bold")
        figure.supxlabel(footer, fontsize=8, color=GREY, x=0.01, horizontalalignment="left")
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def draw_medians_plot(panels: Mapping[str, Sequence[tuple[str, float, str]]], title: str, footer: str) -> bytes:
    """Median latencies as points on a logarithmic axis, the first at the top.

    Args:
        panels: label, latency in ms and colour of each point, by name of the panel.
        title: text above the panels.
        footer: small text below the panels.

    Returns:
        An SVG file.
    """

    def draw(axes: Axes, name: str) -> None:
        for place, (_, latency, colour) in enumerate(panels[name]):
            axes.plot(latency, place, marker="o", color=colour)
            text = f"{latency:,.0f}" if latency >= 1000 else f"{latency:.3g}"
            axes.annotate(text, (latency, place), (7, -3), textcoords="offset points", fontsize=8)
        axes.set_yticks(range(len(panels[name])), [label for label, _, _ in panels[name]])
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.margins(x=0.1, y=0.06)
        plain_ticks(axes.xaxis)
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel("median latency, ms")
        axes.grid(color="#E5E5E5", linewidth=0.8)
        axes.set_axisbelow(True)

    return _draw_figure(list(panels), 0.8 + 0.28 * max(map(len, panels.values())), draw, title, footer)


def _draw_panel(axes: Axes, lines: Sequence[Sequence[Row]]) -> None:
    for colour, marker, rows in zip(cycle(COLOURS), cycle(MARKERS), lines):
        contender = rows[0].contender
        latencies = [row.timing.percentile_ms(50) for row in rows]
        throughputs = [row.throughput for row in rows]
        label = f"{contender.artefact.removesuffix('.onnx')}\n{contender.library}, {contender.device}"
        axes.plot(latencies, throughputs, color=colour, marker=marker, linewidth=1.8, label=label)
        for row, x, y in zip(rows, latencies, throughputs, strict=True):
            # to the upper left, where a line that rises to the right never passes
            axes.annotate(
                f"{row.batch_size}", (x, y), (-4, 4), textcoords="offset points", ha="right", fontsize=8, color=colour
            )
    axes.set_xscale("log")
    axes.margins(x=0.08, y=0.08)
    axes.set_ylim(bottom=0)
    plain_ticks(axes.xaxis)
    axes.set_xlabel("median latency of a batch, ms (numbers: images in a batch)")
    axes.set_ylabel("images per second")
    axes.grid(color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.02), frameon=False, fontsize=9, labelspacing=0.8)


def plain_ticks(axis: Axis) -> None:
    """1, 2, 5, 10, 20, ... written out, instead of powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
