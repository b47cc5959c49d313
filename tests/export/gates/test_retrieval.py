"""The retrieval gate: metrics by hand, and how much a reduced precision may lose."""

from __future__ import annotations

import numpy as np
import pytest
from rich.console import Console

from sal_export.gates import retrieval
from sal_export.gates.retrieval import Retrieval, Task, check_retrieval, measure_retrieval
from sal_runtime.errors import ParityError
from sal_train.evaluation.protocol import Protocol

QUIET = Console(stderr=True, quiet=True)


def test_retrieval_is_that_of_the_protocol() -> None:
    """Two categories, four images, by hand: AP of query 0 is (1/1 + 2/3) / 2, of query 1 is (1/1 + 2/2) / 2."""
    protocol = Protocol(
        name="squares",
        image_paths=(),
        attributes=np.zeros((4, 1), np.uint8),
        categories=np.array([0, 1, 0, 1]),
        queries=np.eye(2, dtype=np.uint8),
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
    blind = measure_retrieval("blind", lambda batch: np.tile([[0.0, 1.0]], (len(batch), 1)), task, QUIET)
    assert (blind.rank1, blind.first_hits) == (0.5, (0,))  # equal scores: the order of the gallery


@pytest.mark.parametrize(
    ("precision", "mean_ap", "rank1", "passes"),
    [
        ("fp16", 0.2955, 0.4955, True),
        ("fp16", 0.2945, 0.5, False),
        ("int8", 0.2905, 0.4905, True),
        ("int8", 0.2895, 0.5, False),
        ("int8", 0.3, 0.4895, False),
        ("int8", 0.35, 0.55, True),
    ],
)
def test_what_may_be_lost(precision: str, mean_ap: float, rank1: float, passes: bool) -> None:
    reference = Retrieval(0.3, 0.5, 484, 16_483, "people", ())
    measured = Retrieval(mean_ap, rank1, 484, 16_483, "people", ())
    assert retrieval.MAX_LOSS == {"fp16": 0.005, "int8": 0.01}
    if passes:
        check_retrieval("encoder", precision, reference, measured)
    else:
        with pytest.raises(ParityError, match="may be lost"):
            check_retrieval("encoder", precision, reference, measured)


def test_the_refusal_says_which_queries_it_rests_on() -> None:
    reference = Retrieval(0.3, 0.5, 100, 1_000, "people", range(50))
    measured = Retrieval(0.3, 0.44, 100, 1_000, "people", range(7, 51))
    words = r"rank-1 6\.00 \(of 100 queries 7 lost their first hit, 1 gained one\)"
    with pytest.raises(ParityError, match=words):
        check_retrieval("encoder", "int8", reference, measured)
