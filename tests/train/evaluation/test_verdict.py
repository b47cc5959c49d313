"""One sentence about a model, against reports made by hand."""

from __future__ import annotations

import io
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from sal_runtime.errors import InputError
from sal_runtime.query.schema import AttributeSchema, binary
from sal_train.datasets.splits import Labels
from sal_train.evaluation.attribute_recognition import recognition_rates, strength
from sal_train.evaluation.metrics import random_metrics, retrieval_metrics
from sal_train.evaluation.report import _print_recognition
from sal_train.evaluation.verdict import attributes_verdict, search_verdict


def report(mean_precision: float, rank1: float, queries: int = 100) -> dict[str, Any]:
    return {
        "mAP": mean_precision,
        "rank1": rank1,
        "standard_error": {"mAP": 0.02, "rank1": 0.04},
        "num_queries": queries,
        "random": {"mAP": 0.05, "rank1": 0.03},
    }


@pytest.mark.parametrize(
    ("subject", "beginning"),
    [
        (report(0.6, 0.7), "GOOD: the first hit is right for 70 of 100 full descriptions (by chance 3)"),
        (report(0.3, 0.3), "FAIR: "),
        (report(0.15, 0.1), "WEAK: "),
        (report(0.08, 0.9), "NOT USABLE: search is no better than chance"),
    ],
)
def test_the_verdict_of_a_search(subject: dict[str, Any], beginning: str) -> None:
    assert search_verdict(subject).startswith(beginning)
    assert "only" not in search_verdict(subject)


def test_few_queries_are_said() -> None:
    assert "only 9 were asked, so this is uncertain by 8 points" in search_verdict(report(0.6, 0.7, queries=9))


def test_a_handful_of_queries_gives_no_verdict() -> None:
    assert search_verdict(report(1.0, 1.0, queries=1)).startswith("CANNOT BE TOLD: 1 full description could be asked")
    assert search_verdict(report(1.0, 1.0, queries=4)).startswith("CANNOT BE TOLD: 4 full descriptions could")
    assert search_verdict(report(1.0, 1.0, queries=5)).startswith("GOOD")


def test_chance_is_the_mean_over_all_orders() -> None:
    """Against the metrics themselves, of every order of six images."""
    relevant = np.array([3, 1])
    orders = np.array(list(permutations(range(6))), dtype=float)
    means = []
    for count in relevant:
        relevance = np.broadcast_to(np.arange(6) < count, orders.shape)
        metrics = retrieval_metrics(orders, relevance)
        means.append([metrics.mAP, metrics.rank1, metrics.rank5, metrics.rank10])
    chance = random_metrics(np.array([3, 0, 1]), 6)
    np.testing.assert_allclose(list(chance.values()), np.mean(means, axis=0))
    with pytest.raises(InputError, match="nothing to measure"):
        random_metrics(np.array([0]), 6)
    assert random_metrics(np.array([1]), 1) == {"mAP": 1.0, "rank1": 1.0, "rank5": 1.0, "rank10": 1.0}


def recognition() -> dict[str, Any]:
    """Of 200 images: a head that knows `hat`, says yes to `bag` always, and guesses `coat` a little better."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (200, 5), dtype=np.uint8)
    labels[:, 3], labels[:, 4] = 0, np.arange(200) < 2
    logits = np.where(labels == 1, 2.0, -2.0).astype(np.float32)
    logits[:, 1] = 2.0
    logits[:80, 2] *= -1
    people = [str(row // 2) for row in range(200)]
    schema = AttributeSchema(
        "five", tuple(binary(name, bit) for bit, name in enumerate(("hat", "bag", "coat", "cap", "kilt")))
    )
    return recognition_rates(logits, Labels(labels), schema, people)


def test_attributes_are_compared_with_chance() -> None:
    rates = recognition()
    strengths = {name: strength(rates["by_attribute"][name]) for name in rates["by_attribute"]}
    assert strengths == {"hat": "good", "bag": "chance", "coat": "weak", "cap": "unknown", "kilt": "few"}
    assert (rates["chance"], rates["by_attribute"]["bag"]["balanced_accuracy"]) == (0.5, 0.5)
    assert rates["by_attribute"]["kilt"]["people"] == 1
    assert rates["by_attribute"]["kilt"]["share"] == 0.01
    assert attributes_verdict(rates) == "2 of 3 attributes are recognised better than by chance; not: bag"


def test_nothing_to_measure_is_said() -> None:
    rates = recognition_rates(
        np.ones((3, 1), np.float32), Labels(np.ones((3, 1), np.uint8)), AttributeSchema("one", (binary("hat", 0),))
    )
    assert rates["mA"] is None
    assert attributes_verdict(rates).startswith("no attribute could be measured")


def test_the_table_of_attributes_has_chance_and_is_not_cut() -> None:
    stream = io.StringIO()
    _print_recognition(recognition(), Console(file=stream, width=80))
    text = stream.getvalue()
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    (row,) = [line for line in text.splitlines() if line.startswith("bag")]
    assert row.split()[-2:] == ["50", "chance"]
    (mean,) = [line for line in text.splitlines() if line.startswith("mean of 4")]
    assert mean.rstrip().endswith("chance 50")
