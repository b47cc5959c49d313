"""Error rates by groups of people: counted by hand, people once each, small groups left out."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import group_error_rates as module
from benchmarks.group_error_rates import people_of, share_of_each, wilson, word_rates
from sal_runtime.query.schema import AttributeSchema, binary
from sal_train.datasets.splits import Labels

SCHEMA = AttributeSchema("two", (binary("hat", 0), binary("bag", 1)))


@pytest.mark.parametrize(
    ("rate", "count", "low", "high"),
    [(0.5, 10, 0.2366, 0.7634), (0.0, 20, 0.0, 0.1611), (0.9, 100, 0.8256, 0.9448)],
)
def test_the_interval_is_that_of_statisticians(rate: float, count: int, low: float, high: float) -> None:
    """As R computes them: `prop.test(x, n, correct = FALSE)`."""
    assert wilson(rate, count) == pytest.approx((low, high), abs=1e-4)


def test_every_person_counts_once() -> None:
    recognised = np.array([True, True, True, False, False])
    assert share_of_each(recognised, np.array([7, 7, 7, 7, 9])).tolist() == [0.75, 0.0]
    assert people_of(["a", "", "", "a"]) == ["a", " 1", " 2", "a"]


def test_rates_of_a_word_by_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENOUGH_PEOPLE", 2)
    people = np.array([0, 0, 1, 2, 3, 4, 5])
    women = np.array([True, True, True, False, False, True, True])
    has = np.array([[1, 0], [1, 0], [1, 0], [1, 0], [1, 0], [0, 0], [0, 0]], np.uint8)
    known = np.array([[True, False]] * 7)  # nobody knows who has a bag
    logits = np.array([[1, 1], [-1, 1], [1, 1], [-1, 1], [1, 1], [1, 1], [-1, 1]], np.float32)
    rows = word_rates(logits, Labels(has, known), SCHEMA, people, {"women": women, "men": ~women})
    (hat,) = rows
    assert hat["word"] == "hat"
    assert {group: cell["rate"] for group, cell in hat["recall"].items()} == {"women": 0.75, "men": 0.5}
    assert hat["recall"]["women"]["people"] == 2
    assert hat["recall"]["women"]["images"] == 3
    assert {group: cell["rate"] for group, cell in hat["false_alarm"].items()} == {"women": 0.5}  # no man is without
