"""Plots of the documents, drawn from result files; needs matplotlib.

Every evaluated bundle (`eval_*.json`) has a panel. Accuracy against latency also needs `bundle_speed*.json`, which
`python -m benchmarks.speed.bundle_speed` measures of the same bundles. The plot of marks is in marks.py, those of the
paper's Table 1 are in table1_plots.py.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from itertools import cycle, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docs.build.marks import draw_marks, marks
from docs.build.results import read_result
from docs.build.table1_plots import draw_table1_map, draw_table1_seen, table1_map, table1_seen
from docs.build.tables import DATASETS, RULES
from sal_cli.show.plots import COLOURS, GREY, MARKERS, STYLE, plain_ticks
from sal_runtime.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

IMAGES = Path(__file__).parents[2] / "docs" / "images"
PARTS = {"all_pairs": "all pairs", "top20": "first 20 hits"}
Panels = dict[str, Any]


def evaluated_bundles(results: Path) -> dict[str, Any]:
    """Reports of `sal eval --bundle` by bundle, precision and data set, in the order of the file names.

    Raises:
        InputError: two reports have the same title.
    """
    reports: dict[str, Any] = {}
    for file in sorted(results.glob("eval_*.json")):
        report = read_result(file)
        subject = report["record"]["subject"]
        if subject["kind"] == "bundle":
            dataset, split = report["record"]["data"]["name"].split()
            name = subject["name"].removesuffix(".bundle")
            title = f"{name}, {subject['precision']}, on {DATASETS.get(dataset, dataset)} ({split})"
            if title in reports:
                raise InputError(f"{file.name} and an earlier file both report {title}; keep one of them")
            reports[title] = report
    return reports


def partial_queries(results: Path) -> Panels:
    """The mAP and its standard error by panel, rule and number of given attributes."""
    panels = {}
    for title, report in evaluated_bundles(results).items():
        if "partial" in report:
            counts = report["partial"]["by_number_given"]
            panels[title] = {
                "given": [str(count["given"]) for count in counts],
                "random": [count["share_relevant"] for count in counts],
                "rules": {
                    rule: [
                        (row["mAP"], row["standard_error"]["mAP"]) for row in (count["rules"][rule] for count in counts)
                    ]
                    for rule in RULES
                    if rule in counts[0]["rules"]
                },
            }
    return panels


def draw_partial_queries(axes: Axes, panel: Any) -> None:
    """A line of mAP in percent for each rule, with bars of one standard error."""
    places = list(range(len(panel["given"])))
    for colour, marker, (rule, rows) in zip(cycle(COLOURS), cycle(MARKERS), panel["rules"].items()):
        values, errors = ([100 * row[index] for row in rows] for index in (0, 1))
        axes.errorbar(places, values, errors, color=colour, marker=marker, capsize=2, label=RULES[rule].split(" (")[0])
    axes.plot(places, [100 * share for share in panel["random"]], color=GREY, linestyle=":", label="random order")
    axes.set_xticks(places, panel["given"])
    axes.set_xlabel("attributes given")
    axes.set_ylabel("mAP, percent (± standard error)")
    axes.set_ylim(bottom=0)
    handles, labels = axes.get_legend_handles_labels()  # lines come before those with error bars
    axes.legend([*handles[1:], handles[0]], [*labels[1:], labels[0]], frameon=False, fontsize=9)


def reliability(results: Path) -> Panels:
    """The calibration of each panel, over all pairs and over the first hits."""
    return {
        title: {part: report["partial"]["calibration"][part] for part in PARTS}
        for title, report in evaluated_bundles(results).items()
        if "calibration" in report.get("partial", {})
    }


def draw_reliability(axes: Axes, panel: Any) -> None:
    """Share of matches against predicted likelihood; a calibrated likelihood follows the diagonal."""
    axes.plot([0, 100], [0, 100], color=GREY, linestyle=":")
    for colour, marker, (part, measured) in zip(cycle(COLOURS), cycle(MARKERS), panel.items()):
        error = 100 * measured["expected_calibration_error"]
        label = f"{PARTS[part]}: calibration error {error:.1f}"
        shares = [[100 * entry[key] for entry in measured["bins"]] for key in ("likelihood", "matching")]
        axes.plot(*shares, color=colour, marker=marker, markersize=5, label=label)
    axes.set_xlim(0, 100)
    axes.set_ylim(0, 100)
    axes.set_aspect("equal")
    axes.set_xlabel("likelihood of match said, percent")
    axes.set_ylabel("share that matched, percent")
    axes.legend(frameon=False, fontsize=9, loc="upper left")


def accuracy_latency(results: Path) -> Panels:
    """Time of one image, images a second, and mAP in the order of search of every timed bundle, by data set."""
    panels, speeds = Panels(), [read_result(file) for file in sorted(results.glob("bundle_speed*.json"))]
    for speed, report in product(speeds, evaluated_bundles(results).values()):
        subject = report["record"]["subject"]
        ranked = report.get("match", report)
        dataset = report["record"]["data"]["name"].split()[0]
        for row in speed["rows"]:
            if (row["fingerprint"], row["precision"]) == (subject["fingerprint"], subject["precision"]):
                for name, metrics in ranked.get("by_source", {dataset: ranked}).items():
                    title = f"{DATASETS.get(name, name)}, on {speed['machine']['cpu']}"
                    panels.setdefault(title, {})[f"{subject['name']}, {row['precision']}"] = {
                        "latency_ms": row["latency_ms"]["median"],
                        "throughput": row["images_per_second"]["median"],
                        "mAP": metrics["mAP"],
                        "error": metrics["standard_error"]["mAP"],
                    }
    return panels


def draw_accuracy_latency(axes: Axes, panel: Any) -> None:
    """One point for each image encoder: median time of one image against mAP."""
    for colour, marker, (name, point) in zip(cycle(COLOURS), cycle(MARKERS), panel.items()):
        x, y, error = point["latency_ms"], 100 * point["mAP"], 100 * point["error"]
        label = f"{name}: {point['throughput']:,.0f} images/s"
        axes.errorbar(x, y, error, color=colour, marker=marker, markersize=8, capsize=3, linestyle="", label=label)
    latencies = [point["latency_ms"] for point in panel.values()]
    axes.set_xscale("log")
    axes.set_xlim(min(latencies) / 2, 2 * max(latencies))
    plain_ticks(axes.xaxis)
    axes.set_ylim(0, 150 * max(point["mAP"] for point in panel.values()))
    axes.legend(frameon=False, fontsize=9, loc="upper left")
    axes.set_xlabel("time of one image on one core, ms")
    axes.set_ylabel("mAP, percent (± standard error)")


PLOTS: Mapping[str, tuple[Callable[[Path], Panels], Callable[[Axes, Any], None]]] = {
    "partial_queries": (partial_queries, draw_partial_queries),
    "reliability": (reliability, draw_reliability),
    "accuracy_latency": (accuracy_latency, draw_accuracy_latency),
    "marks": (marks, draw_marks),
    "table1_map": (table1_map, draw_table1_map),
    "table1_seen": (table1_seen, draw_table1_seen),
}


def stamp(panels: Panels) -> str:
    """A hash of the numbers in a plot, kept in its file: a check compares it with that of the result files."""
    return f"numbers {hashlib.sha256(json.dumps(panels).encode()).hexdigest()}"


def draw(panels: Panels, draw_panel: Callable[[Axes, Any], None]) -> bytes:
    """An SVG file with two panels in a row.

    Raises:
        InputError: there are no panels.
    """
    import matplotlib
    from matplotlib.figure import Figure

    if not panels:
        raise InputError("no result file has the numbers of this plot; docs/build/plots.py says which it needs")
    with matplotlib.rc_context(STYLE):
        columns = min(2, len(panels))
        rows = -(-len(panels) // columns)
        figure = Figure(figsize=(4.8 * columns, 4.2 * rows), layout="constrained")
        for place, (title, panel) in enumerate(panels.items(), start=1):
            axes = figure.add_subplot(rows, columns, place)
            draw_panel(axes, panel)
            axes.set_title(title, loc="left", fontsize=10)
            axes.grid(color="#E5E5E5", linewidth=0.8)
            axes.set_axisbelow(True)
        buffer = io.BytesIO()
        figure.patch.set_facecolor("white")
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Description": stamp(panels)})
    return buffer.getvalue()
