"""Tables that compare the rows of a plan, seed by seed and query by query."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.training.paired_tests import compare
from docs.build.results import percent, read_result
from docs.build.tables import NOTHING, PLANS, markdown, over_seeds, published
from sal_runtime.errors import InputError

REFERENCE = "embed"
"""The row that all others are compared with."""


def verdict(results: Path, plan: str, dataset: str, plans: Path = PLANS) -> str:
    """One row for each run of a plan on a data set: mAP, and the paired difference to the row `embed`.

    Args:
        results: folder of the result files.
        plan: name of the plan.
        dataset: `market1501` or `peta`.
        plans: folder of the plans.

    Raises:
        InputError: there is no such plan.
    """
    path = plans / f"{plan}.toml"
    if not path.is_file():
        raise InputError(f"verdict({plan!r}): expected a plan of {plans}")
    heading = (
        "",
        "seeds",
        "held out: mAP",
        "to Embed",
        "test: mAP",
        "test: rank-1",
        "unseen test categories: mAP to Embed",
        "paper, PETA: mAP / rank-1",
    )
    runs = tomllib.loads(path.read_text(encoding="utf-8"))["runs"]
    records = {run["name"]: _records(results / "training" / plan, f"{dataset}-{run['name']}") for run in runs}
    rows = []
    for run in runs:
        own = records[run["name"]]
        rows.append(
            (
                run.get("title", run["name"]),
                str(len(own)) if own else NOTHING,
                over_seeds([record["held_out"]["mAP"] for record in own]),
                _difference(run["name"], records, "held_out"),
                over_seeds([record["test"]["mAP"] for record in own]),
                over_seeds([record["test"]["rank1"] for record in own]),
                _difference(run["name"], records, "test"),
                published(results, "peta", f"ladder/{run['name']}"),
            )
        )
    return markdown(heading, rows)


def paired(results: Path, file: str, other: str, measure: str) -> str:
    """Points of mAP by which a run exceeds another on queries that training has not seen, ± standard error."""
    found = compare([read_result(results / file)], [read_result(results / other)], measure, unseen=True).over_queries
    return f"{100 * found.mean:+.1f} ± {percent(found.standard_error)}"


def _records(folder: Path, run: str) -> list[Any]:
    return [read_result(file) for file in sorted(folder.glob(f"{run}-seed*.json"))]


def _difference(name: str, records: dict[str, list[Any]], measure: str) -> str:
    """Points of mAP ± the larger standard error, and p; bold beyond two standard errors."""
    own, reference = records[name], records[REFERENCE]
    if name == REFERENCE or not _common_seeds(own, reference):
        return NOTHING
    found = compare(own, reference, measure, unseen=measure == "test")
    mean, error = found.over_queries.mean, found.standard_error
    text = f"{100 * mean:+.1f} ± {percent(error)} (p {found.over_queries.p:.2g})"
    return f"**{text}**" if abs(mean) > 2 * error else text


def _common_seeds(records: Sequence[Any], others: Sequence[Any]) -> set[int]:
    return {record["seed"] for record in records} & {record["seed"] for record in others}
