"""Pictures of the page on the paper's Table 1, of what is measured: mAP beside the paper's, seen against unseen."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docs.build.table1 import MODELS, QUERIES, TRUNKS, fits, measured, published_rows
from docs.build.tables import DATASETS
from sal_cli.show.plots import COLOURS, GREY, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PARTS = {"seen": "seen in training", "unseen": "unseen"}


def table1_map(results: Path) -> dict[str, Any]:
    """By panel and measured system: the mAP of every seed, the paper's, and whether its row fits our queries."""
    panels: dict[str, Any] = {}
    published = published_rows(results)
    for dataset, counts in QUERIES.items():
        for plan, trunk in TRUNKS.items():
            for name, found in measured(results, plan, dataset).items():
                if found:
                    row = published.get((dataset, MODELS[name]))
                    panels.setdefault(f"{DATASETS[dataset]}, {trunk}", {})[name] = {
                        "mAP": [record["test"]["mAP"] for record in found],
                        "paper": row["mAP"] if row else None,
                        "fits": row is not None and fits(row, counts[0]),
                    }
    return panels


def draw_table1_map(axes: Axes, panel: Any) -> None:
    """A point for each system with its deviation over seeds, and the paper's in grey, hollow if not comparable."""
    places = _names_from_the_top(axes, panel)
    _points(axes, places, [system["mAP"] for system in panel.values()], 0, "ours")
    for is_full, label in ((True, "paper, fits our queries"), (False, "paper, does not fit them")):
        shown = [
            (system["paper"], place)
            for place, system in zip(places, panel.values(), strict=True)
            if system["paper"] is not None and system["fits"] == is_full
        ]
        if shown:
            style = "full" if is_full else "none"
            axes.plot(*zip(*shown, strict=True), "D", color=GREY, fillstyle=style, label=label)
    _finish(axes)


def table1_seen(results: Path) -> dict[str, Any]:
    """The mAP of every seed on seen and on unseen categories, by panel and measured system."""
    panels: dict[str, Any] = {}
    for dataset in QUERIES:
        for plan, trunk in TRUNKS.items():
            for name, found in measured(results, plan, dataset).items():
                tests = [record["test"] for record in found if record["test"].get("seen")]
                if tests:
                    panels.setdefault(f"{DATASETS[dataset]}, {trunk}", {})[name] = {
                        part: [test[part]["mAP"] for test in tests] for part in PARTS
                    }
    return panels


def draw_table1_seen(axes: Axes, panel: Any) -> None:
    """Two points for each system, joined by a line: mAP on seen and on unseen categories."""
    places = _names_from_the_top(axes, panel)
    for place, system in zip(places, panel.values(), strict=True):
        ends = [100 * statistics.mean(system[part]) for part in PARTS]
        axes.plot(ends, [place, place], color="#CCCCCC", zorder=1)
    for number, (part, label) in enumerate(PARTS.items()):
        _points(axes, places, [system[part] for system in panel.values()], number, label)
    _finish(axes)


def _names_from_the_top(axes: Axes, panel: Any) -> list[int]:
    """Give every system a line with its name; the first is at the top."""
    places = list(range(len(panel)))
    axes.set_yticks(places, list(panel))
    axes.set_ylim(len(panel) - 0.5, -0.5)
    return places


def _points(axes: Axes, places: list[int], values: list[list[float]], number: int, label: str) -> None:
    means = [100 * statistics.mean(seeds) for seeds in values]
    errors = [100 * statistics.stdev(seeds) if len(seeds) > 1 else 0.0 for seeds in values]
    colour, marker = COLOURS[number], MARKERS[number]
    axes.errorbar(means, places, xerr=errors, color=colour, marker=marker, label=label, linestyle="", capsize=2)


def _finish(axes: Axes) -> None:
    """What is the same in all panels; the limit comes after the points, because it ends the choice of the other one."""
    axes.set_xlim(left=0)
    axes.set_xlabel("mAP, percent (± standard deviation over seeds)")
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, handletextpad=0.2)
