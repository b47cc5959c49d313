"""Tables and sentences of the page on the paper's Table 1. Published numbers are those of `published.json`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.training.campaign import load_plan
from benchmarks.training.choose_settings import RECIPES, Tried, rank_choices
from benchmarks.training.paired_tests import compare
from docs.build.results import decimals, percent, read_result
from docs.build.tables import DATASETS, METRICS, NOTHING, PLANS, computed_on, markdown, over_seeds, records
from sal_train.recipe import TABLE_1, load_config

FINAL_PLANS = {"table1-osnet": "OSNet", "table1-imagenet": "ImageNet"}
"""The plans of the test split, and how pictures call their trunks."""
END_TO_END = "table1-end-to-end"
"""The plan in which the last stage of OSNet is trained, too."""
TRUNKS = {**FINAL_PLANS, END_TO_END: "OSNet, trained"}
"""The plans of both regimes, and how pictures and tables call their trunks."""
CONTROL = "table1-eight-epochs"
"""The plan with the same epochs on the frozen trunk."""
CHOICES = PLANS / "table1-choices.toml"
MODELS = {
    "dcca": "DeepCCA",
    "deepmar": "DeepMAR",
    "dccae": "DeepCCAe",
    "2waynet": "2WayNet",
    "cmce-like": "CMCE",
    "revise-like": "ReViSE",
    "mmcc": "MMCC",
    "aaipr-like": "AAIPR",
    "aihm-like": "AIHM",
    "paper": "SAL (Ours)",
    "sal": "SAL (Ours)",
}
"""The paper's name of what each recipe trains."""
QUERIES = {"market1501": (484, 529), "peta": (200,)}
"""Queries of our test split, then other numbers that published rows may have been measured with."""
RANKS = ("rank1", "rank5", "rank10")
ROUNDING = 0.05 + 1e-9
"""Largest error of a percentage that is printed with one decimal."""

Row = Mapping[str, Any]


def fits(row: Row, count: int) -> bool:
    """Whether the three rank values of a published row can be shares of `count` queries, printed with one decimal."""
    return all(_is_share(row[rank], count) for rank in RANKS)


def _is_share(value: float, count: int) -> bool:
    return abs(100 * round(value * count / 100) / count - value) <= ROUNDING


def chance(count: int) -> float:
    """Probability that three percentages with one decimal, drawn at random, fit `count` queries."""
    printed = [tenth / 10 for tenth in range(1001)]
    return (sum(_is_share(value, count) for value in printed) / len(printed)) ** len(RANKS)


def common_counts(results: Path, dataset: str, first: int, last: int) -> str:
    """A sentence: the numbers of queries in `first`..`last` that fit all rows which do not fit our number."""
    ours = QUERIES[dataset][0]
    rows = [row for (name, _), row in published_rows(results).items() if name == dataset and not fits(row, ours)]
    found = [str(count) for count in range(first, last + 1) if all(fits(row, count) for row in rows)]
    answer = f"{', '.join(found)} would fit all of them" if found else "no number fits all of them"
    return f"{len(rows)} rows do not fit {ours} queries, and from {first} to {last}, {answer}."


def grid(results: Path) -> str:
    """The published rows, and which numbers of queries each fits."""
    published = published_rows(results)
    heading, by_chance = [""], ["three random values"]
    rows = [[model] for model in dict.fromkeys(MODELS.values())]
    for dataset, counts in QUERIES.items():
        heading += [f"{DATASETS[dataset]}: mAP / rank-1 / rank-5 / rank-10", *(f"fits {count}" for count in counts)]
        by_chance += [NOTHING, *(f"in {percent(chance(count))} %" for count in counts)]
        for cells in rows:
            row = published.get((dataset, cells[0]))
            cells += [NOTHING] if row is None else [" / ".join(decimals(row[name], 1) for name in METRICS)]
            cells += [_fits(row, count) for count in counts]
    return markdown(heading, [*rows, by_chance])


def _fits(row: Row | None, count: int) -> str:
    if row is None:
        return NOTHING
    return "yes" if fits(row, count) else "no"


def published_rows(results: Path) -> dict[tuple[str, str], Row]:
    """The rows of Table 1 by data set and the paper's name of the system."""
    rows = read_result(results / "published.json")["rows"]
    return {(row["dataset"], row["model"]): row for row in rows if row["table"] == 1}


def measured(results: Path, plan: str, dataset: str) -> dict[str, list[Any]]:
    """The result files of each recipe, one for each seed; none if there is none yet."""
    return {name: records(results / "training" / plan, f"{dataset}-{name}", "test") for name in RECIPES}


def is_measured(results: Path, recipe: str | None = None, part: str = "test") -> bool:
    """Whether anything was measured on a test split.

    Args:
        results: folder of the result files.
        recipe: by this one; by any if None.
        part: `test`, or `seen` for a split that has categories of training.
    """
    return any(
        part == "test" or part in record["test"]
        for plan in FINAL_PLANS
        for dataset in QUERIES
        for name, found in measured(results, plan, dataset).items()
        for record in found
        if recipe in (None, name)
    )


def beside_the_paper(results: Path, plan: str, dataset: str) -> str:
    """The paper's row beside ours for every system, and where it was computed.

    Args:
        results: folder of the result files.
        plan: a key of `FINAL_PLANS`.
        dataset: a key of `QUERIES`.
    """
    published, ours = published_rows(results), measured(results, plan, dataset)
    rows = []
    for name, found in ours.items():
        row, of_test = published.get((dataset, MODELS[name])), [record["test"] for record in found]
        cells = [f"`{name}`", NOTHING if row is None else f"{decimals(row['mAP'], 1)} / {decimals(row['rank1'], 1)}"]
        cells += [_fits(row, QUERIES[dataset][0]), _regime(found), str(found[0]["epochs"]) if found else NOTHING]
        cells += [over_seeds([test[metric] for test in of_test]) for metric in METRICS]
        for part in ("seen", "unseen"):
            cells.append(over_seeds([test[part]["mAP"] for test in of_test if test.get(part)]))
        rows.append([*cells, _seconds(found), _cost(found)])
    heading = ("", "paper: mAP / rank-1", f"fits {QUERIES[dataset][0]}", "regime", "epochs")
    metrics = ("mAP", "rank-1", "rank-5", "rank-10", "seen: mAP", "unseen: mAP")
    table = markdown((*heading, *metrics, "training, s", "a search compares"), rows)
    missing = [f"`{name}`" for name, found in ours.items() if not found]
    if len(missing) == len(ours):
        return f"{table}\n\nNone of our rows is measured yet."
    sentences = ["Mean ± standard deviation (number of seeds), percent."]
    sentences += [f"Not measured yet: {', '.join(missing)}."] if missing else []
    sentences += _with_other_settings(ours, plan, dataset)
    sentences += [computed_on(record for found in ours.values() for record in found)]
    return f"{table}\n\n{' '.join(sentences)}"


def _with_other_settings(ours: Mapping[str, Sequence[Row]], plan: str, dataset: str) -> list[str]:
    """A sentence on the systems whose results are older than the settings of the plan."""
    planned = {(run.dataset, run.name): list(run.settings) for run in load_plan(PLANS / f"{plan}.toml")}
    names = [
        f"`{name}`"
        for name, found in ours.items()
        if any(record["settings"] != planned[dataset, name] for record in found)
    ]
    return [f"Measured with other settings than the plan has now: {', '.join(names)}."] if names else []


def mean_map(results: Path, plan: str, dataset: str, run: str) -> str:
    """The mean mAP over the seeds of a run, percent; a dash if it is not measured."""
    found = records(results / "training" / plan, f"{dataset}-{run}", "test")
    return percent(statistics.mean(record["test"]["mAP"] for record in found)) if found else NOTHING


def ahead(results: Path, plan: str, dataset: str, run: str, other: str, other_plan: str | None = None) -> str:
    """Points of mAP by which a run exceeds another over the same seeds and queries, ± their standard error.

    Args:
        results: folder of the result files.
        plan: of the run.
        dataset: a key of `QUERIES`.
        run: name of a run.
        other: name of another one.
        other_plan: its plan; None if it is the same.
    """
    one = records(results / "training" / plan, f"{dataset}-{run}", "test")
    two = records(results / "training" / (other_plan or plan), f"{dataset}-{other}", "test")
    if not {record["seed"] for record in one} & {record["seed"] for record in two}:
        return NOTHING
    found = compare(one, two, "test")
    return f"{percent(found.over_seeds.mean)} ± {percent(found.standard_error)}"


def end_to_end(results: Path, dataset: str) -> str:
    """The frozen trunk, the same with the epochs that E has, and a trunk whose last stage is trained.

    Args:
        results: folder of the result files.
        dataset: a key of `QUERIES`.
    """
    plans = {"F": "table1-osnet", "F, these epochs": CONTROL, "E": END_TO_END}
    planned = load_plan(PLANS / f"{END_TO_END}.toml")
    runs = [run for run in planned if run.dataset == dataset and run.seed == 1 and run.measure]
    measurements = {
        regime: {run.name: records(results / "training" / plan, f"{dataset}-{run.name}", "test") for run in runs}
        for regime, plan in plans.items()
    }
    if not any(measurements["E"].values()):
        return "Not measured yet."
    rows = []
    for run in runs:
        learning = sum(stage.epochs for stage in run.config(results).stages if not stage.frozen_trunk)
        cells = [f"`{run.name}`", str(learning)]
        for found in measurements.values():
            cells += [over_seeds([record["test"][metric] for record in found[run.name]]) for metric in ("mAP", "rank1")]
        rows.append([*cells, _seconds(measurements["E"][run.name])])
    columns = [f"{regime}: {metric}" for regime in plans for metric in ("mAP", "rank-1")]
    older = [
        f"{regime}: {sentence}"
        for regime, plan in plans.items()
        for sentence in _with_other_settings(measurements[regime], plan, dataset)
    ]
    return "\n\n".join([markdown(("", "epochs of E", *columns, "E: training, s"), rows), *older])


def _regime(found: Sequence[Row]) -> str:
    """F if no stage that was trained moved the trunk, E otherwise."""
    if not found:
        return NOTHING
    config = load_config(found[0]["recipe"], found[0]["settings"])
    return "F" if all(stage.frozen_trunk for stage in config.stages if stage.epochs) else "E"


def _seconds(found: Sequence[Row]) -> str:
    return decimals(statistics.mean(record["train_seconds"] for record in found), 0) if found else NOTHING


def _cost(found: Sequence[Row]) -> str:
    """What is computed for each image of the gallery."""
    if not found:
        return NOTHING
    numbers = f"{found[0]['embedding_dim']:,} numbers"
    return f"{numbers} by a network" if found[0]["is_pairwise"] else f"{numbers} by a cosine"


def comparable(results: Path) -> str:
    """Our rows beside those published rows that fit our queries, in mAP and rank-1, with standard errors."""
    rows = []
    for (dataset, model), row in published_rows(results).items():
        if not fits(row, QUERIES[dataset][0]):
            continue
        for plan, trunk in TRUNKS.items():
            for name, found in measured(results, plan, dataset).items():
                if MODELS[name] == model and (found or plan in FINAL_PLANS):  # some systems have no regime E
                    cells = [DATASETS[dataset], f"`{name}`", trunk]
                    for metric in ("mAP", "rank1"):
                        cells += _against_published(found, metric, row[metric])
                    rows.append(cells)
    columns = ("ours", "paper", "within two standard errors")
    heading = ("", "", "trunk", *(f"{metric}: {column}" for metric in ("mAP", "rank-1") for column in columns))
    return markdown(heading, rows)


def _against_published(found: Sequence[Row], metric: str, value: float) -> list[str]:
    if not found:
        return [NOTHING, decimals(value, 1), NOTHING]
    values = [record["test"][metric] for record in found]
    mean, error = statistics.mean(values), _standard_error(found, metric)
    is_near = abs(mean - value / 100) <= 2 * error
    return [f"{percent(mean)} ± {percent(error)}", decimals(value, 1), "yes" if is_near else "no"]


def _standard_error(found: Sequence[Row], metric: str) -> float:
    """The larger of the error of the choice of queries and that of training."""
    over_queries = statistics.mean(record["test"]["standard_error"][metric] for record in found)
    values = [record["test"][metric] for record in found]
    of_seeds = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(max(over_queries, of_seeds))


def against_sal(results: Path, plan: str, dataset: str) -> str:
    """A line for each recipe of SAL: which of the nine systems have a higher mAP, by how much."""
    ours = measured(results, plan, dataset)
    return "\n".join(f"* {DATASETS[dataset]}, {_above(ours, name)}" for name in RECIPES if name not in TABLE_1)


def _above(ours: Mapping[str, Sequence[Row]], name: str) -> str:
    seeds = {record["seed"] for record in ours[name]}
    if not seeds:
        return f"`{name}`: not measured yet."
    compared, above = 0, []
    for other in TABLE_1:
        if not seeds & {record["seed"] for record in ours[other]}:
            continue
        found = compare(ours[other], ours[name], "test")
        compared += 1
        if found.over_seeds.mean > 0:
            text = f"`{other}` by {percent(found.over_seeds.mean)} ± {percent(found.standard_error)}"
            above.append(f"**{text}**" if found.over_seeds.mean > 2 * found.standard_error else text)
    beaten = f"exceeded in mAP by {', '.join(above)}" if above else "no system exceeds its mAP"
    return f"`{name}`: {beaten} ({compared} of {len(TABLE_1)} systems compared)."


def tried(results: Path) -> str:
    """Every setting that was tried, with its held-out mAP; bold is what was chosen, once all are measured."""
    planned = load_plan(CHOICES)
    ranked, missing = rank_choices(planned, results / "training")
    by_run = {one.run.file_name: one for found in ranked.values() for one in found}
    complete = ranked.keys() - {run.recipe for run in missing}
    best = {ranked[key][0].run.file_name for key in complete}
    rows = [
        [
            f"`{run.recipe}`",
            run.title.partition(": ")[2],
            _held_out(by_run.get(run.file_name), run.file_name in best),
        ]
        for run in planned
    ]
    table = markdown(("recipe", "setting", "held-out mAP"), rows)
    return f"{table}\n\n{len(missing)} of {len(planned)} trainings are not measured yet." if missing else table


def _held_out(one: Tried | None, is_best: bool) -> str:
    if one is None:
        return NOTHING
    text = f"{percent(one.m_ap)} ± {percent(one.standard_error)}"
    return f"**{text}**" if is_best else text
