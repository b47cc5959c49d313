"""An evaluation report as tables for people, in percent and 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from sal_train.evaluation.attribute_recognition import full_name, strength
from sal_train.evaluation.verdict import attributes_verdict, search_verdict

METRICS = ("mAP", "rank1", "rank5", "rank10")
RANKINGS = {
    "cosine": "by the angle between image and description, as in the paper",
    "pairs": "a network compares each image with the whole description",
    "centred": "the same, measured from the average person",
    "attributes": "by the attribute head alone",
    "match": "the order in which a search shows its hits",
    "random": "in any order: chance",
}
RULES = {
    "marginalised": "the mean over what the query leaves open",
    "zeros": "what the query leaves open counts as absent",
    "attribute_likelihood": "by the attribute head alone",
}
STRENGTHS = {"good": "", "weak": "weak", "chance": "chance", "few": "few people", "unknown": "-"}
TEST_TIME_NAMES = {
    "mirrored": "with mirror",
    "csls": "CSLS",
    "fused": "with attributes",
    "mirrored_csls": "mirror and CSLS",
}


def print_report(report: Mapping[str, Any], console: Console) -> None:
    """Print a report of `sal_train.evaluation.evaluate.evaluate`."""
    record = report["record"]
    data, subject = record["data"], record["subject"]
    identity = subject.get("fingerprint") or subject["config_sha256"]
    for verdict in (search_verdict(report), attributes_verdict(report["recognition"])):
        console.print(verdict, highlight=False, style="bold")
    console.print("all numbers in percent, ± standard error over queries")
    console.print(f"{subject['kind']} {subject['path']} ({identity[:12]}), {record['device']}", highlight=False)
    if not subject.get("is_finished", True):
        epochs = f"{subject['epochs_done']} of {subject['provenance']['epochs']}"
        console.print(f"warning: training is not finished ({epochs} epochs)", highlight=False)
    console.print(
        f"{data['name']}: {data['num_queries']} queries ({data['num_seen']} of categories seen in training), "
        f"{data['num_images']} gallery images",
        highlight=False,
    )
    console.print(_full_table(report))
    _print_words({name: text for name, text in RANKINGS.items() if name != "match" or name in report}, console)
    if report["num_without_match"]:
        console.print(f"{report['num_without_match']} queries without a matching image were left out")
    _print_recognition(report["recognition"], console)
    if "partial" in report:
        _print_partial(report["partial"], console)


def _full_table(report: Mapping[str, Any]) -> Table:
    table = _table()
    for heading in ("full queries, by", "queries", "mAP", "rank-1", "rank-5", "rank-10"):
        table.add_column(heading, justify="left" if "quer" in heading else "right", no_wrap=True)
    rankings = [
        *([("cosine", report), ("centred", report["centred"])] if "centred" in report else [("pairs", report)]),
        ("attributes", report["attribute_likelihood"]),
        *([("match", report["match"])] if "match" in report else []),
    ]
    rankings += [(TEST_TIME_NAMES[name], metrics) for name, metrics in report.get("test_time", {}).items()]
    for name, metrics in rankings:
        parts = {"all": metrics, "seen": metrics.get("seen"), "unseen": metrics.get("unseen")}
        for part, values in (parts | metrics.get("by_source", {})).items():
            if values is not None:
                cells = [_with_error(values, metric) for metric in METRICS]
                table.add_row(name if part == "all" else "", f"{part} {values['num_queries']}", *cells)
    by_chance = (f"{100 * report['random'][metric]:.1f}" for metric in METRICS)
    table.add_row("random", f"all {report['num_queries']}", *by_chance)
    return table


def _print_words(words: Mapping[str, str], console: Console) -> None:
    """Explain names of a table in a few words each."""
    for name, meaning in words.items():
        console.print(f"  {name}: {meaning}", highlight=False, style="dim")


def _print_recognition(recognition: Mapping[str, Any], console: Console) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for heading in ("attribute", "images", "people", "share", "found", "rejected", "accuracy", ""):
        left = heading in ("attribute", "")
        table.add_column(heading, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    for name, rates in recognition["by_attribute"].items():
        shares = (rates[key] for key in ("share", "true_positive_rate", "true_negative_rate", "balanced_accuracy"))
        cells = ("-" if share is None else f"{100 * share:.0f}" for share in shares)
        label = full_name(name, rates["group"])
        table.add_row(label, f"{rates['positives']:,}", f"{rates['people']:,}", *cells, STRENGTHS[strength(rates)])
    if recognition["mA"] is not None:
        means = ("", "", "", "", "", f"{100 * recognition['mA']:.1f}", f"chance {100 * recognition['chance']:.0f}")
        table.add_row(f"mean of {recognition['num_attributes']}", *means)
    console.print(table)
    words = {
        "found": "of images with the attribute, those in which it is recognised",
        "rejected": "of images without it, those in which it is not",
        "accuracy": "the mean of both; 50 is chance, however rare the attribute",
    }
    _print_words(words, console)


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")


def _with_error(values: Mapping[str, Any], metric: str) -> str:
    return f"{100 * values[metric]:.1f} ±{100 * values['standard_error'][metric]:.1f}"


def _print_partial(partial: Mapping[str, Any], console: Console) -> None:
    counts = partial["by_number_given"]
    rules = list(counts[0]["rules"])
    # rules are rows because there can be many: with held-out categories aggregations are compared, too
    table = _table()
    table.add_column("mAP by number of attributes given", no_wrap=True)
    for row in counts:
        table.add_column(str(row["given"]), justify="right")
    for rule in rules:
        table.add_row(rule, *(f"{100 * row['rules'][rule]['mAP']:.1f}" for row in counts))
    table.add_row("chance", *(f"{100 * row['share_relevant']:.1f}" for row in counts))
    table.add_row("queries", *(str(row["num_queries"]) for row in counts))
    console.print(table)
    _print_words({rule: RULES[rule] for rule in rules if rule in RULES}, console)
    if "calibration" in partial:
        measured = partial["calibration"]
        parts = {
            "": {key: measured[key] for key in measured if key != "fit"},
            **partial.get("calibration_by_source", {}),
        }
        for source, part in parts.items():
            for name, reliability in part.items():
                error, share = (100 * reliability[key] for key in ("expected_calibration_error", "share_matching"))
                console.print(
                    f"likelihood of match, {source}{', ' if source else ''}{name.replace('_', ' ')}: off by "
                    f"{error:.1f} on average (expected calibration error); {share:.1f} match",
                    highlight=False,
                )
        if "caveat" in measured["fit"]:
            console.print(f"caveat: {measured['fit']['caveat']}", highlight=False)
    if "operating_points" in partial:
        console.print(_operating_table(partial["operating_points"]))
        words = {
            "right": "of the images shown, those that match",
            "found": "of all that match, those shown",
            "false": "of all that do not match, those shown",
        }
        _print_words(words, console)


def _operating_table(points: Sequence[Mapping[str, Any]]) -> Table:
    table = _table()
    for heading in ("likelihood at least", "images a query", "right", "found", "false"):
        table.add_column(heading, justify="left" if heading.startswith("like") else "right", no_wrap=True)
    for point in points:
        rates = [point[name] for name in ("precision", "recall", "false_positive_rate")]
        cells = ["-" if rate is None else f"{100 * rate:.1f}" for rate in rates]
        table.add_row(f"{100 * point['min_likelihood']:.0f}", f"{point['shown_per_query']:,.1f}", *cells)
    return table
