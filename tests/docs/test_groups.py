"""Error rates by groups of people: what the page on governance says of them holds in the result."""

from __future__ import annotations

import json

import pytest

from benchmarks.speed.measurement import RESULTS
from docs.build.groups import FILE, common_words, compared, differ, gap, group_means, group_words

DATASETS = json.loads((RESULTS / FILE).read_text())["datasets"]


def cell(rate: float, low: float = 0.0, high: float = 1.0) -> dict[str, object]:
    return {"rate": rate, "interval": [low, high], "people": 50, "images": 90}


def test_rates_differ_where_their_intervals_have_nothing_in_common() -> None:
    rates = {"a": cell(0.2, 0.1, 0.3), "b": cell(0.4, 0.31, 0.5), "c": cell(0.3, 0.2, 0.4)}
    assert differ(rates, ["a", "b"])
    assert not differ(rates, ["a", "c"])
    assert not differ(rates, ["a", "d"])
    assert differ(rates, ["a", "b", "c"])


def test_means_are_over_the_words_that_all_groups_have() -> None:
    words = [
        {"word": str(number), "recall": {"a": cell(0.5), "b": cell(0.25)}, "false_alarm": {"a": cell(0.1)}}
        for number in range(5)
    ]
    words[0]["false_alarm"] = {"a": cell(0.1), "b": cell(0.2)}
    words += [{"word": "x", "recall": {"c": cell(1.0)}, "false_alarm": {}}]
    assert compared(words) == ["a", "b"]
    assert [word["word"] for word in common_words(words)] == ["0"]


@pytest.mark.parametrize("dataset", ["market1501", "peta"])
def test_what_the_page_says_of_women(dataset: str) -> None:
    words = DATASETS[dataset]["groupings"]["gender"]["words"]
    assert compared(words) == ["male", "female"]
    recalls = [word["recall"] for word in words if len(word["recall"]) == 2]
    less = [one for one in recalls if one["female"]["rate"] < one["male"]["rate"]]
    assert len(less) > 0.7 * len(recalls)
    alarms = {word["word"]: word["false_alarm"] for word in words}
    for word in ("messenger-bag", *(["age=16-30"] if dataset == "market1501" else [])):
        assert alarms[word]["female"]["rate"] > alarms[word]["male"]["rate"]
        assert differ(alarms[word], ["male", "female"])
    assert float(gap(RESULTS, dataset, "gender", "recall")) > 0


def test_what_the_page_says_of_ages() -> None:
    for dataset, too_few in (("market1501", {"young", "old"}), ("peta", {"under-15", "46-60", "over-60"})):
        grouping = DATASETS[dataset]["groupings"]["age"]
        assert set(grouping["groups"]) - set(compared(grouping["words"])) == too_few


def test_tables() -> None:
    assert "| Market-1501 | female | 336 | 7,283 | 14 |" in group_means(RESULTS, "gender")
    assert "| Market-1501 | old | 5 | 106 | - | - | - |" in group_means(RESULTS, "age")
    (row,) = [line for line in group_words(RESULTS, "market1501", "gender").splitlines() if "| backpack |" in line]
    assert row == "| backpack | **81 (73 to 87)** | **57 (45 to 68)** | 4 (2 to 7) | 4 (2 to 7) |"
