"""Markdown tables of the documents, made from result files."""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from docs.build.results import decimals, percent, read_result
from sal_runtime.errors import InputError
from sal_runtime.query.schema import AttributeSchema
from sal_runtime.query.words import list_words

REPOSITORY = Path(__file__).parents[2]
PLANS = REPOSITORY / "benchmarks" / "training" / "plans"
METRICS = ("mAP", "rank1", "rank5", "rank10")
RANKINGS = {"cosine": "cosine", "centred": "centred cosine", "attribute_likelihood": "attribute head", "match": "match"}
RULES = {
    "match": "match score (what `sal search` does)",
    "marginalised": "marginalised cosine",
    "zeros": "zeros for the rest",
    "attribute_likelihood": "attribute likelihood",
}
DATASETS = {"market1501": "Market-1501", "peta": "PETA", "street": "Market-1501 and PETA"}
RECOGNISED = (("well", 0.7, 1.01), ("half of the time", 0.4, 0.7), ("seldom", 0.1, 0.4), ("hardly ever", 0.0, 0.1))
"""How often words are recognised: a title, the least share and the share that is too much."""
NOTHING = "-"


def markdown(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose columns are aligned to the left, without a line break at the end."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def rankings(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """One row for each title with its metrics."""
    cells = [(title, *(percent(metrics[name]) for name in METRICS)) for title, metrics in rows.items()]
    return markdown(("ranking by", "mAP", "rank-1", "rank-5", "rank-10"), cells)


def full_queries(results: Path, *entries: str | tuple[str, str]) -> str:
    """Metrics of full queries with their standard errors, on seen and unseen categories, and what the paper reports.

    Args:
        results: folder of the result files.
        *entries: report files of `sal eval`; of a pair (file, ranking) only that ranking.
    """
    heading = ("", "ranking by", "mAP", "rank-1", "rank-5", "rank-10", "seen: mAP / rank-1", "unseen: mAP / rank-1")
    rows = []
    datasets = set()
    for entry in entries:
        file, shown = (entry, tuple(RANKINGS)) if isinstance(entry, str) else (entry[0], (entry[1],))
        report = read_result(results / file)
        datasets.add(report["record"]["data"]["name"].split()[0])
        for ranking in shown:
            metrics = report if ranking == "cosine" else report.get(ranking)
            if metrics is None:  # without a calibration, there is no match score
                continue
            cells = [f"{percent(metrics[name])} ±{percent(metrics['standard_error'][name])}" for name in METRICS]
            parts = [_pair(metrics.get(part)) for part in ("seen", "unseen")]
            rows.append((_subject(report, file), RANKINGS[ranking], *cells, *parts))
    for row in read_result(results / "published.json")["rows"]:
        if row["table"] == 1 and row["dataset"] in datasets and row["model"] in ("SAL (Ours)", "DeepMAR"):
            cells = [decimals(row[name], 1) for name in METRICS]
            rows.append((f"paper, Table 1: {row['model']}", NOTHING, *cells, NOTHING, NOTHING))
    return markdown(heading, rows)


def seeds_of_bundles(results: Path, *bundles: str, ranking: str = "match") -> str:
    """Mean and deviation over the seeds of each bundle, on the test split of each data set, and of the paper.

    Args:
        results: folder of the result files: `eval_street_NAME.json` if the bundle is published, and
            `seeds/eval_street_NAME_*.json` of its other seeds.
        *bundles: their names.
        ranking: a key of `RANKINGS`.
    """
    rows = []
    for dataset in ("market1501", "peta"):
        for name in bundles:
            first, others = f"eval_street_{name}.json", f"seeds/eval_street_{name}_*.json"
            files = [*results.glob(first), *sorted(results.glob(others))]
            reports = [read_result(file) for file in files]
            metrics = [(one if ranking == "cosine" else one[ranking])["by_source"][dataset] for one in reports]
            rows.append(_seeds_row(dataset, f"`{name}`", metrics))
        rows += _paper_row(results, dataset)
    return _seeds_table(rows)


def seeds_of_runs(results: Path, plan: str, plans: Path = PLANS) -> str:
    """Mean and deviation over the seeds of each run of a plan, on the test split of each data set, and of the paper.

    Args:
        results: folder of the result files.
        plan: name of the plan; its runs without a result are left out.
        plans: folder of the plans.
    """
    rows = []
    runs = tomllib.loads((plans / f"{plan}.toml").read_text(encoding="utf-8"))["runs"]
    for dataset in ("market1501", "peta"):
        for run in runs:
            found = records(results / "training" / plan, f"{dataset}-{run['name']}", "test")
            if found:
                rows.append(_seeds_row(dataset, run["title"], [record["test"] for record in found]))
        rows += _paper_row(results, dataset)
    return _seeds_table(rows)


def _seeds_row(dataset: str, title: str, metrics: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """A row of `_seeds_table` from the metrics of each seed."""
    parts = [
        " / ".join(over_seeds([one[part][key] for one in metrics]) for key in ("mAP", "rank1"))
        if metrics[0].get(part)
        else NOTHING
        for part in ("seen", "unseen")
    ]
    return (DATASETS[dataset], title, *(over_seeds([one[key] for one in metrics]) for key in METRICS), *parts)


def _paper_row(results: Path, dataset: str) -> list[tuple[str, ...]]:
    return [
        (DATASETS[dataset], "paper: SAL", *(decimals(row[key], 1) for key in METRICS), NOTHING, NOTHING)
        for row in read_result(results / "published.json")["rows"]
        if row["table"] == 1 and row["dataset"] == dataset and row["model"] == "SAL (Ours)"
    ]


def _seeds_table(rows: Iterable[tuple[str, ...]]) -> str:
    heading = ("test split", "", "mAP", "rank-1", "rank-5", "rank-10", "seen: mAP / rank-1", "unseen: mAP / rank-1")
    return f"{markdown(heading, rows)}\n\nMean ± standard deviation (number of seeds), percent."


def partial_queries(report: Mapping[str, Any]) -> str:
    """The mAP of each rule and of a random order, by the number of given attributes."""
    counts = report["partial"]["by_number_given"]
    rows = [
        (RULES.get(rule, rule), *(percent(count["rules"][rule]["mAP"]) for count in counts))
        for rule in counts[0]["rules"]
    ]
    rows.append(("random order", *(percent(count["share_relevant"]) for count in counts)))
    rows.append(("queries", *(f"{count['num_queries']:,}" for count in counts)))
    return markdown(("rule", *(str(count["given"]) for count in counts)), rows)


def calibration(results: Path, *files: str) -> str:
    """Expected calibration errors in points, over all pairs of query and image and over the first 20 hits."""
    rows = []
    for file in files:
        report = read_result(results / file)
        partial, data = report["partial"], report["record"]["data"]["name"]
        parts = {data: partial["calibration"], **partial.get("calibration_by_source", {})}
        for name, measured in parts.items():
            errors = [percent(measured[part]["expected_calibration_error"]) for part in ("all_pairs", "top20")]
            rows.append((_subject(report, file), DATASETS.get(name, name), *errors))
    return markdown(("", "queries of", "all pairs", "first 20 hits"), rows)


def recognised(bundle: str) -> str:
    """The words of a bundle, by the share of the test images that show them in which they are recognised."""
    manifest = read_result(REPOSITORY / bundle / "manifest.json")
    rates = [
        (f"{group['group']} {value['word']}" if group["kind"] == "exclusive" else value["word"], value["recognised"])
        for group in list_words(AttributeSchema.from_json(manifest["schema"]), manifest["metrics"])
        for value in group["values"]
        if value["recognised"] is not None
        and not (group["kind"] == "binary" and value["word"] == f"no-{group['group']}")  # what is rare is seldom missed
    ]
    rows = []
    for title, least, below in RECOGNISED:
        fitting = sorted(((rate, word) for word, rate in rates if least <= rate < below), reverse=True)
        rows.append((title, ", ".join(f"{word} {percent(rate, 0)}" for rate, word in fitting)))
    return markdown(("recognised", "words"), rows)


def operating_points(report: Mapping[str, Any]) -> str:
    """The effect of each threshold on the likelihood; percent, except for the number of images."""
    rows = []
    for point in report["partial"]["operating_points"]:
        rates = [point[name] for name in ("precision", "recall", "false_positive_rate")]
        cells = [NOTHING if rate is None else percent(rate) for rate in rates]
        rows.append((percent(point["min_likelihood"], 0), decimals(point["shown_per_query"], 1), *cells))
    heading = ("likelihood of at least", "images a query", "of them match", "of all matches shown", "of others shown")
    return markdown(heading, rows)


def training(results: Path, plan: str, measure: str, plans: Path = PLANS) -> str:
    """One row for each run of a plan: mean and deviation over seeds, then where the runs were computed.

    Args:
        results: folder of the result files.
        plan: name of the plan.
        measure: `held_out` adds the difference to the first row, `test` what the paper reports.
        plans: folder of the plans.

    Raises:
        InputError: there is no such plan, or the measure is unknown.
    """
    path = plans / f"{plan}.toml"
    if not path.is_file() or measure not in ("held_out", "test"):
        raise InputError(f"training({plan!r}, {measure!r}): expected a plan of {plans} and held_out or test")
    tree = tomllib.loads(path.read_text(encoding="utf-8"))
    asked = {name for run in tree["runs"] for name in run.get("datasets", tree["datasets"])}
    datasets = [name for name in DATASETS if name in asked]
    last = "mAP to the first row" if measure == "held_out" else "paper, mAP / rank-1"
    heading = ["", *(f"{DATASETS[name]}: {column}" for name in datasets for column in ("mAP", "rank-1", last))]
    rows = [[run.get("title", run["name"])] for run in tree["runs"]]
    everything: list[Any] = []
    for dataset in datasets:
        first: Sequence[float] = ()
        for number, (run, cells) in enumerate(zip(tree["runs"], rows, strict=True)):
            found = records(results / "training" / plan, f"{dataset}-{run['name']}", measure)
            everything += found
            values = [record[measure]["mAP"] for record in found]
            cells += [over_seeds(values), over_seeds([record[measure]["rank1"] for record in found])]
            cells.append(
                _difference(values, first)
                if measure == "held_out"
                else published(results, dataset, f"{plan}/{run['name']}")
            )
            first = values if number == 0 else first
    seeds = "Mean ± standard deviation (number of seeds), percent."
    return f"{markdown(heading, rows)}\n\n{seeds} {computed_on(everything)}"


def records(folder: Path, run: str, measure: str) -> list[Any]:
    """The result files of all seeds of a run for which this was measured."""
    found = [read_result(file) for file in sorted(folder.glob(f"{run}-seed*.json"))]
    return [record for record in found if record[measure] is not None]


def computed_on(found: Iterable[Mapping[str, Any]]) -> str:
    """A sentence with the processors that computed these results."""
    machines = {record["machine"]["gpu" if record["device"] == "cuda" else "cpu"] for record in found}
    return f"Computed on: {', '.join(sorted(machines)) or NOTHING}."


def published(results: Path, dataset: str, run: str) -> str:
    """The paper's mAP and rank-1 for one of our runs."""
    for row in read_result(results / "published.json")["rows"]:
        if row["dataset"] == dataset and run in row["runs"]:
            return f"{decimals(row['mAP'], 1)} / {decimals(row['rank1'], 1)}"
    return NOTHING


def _difference(values: Sequence[float], first: Sequence[float]) -> str:
    """Difference of the means in points."""
    if not values or not first:
        return NOTHING
    return f"{100 * (statistics.mean(values) - statistics.mean(first)):+.1f}"


def over_seeds(values: Sequence[float]) -> str:
    """Mean ± sample standard deviation with the number of seeds; a single seed has no deviation."""
    if len(values) < 2:
        return percent(values[0]) if values else NOTHING
    return f"{percent(statistics.mean(values))} ± {percent(statistics.stdev(values))} ({len(values)})"


def _pair(metrics: Mapping[str, Any] | None) -> str:
    return NOTHING if metrics is None else f"{percent(metrics['mAP'])} / {percent(metrics['rank1'])}"


def _subject(report: Mapping[str, Any], file: str) -> str:
    """The name of the evaluated bundle or run, as a link to its report."""
    subject = report["record"]["subject"]
    name = subject.get("name", subject["path"]).removesuffix(".bundle")
    return f"[{name}{', ' + subject['precision'] if 'precision' in subject else ''}](../benchmarks/results/{file})"
