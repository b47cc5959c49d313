"""The error budget of a search whose answers are known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.training.error_budget import distances, error_budget, mean_of
from benchmarks.training.ranked_run import RankedRun
from sal_train.datasets.splits import Split
from tests.train.tiny_training import SCHEMA

# hat, gender, red, green, blue
VECTORS = np.array([[0, 0, 1, 0, 0], [1, 0, 1, 0, 0], [1, 1, 0, 0, 1]], dtype=np.uint8)
AXES = np.eye(3, dtype=np.float32)


def ranked(queries: np.ndarray, embeddings: np.ndarray, categories: list[int]) -> RankedRun:
    number = np.array(categories)
    names = tuple(f"person {row}" for row in range(len(number)))
    split = Split(tuple(), VECTORS[number], number, names)
    seen = np.zeros(len(VECTORS), dtype=bool)
    rows, queries = np.arange(len(number)), queries.astype(np.float32)
    return RankedRun(split, rows, embeddings, embeddings, VECTORS, queries, number, seen, queries @ embeddings.T)


def test_each_part_counts_what_it_says() -> None:
    """The bare-headed man's description finds the man with a hat; the two others are found."""
    images = np.concatenate([AXES, AXES])
    run = ranked(AXES[[1, 1, 2]], images, [0, 1, 2, 0, 1, 2])
    budget = error_budget(run, SCHEMA)
    assert budget["cosine"]["rank1"] == pytest.approx(2 / 3)
    hits = budget["first_hits"]
    assert hits["share_wrong"] == pytest.approx(1 / 3)
    assert hits["groups_differing"] == {"1": 1.0, "2": 0.0, "3+": 0.0}
    assert hits["groups"]["hat"] == {"differs": 1.0, "at_random": 1.0}
    assert hits["groups"]["gender"] == {"differs": 0.0, "at_random": 0.5}
    assert budget["known"]["hat"]["rank1"] == 1.0
    assert budget["known"]["gender"]["rank1"] == pytest.approx(2 / 3)
    assert budget["known"]["all colours"]["mAP"] == budget["known"]["upper-colour"]["mAP"]
    halves = budget["queries"]["half_of_the_images"]
    assert halves["num_queries"] == 3
    assert halves["description"]["rank1"] == pytest.approx(2 / 3)
    assert halves["images"] == {"mAP": 1.0, "rank1": 1.0}
    assert budget["queries"]["one_person"]["images"]["mAP"] == 1.0


def test_distances_add_up_to_those_of_queries_and_images() -> None:
    rng = np.random.default_rng(3)
    points = rng.normal(size=(12, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    categories = [0, 1, 2] * 3
    run = ranked(points[:3], points[3:].astype(np.float32), categories)
    found = distances(run, np.arange(3))
    direct = np.mean(
        [((points[query] - run.embeddings[run.categories == query]) ** 2).sum(axis=1).mean() for query in range(3)]
    )
    assert found["description_to_own_centroid"] + found["images_to_own_centroid"] == pytest.approx(direct, rel=1e-5)
    assert 0 <= found["own_centroid_is_nearest"] <= 1


def test_the_mean_of_budgets_goes_into_their_parts() -> None:
    assert mean_of([{"a": 1.0, "b": {"c": 2}, "d": None}, {"a": 2.0, "b": {"c": 4}, "d": None}]) == {
        "a": 1.5,
        "b": {"c": 3},
        "d": None,
    }
