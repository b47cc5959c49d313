"""Choose the settings of each recipe of a plan by held-out mAP, and write the plans of Table 1 with what was chosen.

    python -m benchmarks.training.choose_settings --plan benchmarks/training/plans/table1-choices.toml
    python -m benchmarks.training.choose_settings --plan benchmarks/training/plans/table1-choices.toml --write FOLDER

The written plans train what was chosen on all training categories of both data sets with three seeds, and measure the
test split: `table1-osnet.toml` on the trunk of the choices, `table1-imagenet.toml` on EfficientNet-Lite0 as ImageNet
left it, whose map is averaged as a whole, as in the paper.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from benchmarks.speed.measurement import RESULTS
from benchmarks.training.campaign import PlannedRun, load_plan
from sal_runtime.errors import InputError
from sal_train.recipe import TABLE_1

RECIPES = (*TABLE_1, "paper", "sal")
SEEDS = (1, 2, 3)
DATASETS = ("peta", "market1501")
IMAGENET = (
    "model.backbone=efficientnet_lite0",
    "model.last_stride=1",
    "model.height=256",
    "model.width=128",
    "model.stripes=0",
)
"""The trunk and images of the plans `ladder-*-imagenet`, without stripes."""
TRUNK_KEYS = {"model.weights", *(setting.partition("=")[0] for setting in IMAGENET)}


@dataclass(frozen=True)
class Tried:
    """A run of a plan of choices with its result.

    Attributes:
        m_ap: on held-out categories, in 0..1.
        standard_error: of it, over the queries.
        num_queries: how many queries.
    """

    run: PlannedRun
    m_ap: float
    standard_error: float
    num_queries: int


def rank_choices(planned: Sequence[PlannedRun], results: Path) -> tuple[dict[str, list[Tried]], list[PlannedRun]]:
    """What was tried, best first, and what has no result yet.

    Args:
        planned: runs of a plan of choices, of one data set.
        results: folder of the result files of all plans.

    Returns:
        The runs of each recipe that have a result, those of equal mAP in the order of the plan; the rest.

    Raises:
        InputError: a result has no held-out categories.
    """
    ranked: dict[str, list[Tried]] = {}
    missing = []
    for run in planned:
        file = results / run.plan / f"{run.file_name}.json"
        if not file.is_file():
            missing.append(run)
            continue
        measured = json.loads(file.read_text(encoding="utf-8"))["held_out"]
        if measured is None:
            raise InputError(f"{file.name} has no held-out categories, by which settings are chosen")
        tried = Tried(run, measured["mAP"], measured["standard_error"]["mAP"], measured["num_queries"])
        ranked.setdefault(run.recipe, []).append(tried)
    return {key: sorted(tried, key=lambda one: -one.m_ap) for key, tried in ranked.items()}, missing


def final_plan(chosen: Sequence[PlannedRun], trunk: Sequence[str], note: str) -> str:
    """The text of a plan that measures chosen runs on the test split, with `SEEDS` and all training categories.

    Args:
        chosen: at most one for each recipe.
        trunk: settings of trunk and images, which replace those of the chosen runs; none keeps theirs.
        note: comment at the top, a line or more.

    Raises:
        InputError: a chosen run starts from another one.
    """
    dropped = {"data.validation_fraction", "data.validation_seed", *(TRUNK_KEYS if trunk else ())}
    settings = []
    for run in chosen:
        if run.start_from is not None:
            raise InputError(f"{run.file_name} starts from {run.start_from}, which a plan of three seeds does not have")
        kept = [setting for setting in run.settings if setting.partition("=")[0] not in dropped]
        settings.append([*trunk, "data.validation_fraction=0", *kept])
    shared = [same[0] for same in takewhile(lambda same: len(set(same)) == 1, zip(*settings, strict=False))]
    lines = [*(f"# {line}" for line in note.splitlines()), "", f"seeds = {list(SEEDS)}"]
    lines += [
        f"datasets = {json.dumps(DATASETS)}",
        'measure = ["test"]',
        'recipe = "sal"',
        f"settings = {_list(shared)}",
    ]
    for run, own in zip(chosen, settings, strict=True):
        lines += [
            "",
            "[[runs]]",
            f'name = "{run.recipe}"',
            f"title = {json.dumps(run.title)}",
            f'recipe = "{run.recipe}"',
            f"settings = {_list(own[len(shared) :])}",
        ]
    return "\n".join(lines) + "\n"


def _list(settings: Sequence[str]) -> str:
    """A TOML list of strings, one a line."""
    return "".join(("[", *(f"\n  {json.dumps(setting)}," for setting in settings), "\n]" if settings else "]"))


def write_plans(chosen: Sequence[PlannedRun], folder: Path) -> list[Path]:
    """Write the plans of both trunks into a folder."""
    by = "The settings with the highest held-out mAP: benchmarks/training/choose_settings.py."
    places = folder / "table1-osnet.toml", folder / "table1-imagenet.toml"
    places[0].write_text(final_plan(chosen, (), f"Table 1 on the trunk of table1-choices.toml.\n{by}"), "utf-8")
    note = f"Table 1 on EfficientNet-Lite0 as ImageNet left it, with the settings of table1-osnet.toml.\n{by}"
    places[1].write_text(final_plan(chosen, IMAGENET, note), "utf-8")
    return list(places)


def main() -> int:
    """Print what was tried, and write the plans; 3 if something has no result and is not left out on purpose."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.training.choose_settings", description="Choose settings by held-out mAP."
    )
    parser.add_argument("--plan", type=Path, required=True, help="plan of choices")
    parser.add_argument("--results", type=Path, default=RESULTS / "training", help="folder of the result files")
    parser.add_argument("--write", type=Path, metavar="FOLDER", help="write the plans of Table 1 there")
    parser.add_argument("--partial", action="store_true", help="choose among the runs that have a result")
    options = parser.parse_args()
    ranked, missing = rank_choices(load_plan(options.plan), options.results)
    for recipe, tried in ranked.items():
        print(f"\n{recipe}: held-out mAP ± standard error over {tried[0].num_queries} queries, percent")
        for one in tried:
            mark = "*" if one is tried[0] else " "
            print(f"{mark} {100 * one.m_ap:5.1f} ± {100 * one.standard_error:.1f}  {one.run.name:24} {one.run.title}")
    for run in missing:
        print(f"no result: {run.file_name}", file=sys.stderr)
    if missing and not options.partial:
        print(f"{len(missing)} runs have no result; --partial chooses among the others", file=sys.stderr)
        return 3
    if options.write is not None:
        for recipe in RECIPES:
            if recipe not in ranked:
                print(f"not in the plans: {recipe}", file=sys.stderr)
        for path in write_plans([ranked[recipe][0].run for recipe in RECIPES if recipe in ranked], options.write):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
