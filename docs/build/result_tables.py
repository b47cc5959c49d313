"""Markdown tables of the documents, made from result files; `docs/build/documented_numbers.py` puts them there.

* `full_queries FILE[#RANKING] ...`: metrics of reports of `sal eval`, the paper's numbers below them
* `rankings TITLE = FILE[#RANKING]; ...`: the same under titles of one's own, metrics alone
* `partial_queries FILE`: mAP by the number of attributes that a query gives
* `calibration FILE ...`: expected calibration errors of the likelihood of match
* `operating_points FILE`: what is shown and missed at thresholds of the likelihood
* `training PLAN held_out|test`: the runs of `benchmarks/training/plans/PLAN.toml`, mean and deviation over seeds
"""

from __future__ import annotations

import json
import statistics
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sal_runtime.errors import InputError

PLANS = Path(__file__).parents[2] / "benchmarks" / "training" / "plans"
METRICS = ("mAP", "rank1", "rank5", "rank10")
RANKINGS = {"cosine": "cosine", "centred": "centred cosine", "attribute_likelihood": "attribute head"}
RULES = {
    "marginalised": "marginalised (what `sal search` does)",
    "zeros": "zeros for the rest",
    "attribute_likelihood": "attribute likelihood",
}
DATASETS = {"market1501": "Market-1501", "market1501+peta": "Market-1501, with people of PETA", "peta": "PETA"}
NOTHING = "-"


@cache
def read_result(file: Path) -> Any:
    """The content of a result file.

    Raises:
        InputError: there is none, or it is not JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"there is no result file {file.name!r} in {file.parent.name}/") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{file.name} is not JSON: {error}") from None


def make_table(source: str, results: Path) -> str:
    """A table by its name and arguments, without a line break at the end.

    Raises:
        InputError: the name is not known, or a result file or a number of it is missing.
    """
    name, *arguments = source.split()
    if name not in TABLES:
        raise InputError(f"table {name!r} is not known; known: {', '.join(TABLES)}")
    try:
        return TABLES[name](results, *arguments)
    except KeyError as error:
        raise InputError(f"table {source!r}: a result file has no {error}") from None
    except TypeError as error:
        raise InputError(f"table {source!r}: {error}") from None


def markdown(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, its columns to the left."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def full_queries(results: Path, *files: str) -> str:
    """All queries with their standard errors, then mAP / rank-1 of those seen and unseen in training."""
    heading = ("", "ranking by", "mAP", "rank-1", "rank-5", "rank-10", "seen: mAP / rank-1", "unseen: mAP / rank-1")
    rows = []
    datasets = set()
    for argument in files:
        file, _, only = argument.partition("#")
        report = read_result(results / file)
        datasets.add(report["record"]["data"]["name"].split()[0])
        for ranking in [only] if only else RANKINGS:
            metrics = _ranked(report, ranking)
            cells = [f"{_percent(metrics[one])} ±{_percent(metrics['standard_error'][one])}" for one in METRICS]
            parts = [_pair(metrics.get(part)) for part in ("seen", "unseen")]
            rows.append((_subject(report, file), RANKINGS[ranking], *cells, *parts))
    for row in read_result(results / "published.json")["rows"]:
        if row["table"] == 1 and row["dataset"] in datasets and row["model"] in ("SAL (Ours)", "DeepMAR"):
            cells = [f"{row[one]:.1f}" for one in METRICS]
            rows.append((f"paper, Table 1: {row['model']}", NOTHING, *cells, NOTHING, NOTHING))
    return markdown(heading, rows)


def rankings(results: Path, *words: str) -> str:
    """One row for each title."""
    rows = []
    for row in " ".join(words).rstrip(";").split("; "):
        title, equals, argument = row.partition(" = ")
        if not equals:
            raise InputError(f"table rankings: {row!r} is not TITLE = FILE[#RANKING]")
        file, _, ranking = argument.partition("#")
        metrics = _ranked(read_result(results / file), ranking or "cosine")
        rows.append((title, *(_percent(metrics[one]) for one in METRICS)))
    return markdown(("ranking by", "mAP", "rank-1", "rank-5", "rank-10"), rows)


def partial_queries(results: Path, file: str) -> str:
    """One row for each rule and one for a random order, one column for each number of given attributes."""
    counts = read_result(results / file)["partial"]["by_number_given"]
    rows = [
        (RULES.get(rule, rule), *(_percent(count["rules"][rule]["mAP"]) for count in counts))
        for rule in counts[0]["rules"]
    ]
    rows.append(("random order", *(_percent(count["share_relevant"]) for count in counts)))
    rows.append(("queries", *(f"{count['num_queries']:,}" for count in counts)))
    return markdown(("rule", *(str(count["given"]) for count in counts)), rows)


def calibration(results: Path, *files: str) -> str:
    """Errors in points, over all pairs of a query and an image and over the first 20 hits of each query."""
    rows = []
    for file in files:
        report = read_result(results / file)
        measured = report["partial"]["calibration"]
        errors = [_percent(measured[part]["expected_calibration_error"]) for part in ("all_pairs", "top20")]
        rows.append((_subject(report, file), report["record"]["data"]["name"], *errors))
    return markdown(("", "queries of", "all pairs", "first 20 hits"), rows)


def operating_points(results: Path, file: str) -> str:
    """One row for each threshold, percent but for the images of a query."""
    rows = []
    for point in read_result(results / file)["partial"]["operating_points"]:
        rates = [point[name] for name in ("precision", "recall", "false_positive_rate")]
        cells = [NOTHING if rate is None else _percent(rate) for rate in rates]
        rows.append((f"{100 * point['min_likelihood']:.0f}", f"{point['shown_per_query']:,.1f}", *cells))
    heading = ("likelihood of at least", "images a query", "of them match", "of all matches shown", "of others shown")
    return markdown(heading, rows)


def training(results: Path, plan: str, measure: str) -> str:
    """One row for each name of the plan, in its order, then where they were made.

    Held-out numbers have the difference to the first row beside them, those of the test split what the paper prints.
    """
    path = PLANS / f"{plan}.toml"
    if not path.is_file() or measure not in ("held_out", "test"):
        raise InputError(f"table training {plan} {measure}: expected a plan of benchmarks/plans and held_out or test")
    tree = tomllib.loads(path.read_text(encoding="utf-8"))
    asked = {name for run in tree["runs"] for name in run.get("datasets", tree["datasets"])}
    datasets = [name for name in DATASETS if name in asked]
    beside = "mAP to the first row" if measure == "held_out" else "paper, mAP / rank-1"
    heading = ["", *(f"{DATASETS[name]}: {what}" for name in datasets for what in ("mAP", "rank-1", beside))]
    rows = [[run.get("title", run["name"])] for run in tree["runs"]]
    machines = set()
    for dataset in datasets:
        first = None
        for run, cells in zip(tree["runs"], rows, strict=True):
            files = sorted((results / "training" / plan).glob(f"{dataset}-{run['name']}-seed*.json"))
            records = [record for record in map(read_result, files) if record[measure] is not None]
            machines |= {_machine(record) for record in records}
            values = [record[measure]["mAP"] for record in records]
            cells += [_over_seeds(values), _over_seeds([record[measure]["rank1"] for record in records])]
            if measure == "test":
                cells.append(_published(results, dataset, f"{plan}/{run['name']}"))
            else:
                cells.append(_difference(values, first))
            if run is tree["runs"][0]:
                first = values
    made = (
        f"Mean ± standard deviation (number of seeds), percent. Computed on: {', '.join(sorted(machines)) or NOTHING}."
    )
    return f"{markdown(heading, rows)}\n\n{made}"


def _machine(record: Mapping[str, Any]) -> str:
    return str(record["machine"]["gpu"] if record["device"] == "cuda" else record["machine"]["cpu"])


def _published(results: Path, dataset: str, run: str) -> str:
    """What the paper prints for a run of ours."""
    for row in read_result(results / "published.json")["rows"]:
        if row["dataset"] == dataset and run in row["runs"]:
            return f"{row['mAP']:.1f} / {row['rank1']:.1f}"
    return NOTHING


def _difference(values: Sequence[float], first: Sequence[float] | None) -> str:
    """Of the means, in points."""
    if not values or not first:
        return NOTHING
    return f"{100 * (statistics.mean(values) - statistics.mean(first)):+.1f}"


def _over_seeds(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation, with the number of seeds; of one seed its value."""
    if len(values) < 2:
        return _percent(values[0]) if values else NOTHING
    return f"{_percent(statistics.mean(values))} ± {_percent(statistics.stdev(values))} ({len(values)})"


def _ranked(report: Mapping[str, Any], ranking: str) -> Any:
    """The metrics of a ranking, `cosine` or a key such as `centred` or `test_time/csls`."""
    metrics: Any = report
    for key in ranking.split("/") if ranking != "cosine" else ():
        metrics = metrics[key]
    return metrics


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _pair(metrics: Mapping[str, Any] | None) -> str:
    return NOTHING if metrics is None else f"{_percent(metrics['mAP'])} / {_percent(metrics['rank1'])}"


def _subject(report: Mapping[str, Any], file: str) -> str:
    """What was measured, as a link to its report."""
    subject = report["record"]["subject"]
    name = subject.get("name", subject["path"]).removesuffix(".bundle")
    return f"[{name}{', ' + subject['precision'] if 'precision' in subject else ''}](../benchmarks/results/{file})"


TABLES: dict[str, Callable[..., str]] = {
    "full_queries": full_queries,
    "rankings": rankings,
    "partial_queries": partial_queries,
    "calibration": calibration,
    "operating_points": operating_points,
    "training": training,
}
