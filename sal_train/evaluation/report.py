"""An evaluation report as tables for people, in percent and 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

METRICS = ("mAP", "rank1", "rank5", "rank10")
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
    console.print("all numbers in percent, ± standard error over queries")
    console.print(f"{subject['kind']} {subject['path']} ({identity[:12]}), {record['device']}", highlight=False)
    console.print(
        f"{data['name']}: {data['num_queries']} queries ({data['num_seen']} of categories seen in training), "
        f"{data['num_images']} gallery images",
        highlight=False,
    )
    console.print(_full_table(report))
    if report["num_without_match"]:
        console.print(f"{report['num_without_match']} queries without a matching image were left out")
    recognition = report["recognition"]
    if recognition["mA"] is not None:
        rate, number = 100 * recognition["mA"], recognition["num_attributes"]
        console.print(f"attributes recognised: mean accuracy {rate:.1f} over {number}", highlight=False)
    if "partial" in report:
        _print_partial(report["partial"], console)


def _full_table(report: Mapping[str, Any]) -> Table:
    table = _table()
    for heading in ("full queries, by", "queries", "mAP", "rank-1", "rank-5", "rank-10"):
        table.add_column(heading, justify="left" if "quer" in heading else "right", no_wrap=True)
    rankings = [
        ("cosine", report),
        ("centred cosine", report["centred"]),
        ("attributes", report["attribute_likelihood"]),
    ]
    rankings += [(TEST_TIME_NAMES[name], metrics) for name, metrics in report.get("test_time", {}).items()]
    for name, metrics in rankings:
        for part, values in (("all", metrics), ("seen", metrics.get("seen")), ("unseen", metrics.get("unseen"))):
            if values is not None:
                cells = [_with_error(values, metric) for metric in METRICS]
                table.add_row(name if part == "all" else "", f"{part} {values['num_queries']}", *cells)
    return table


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
    table.add_row("share relevant", *(f"{100 * row['share_relevant']:.1f}" for row in counts))
    table.add_row("queries", *(str(row["num_queries"]) for row in counts))
    console.print(table)
    if "calibration" in partial:
        measured = partial["calibration"]
        for name in (key for key in measured if key != "fit"):
            error = 100 * measured[name]["expected_calibration_error"]
            share = 100 * measured[name]["share_matching"]
            console.print(
                f"likelihood of match, {name}: expected calibration error {error:.1f}, {share:.1f} match",
                highlight=False,
            )
        if "caveat" in measured["fit"]:
            console.print(f"caveat: {measured['fit']['caveat']}", highlight=False)
    if "operating_points" in partial:
        console.print(_operating_table(partial["operating_points"]))


def _operating_table(points: Sequence[Mapping[str, Any]]) -> Table:
    table = _table()
    table.add_column("images of at least this likelihood", no_wrap=True)
    for heading in ("a query", "of them match", "of matches shown", "of others"):
        table.add_column(heading, justify="right")
    for point in points:
        rates = [point[name] for name in ("precision", "recall", "false_positive_rate")]
        cells = ["-" if rate is None else f"{100 * rate:.1f}" for rate in rates]
        table.add_row(f"{100 * point['min_likelihood']:.0f}", f"{point['shown_per_query']:,.1f}", *cells)
    return table
