"""The retrieval gate: metrics by hand, and how much a reduced precision may lose."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from sal_export.gates import retrieval
from sal_export.gates.retrieval import (
    Loss,
    Retrieval,
    Task,
    chance_of_loss,
    doubts,
    loss_of,
    measure_retrieval,
    refusals,
)
from sal_train.datasets.splits import Labels
from sal_train.evaluation.protocol import Protocol

QUIET = Console(stderr=True, quiet=True)


def test_retrieval_is_that_of_the_protocol() -> None:
    """Two categories, four images, by hand: AP of query 0 is (1/1 + 2/3) / 2, of query 1 is (1/1 + 2/2) / 2."""
    protocol = Protocol(
        name="squares",
        image_paths=(),
        labels=Labels(np.zeros((4, 1), np.uint8)),
        categories=np.array([0, 1, 0, 1]),
        queries=Labels(np.eye(2, dtype=np.uint8)),
        seen=np.zeros(2, dtype=bool),
    )
    embeddings = np.array([[0.9, 0.1], [0.8, 0.3], [0.7, 0.2], [0.0, 1.0]], np.float32)
    # query 0 (first coordinate) ranks images 0, 1, 2, 3; query 1 ranks 3, 1, 2, 0
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    task = Task(protocol, images, np.eye(2, dtype=np.float32))
    found = measure_retrieval("by hand", lambda batch: embeddings[batch[:, 0, 0, 0]], task, QUIET)
    assert found.mAP == pytest.approx(((1 + 2 / 3) / 2 + (1 + 2 / 2) / 2) / 2)
    assert found.rank1 == 1.0
    assert (found.num_queries, found.num_gallery, found.data) == (2, 4, "squares")
    assert found.first_hits == (0, 1)
    assert found.average_precisions == pytest.approx(((1 + 2 / 3) / 2, 1.0), abs=1e-5)
    blind = measure_retrieval("blind", lambda batch: np.tile([[0.0, 1.0]], (len(batch), 1)), task, QUIET)
    assert (blind.rank1, blind.first_hits) == (0.5, (0,))  # equal scores: the order of the gallery


def retrieval_of(precisions: np.ndarray, first: np.ndarray) -> Retrieval:
    """Metrics of queries with these average precisions, and a right first hit where `first` is true."""
    hits = np.flatnonzero(first).tolist()
    count = len(precisions)
    return Retrieval(float(np.mean(precisions)), len(hits) / count, count, 10_000, "people", hits, precisions.tolist())


def losing(count: int, points: float, first_lost: int, first_gained: int = 0) -> Loss:
    """The loss of an encoder whose average precisions all fall by the same; half of the queries had a first hit."""
    before = np.arange(count) < count // 2
    after = before.copy()
    after[:first_lost] = False
    after[count - first_gained :] = True
    precisions = np.full(count, 0.4)
    return loss_of(retrieval_of(precisions, before), retrieval_of(precisions - points / 100, after))


@pytest.mark.parametrize(
    ("precision", "points", "first_lost", "refused"),
    [
        ("fp16", 0.49, 2, []),
        ("fp16", 0.51, 2, ["mAP"]),
        ("fp16", 0.0, 3, ["rank-1"]),  # 0.62 points
        ("int8", 0.99, 4, []),
        ("int8", 1.01, 0, ["mAP"]),
        ("int8", 0.0, 5, ["rank-1"]),  # 1.03 points
        ("int8", 5.0, 9, ["mAP", "rank-1"]),
        ("int8", -5.0, 0, []),
    ],
)
def test_with_enough_queries_the_limits_decide_alone(
    precision: str, points: float, first_lost: int, refused: list[str]
) -> None:
    loss = losing(484, points, first_lost)
    assert [text.split()[0] for text in refusals(loss, precision)] == refused
    assert doubts(loss, precision) == ()
    assert (retrieval.MAX_LOSS, retrieval.ENOUGH_QUERIES) == ({"fp16": 0.005, "int8": 0.01}, 200)


def test_one_flipped_query_of_57_is_no_reason_but_ten_are() -> None:
    """The probability of k lost and none gained by chance is 2 ** -k: the sign test."""
    one = losing(57, 0.0, 1)
    assert one.rank1 == pytest.approx(1 / 57)
    assert one.rank1_chance == pytest.approx(1 / 2, abs=0.02)
    assert refusals(one, "int8") == ()
    assert len(doubts(one, "int8")) == 1
    assert losing(57, 0.0, 3).rank1_chance == pytest.approx(1 / 8, abs=0.02)
    for lost in (1, 2, 3, 4):
        assert not refusals(losing(57, 0.0, lost), "int8")
    for lost in (5, 10):
        assert "rank-1 falls by" in refusals(losing(57, 0.0, lost), "int8")[0]


def test_a_loss_that_one_query_carries_is_chance_and_one_that_all_share_is_not() -> None:
    precisions, first = np.full(40, 0.5), np.zeros(40, bool)
    changed = precisions.copy()
    changed[7] = 0.0  # 1.25 points of mAP
    carried = loss_of(retrieval_of(precisions, first), retrieval_of(changed, first))
    assert carried.mAP == pytest.approx(0.0125)
    assert refusals(carried, "int8") == ()
    shared = loss_of(retrieval_of(precisions, first), retrieval_of(precisions - 0.0125, first))
    assert "mAP falls by 1.25 points of at most 1.0" in refusals(shared, "int8")[0]


def test_with_four_queries_nothing_is_refused_and_with_five_a_disaster_is() -> None:
    assert refusals(losing(4, 30.0, 0), "int8") == ()
    assert len(refusals(losing(5, 30.0, 0), "int8")) == 1


def test_the_test_is_that_of_scipy() -> None:
    from scipy import stats

    rng = np.random.default_rng(3)
    differences = rng.standard_t(3, 60) + 0.2
    exact = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", alternative="greater", n_resamples=20_000, rng=rng
    )
    assert chance_of_loss(differences) == pytest.approx(exact.pvalue, abs=0.01)


def test_the_refusal_says_which_queries_it_rests_on() -> None:
    loss = losing(400, 0.0, 7, 1)
    assert (loss.lost_first_hits, loss.gained_first_hits) == (7, 1)
    (text,) = refusals(loss, "int8")
    assert "rank-1 falls by 1.50 points of at most 1.0 (400 queries; 7 lost their first hit, 1 gained one;" in text
