"""The table and the plot of searches that learn from marks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docs.build.results import percent, read_result
from docs.build.tables import DATASETS, markdown
from sal_cli.show.plots import COLOURS, GREY, MARKERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FILE = "feedback.json"
KINDS = {"full": "full", "three": "three attributes"}
RULES = {
    "rocchio": "this rule",
    "mean": "the same to every logit, by the mean",
    "nearest": "the same to every logit, by the nearest mark",
}


def marked(results: Path) -> str:
    """One row for each data set, kind of description and number of rounds, as benchmarks/feedback.py measured them."""
    rows = []
    for dataset, measured in read_result(results / FILE)["datasets"].items():
        for kind, title in KINDS.items():
            for number, after in enumerate(measured[kind]["rounds"]):
                error = after["calibration_error"]
                rows.append(
                    (
                        DATASETS[dataset],
                        title,
                        str(number),
                        percent(after["mAP"]),
                        *(
                            _change(after[f"residual_{name}_before"], after[f"residual_{name}"])
                            for name in ("mAP", "rank1")
                        ),
                        _change(error["before"], error["after"]),
                    )
                )
    heading = ("", "description", "rounds", "mAP, all images", "mAP, unmarked", "rank-1, unmarked", "calibration error")
    return markdown(heading, rows)


def mark_rules(results: Path) -> str:
    """The chosen weights on held-out categories, and those with the largest gain of each rule."""
    held_out = read_result(results / FILE)["held_out"]
    best: dict[str, Mapping[str, Any]] = {"chosen": held_out["chosen"]}
    for row in held_out["rules"]:  # largest gain first
        name = RULES[row["rule"]]
        if row["rule"] == "rocchio":
            name += ", largest gain" if row["evidence"] else ", only the cosine learns"
        best.setdefault(name, row)
    rows = [
        (
            name,
            " / ".join(f"{row[weight]:.4g}" for weight in ("right", "wrong", "evidence")),
            *(f"{100 * gain:+.1f}" for kind in KINDS for gain in row[kind][1:]),
            f"{100 * row['error_grows']:+.1f}",
        )
        for name, row in best.items()
    ]
    gains = [f"{title}: {rounds}" for title in KINDS.values() for rounds in ("1 round", "2 rounds")]
    return markdown(("rule", "right / wrong / evidence", *gains, "calibration error"), rows)


def _change(before: float, after: float) -> str:
    return percent(after) if before == after else f"{percent(before)} → {percent(after)}"


def marks(results: Path) -> dict[str, Any]:
    """By data set and kind of description: mAP of the unmarked images with and without the marks, by rounds."""
    return {
        DATASETS[dataset]: {
            KINDS[kind]: {
                name: [after[name] for after in measured[kind]["rounds"]]
                for name in ("residual_mAP", "residual_mAP_before")
            }
            for kind in KINDS
        }
        for dataset, measured in read_result(results / FILE)["datasets"].items()
    }


def draw_marks(axes: Axes, panel: Any) -> None:
    """For each kind of description a line with the marks, and a dotted one of the description alone."""
    for colour, marker, (title, lines) in zip(COLOURS, MARKERS, panel.items(), strict=False):
        with_marks, without = ([100 * value for value in values] for values in lines.values())
        axes.plot(with_marks, color=colour, marker=marker, label=f"{title}, with the marks")
        axes.plot(without, color=colour, marker=marker, fillstyle="none", linestyle=":", label="without them")
    axes.set_xticks(range(len(with_marks)))
    axes.set_xlabel("rounds of five marks")
    axes.set_ylabel("mAP of images without a mark, percent")
    axes.set_ylim(0, 100)
    axes.legend(frameon=False, fontsize=9, labelcolor=GREY)
