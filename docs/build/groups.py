"""Tables of error rates by groups of people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from docs.build.results import percent, read_result
from docs.build.tables import DATASETS, NOTHING, markdown

FILE = "group_error_rates.json"
FEWEST_WORDS = 5
"""A group of which fewer words were measured is not compared with others."""

RATES = ("recall", "false_alarm")

Row = Mapping[str, Any]


def group_means(results: Path, grouping: str) -> str:
    """One row for each group of each data set: its people, and its mean rates over the words that all groups have.

    Args:
        results: folder of the result files.
        grouping: `gender` or `age`.
    """
    rows = []
    for dataset, measured in read_result(results / FILE)["datasets"].items():
        found = measured["groupings"][grouping]
        groups = compared(found["words"])
        common = common_words(found["words"])
        for group, counts in found["groups"].items():
            cells = [NOTHING] * 3
            if group in groups:
                both = [[word[rate][group]["rate"] for word in common] for rate in RATES]
                cells = [str(len(common)), *(percent(sum(values) / len(values)) for values in both)]
            rows.append((DATASETS[dataset], group, f"{counts['people']:,}", f"{counts['images']:,}", *cells))
    return markdown(("test people of", "labelled", "people", "images", "words", "recall", "false alarms"), rows)


def group_words(results: Path, dataset: str, grouping: str) -> str:
    """One row for each word that is measured in the compared groups, or whose false alarms differ between them.

    Args:
        results: folder of the result files.
        dataset: `market1501` or `peta`.
        grouping: `gender` or `age`.
    """
    words = read_result(results / FILE)["datasets"][dataset]["groupings"][grouping]["words"]
    groups = compared(words)
    rows = []
    for word in words:
        rates = [word[rate] for rate in RATES]
        if all(group in rates[0] for group in groups) or differ(rates[1], groups):
            cells = [_cell(rate, group, differ(rate, groups)) for rate in rates for group in groups]
            rows.append((word["word"], *cells))
    titles = [f"{title}, {group}" for title in ("recall", "false alarms") for group in groups]
    return markdown(("word", *titles), rows)


def gap(results: Path, dataset: str, grouping: str, rate: str) -> str:
    """Points by which the mean rate of the first compared group exceeds that of the second, over their common words."""
    words = read_result(results / FILE)["datasets"][dataset]["groupings"][grouping]["words"]
    first, second, *_ = compared(words)
    common = common_words(words)
    return percent(sum(word[rate][first]["rate"] - word[rate][second]["rate"] for word in common) / len(common), 0)


def common_words(words: Sequence[Row]) -> list[Row]:
    """The words of which both rates were measured in all compared groups."""
    groups = compared(words)
    return [word for word in words if all(group in word[rate] for rate in RATES for group in groups)]


def compared(words: Sequence[Row]) -> list[str]:
    """The groups with a recall of at least `FEWEST_WORDS` words."""
    counts: dict[str, int] = {}
    for word in words:
        for group in word["recall"]:
            counts[group] = counts.get(group, 0) + 1
    return [group for group, count in counts.items() if count >= FEWEST_WORDS]


def differ(rates: Row, groups: Sequence[str]) -> bool:
    """Whether all groups were measured and the intervals of two of them have nothing in common."""
    if not all(group in rates for group in groups):
        return False
    intervals = [rates[group]["interval"] for group in groups]
    return bool(max(low for low, _ in intervals) > min(high for _, high in intervals))


def _cell(rates: Row, group: str, stands_out: bool) -> str:
    if group not in rates:
        return NOTHING
    low, high = (percent(bound, 0) for bound in rates[group]["interval"])
    text = f"{percent(rates[group]['rate'], 0)} ({low} to {high})"
    return f"**{text}**" if stands_out else text
