"""The metrics against their definitions written out in loops, and against scikit-learn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import average_precision_score

from sal_runtime.errors import InputError
from sal_train.evaluation.metrics import rank_queries, retrieval_metrics, summarise


def naive(scores: list[float], relevant: list[bool]) -> tuple[float, int]:
    """Average precision and first rank, straight from the words of the definition."""
    ranking = sorted(range(len(scores)), key=lambda item: (-scores[item], item))
    hits, precisions, first = 0, [], 0
    for rank, item in enumerate(ranking, start=1):
        if relevant[item]:
            hits += 1
            precisions.append(hits / rank)
            first = first or rank
    return (sum(precisions) / hits if hits else float("nan")), first


shapes = st.tuples(st.integers(1, 4), st.integers(1, 30))


@st.composite
def rankings(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores from few values, so that ties are the rule, and any relevance."""
    shape = draw(shapes)
    scores = draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([-1.0, -0.5, 0.0, 0.25, 0.5, 1.0])))
    return scores, draw(hnp.arrays(np.bool_, shape))


@settings(max_examples=200, deadline=None)
@given(rankings())
def test_equals_the_definition_with_ties(ranking: tuple[np.ndarray, np.ndarray]) -> None:
    scores, relevance = ranking
    precision, first = rank_queries(scores, relevance)
    for query in range(len(scores)):
        expected, expected_first = naive(scores[query].tolist(), relevance[query].tolist())
        np.testing.assert_allclose(precision[query], expected, rtol=1e-12)
        assert first[query] == expected_first


def test_equals_scikit_learn_without_ties() -> None:
    generator = np.random.default_rng(3)
    scores = generator.permutation(20 * 300).reshape(20, 300).astype(np.float64)
    relevance = generator.random((20, 300)) < 0.1
    expected = [average_precision_score(*row) for row in zip(relevance, scores, strict=True)]
    np.testing.assert_allclose(rank_queries(scores, relevance)[0], expected, rtol=1e-12)


def test_by_hand() -> None:
    # Ranked: relevant, not, relevant -> (1/1 + 2/3) / 2; not, relevant -> 1/2.
    scores = np.array([[0.9, 0.5, 0.1], [0.2, 0.8, -1.0]], dtype=np.float32)
    relevance = np.array([[True, False, True], [True, False, False]])
    precision, first = rank_queries(scores, relevance)
    np.testing.assert_allclose(precision, [5 / 6, 1 / 2])
    assert first.tolist() == [1, 2]
    result = retrieval_metrics(scores, relevance, seen=np.array([True, False]))
    assert result.mAP == pytest.approx((5 / 6 + 1 / 2) / 2)
    assert (result.rank1, result.rank5, result.rank10) == (0.5, 1.0, 1.0)
    # Sample standard deviation of two values a, b is |a - b| / sqrt 2; over sqrt 2 queries.
    assert result.standard_error["mAP"] == pytest.approx((5 / 6 - 1 / 2) / 2)
    assert result.seen is not None
    assert result.unseen is not None
    assert result.seen.mAP == pytest.approx(5 / 6)
    assert result.unseen.mAP == pytest.approx(1 / 2)
    assert (result.seen.num_queries, result.num_queries, result.num_gallery) == (1, 2, 3)


def test_query_without_match_is_left_out_and_counted() -> None:
    scores = np.array([[1.0, 0.0], [1.0, 0.0]])
    result = retrieval_metrics(scores, np.array([[False, False], [False, True]]), seen=np.array([True, False]))
    assert (result.mAP, result.num_queries, result.num_without_match) == (0.5, 1, 1)
    assert result.seen is None
    assert "seen" not in result.to_json()
    assert result.to_json()["unseen"]["mAP"] == 0.5


def test_unsigned_scores_are_ranked_downwards() -> None:
    scores = np.array([[0, 3, 1]], dtype=np.uint8)
    assert rank_queries(scores, np.array([[False, True, False]]))[0] == 1.0


def test_json_has_the_keys_of_the_contract() -> None:
    text = json.dumps(retrieval_metrics(np.eye(3), np.eye(3, dtype=bool), np.array([True, True, False])).to_json())
    data = json.loads(text)
    for part in (data, data["seen"], data["unseen"]):
        assert {"mAP", "rank1", "rank5", "rank10", "num_queries", "num_gallery", "standard_error"} <= part.keys()
    assert data["mAP"] == 1.0


@pytest.mark.parametrize(
    ("scores", "relevance", "message"),
    [
        (np.zeros((1, 2)), np.zeros((1, 3), bool), "expected the same"),
        (np.zeros(2), np.zeros(2, bool), "expected the same"),
        (np.array([[np.nan, 1.0]]), np.ones((1, 2), bool), "not a finite number"),
        (np.zeros((2, 2)), np.zeros((2, 2), bool), "none of the 2 queries"),
        (np.zeros((1, 0)), np.zeros((1, 0), bool), "none of the 1 queries"),
    ],
)
def test_refuses(scores: np.ndarray, relevance: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        retrieval_metrics(scores, relevance)


def test_summary_refuses_lengths_that_differ() -> None:
    with pytest.raises(InputError, match="expected one of each"):
        summarise(np.ones(2), np.ones(2, dtype=np.int64), 5, seen=np.ones(3, bool))
