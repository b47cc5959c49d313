"""Where the errors of a search by unseen descriptions come from.

    python -m benchmarks.training.error_budget --runs runs/peta-embed-seed1 runs/peta-embed-seed2 \
        --data DATA --out benchmarks/results/training/error_budget_peta.json

The runs are of one data set, best of several seeds. For the categories that each run held out, and for the unseen
categories of the test split, the result has:

first_hits      in wrong first hits, how often each group of attributes differs from the query, beside how often it
                differs in an image of another category taken at random
known           metrics if the gallery's value of a group, or of several, were known without error: images that differ
                from the query in it are ranked last
queries         metrics with the description as the query, with the mean direction of half of the true images, and with
                one person's images; all search the same remaining images
distances       squared distances in the common space: description to the centroid of its images, images to their
                centroid, description to the nearest centroid of another category
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.training.ranked_run import RankedRun, measure_runs, rank_run
from sal_runtime.arrays import BoolArray, Float32Array, Int64Array
from sal_runtime.query.schema import AttributeSchema
from sal_train.checkpoint import load_run
from sal_train.datasets import SearchDataset
from sal_train.evaluation.metrics import rank_queries, summarise

Numbers = dict[str, float]

FAMILIES: Mapping[str, frozenset[str]] = {
    title: frozenset(names.split())
    for title, names in {
        "colours of clothes": "upper-colour lower-colour",
        "all colours": "upper-colour lower-colour hair-colour footwear-colour",
        "gender and age": "gender age",
        "hair": "hair hair-colour",
        "things carried": "backpack bag handbag messenger-bag plastic-bag luggage suitcase shopping-trolley baby-buggy "
        "folder umbrella carrying-other carrying-nothing",
        "accessories": "hat muffler sunglasses headphone hair-band kerchief no-accessory",
        "footwear": "footwear-colour leather-shoes sandals shoes sneakers boots stockings",
    }.items()
}
"""Groups of a schema that belong together, of both data sets."""


def error_budget(ranked: RankedRun, schema: AttributeSchema) -> dict[str, Any]:
    """All parts for the unseen queries of one run; the top of this file describes them."""
    unseen = np.flatnonzero(~ranked.seen)
    scores, relevance = ranked.scores[unseen], ranked.relevance[unseen]
    differs = differing_groups(ranked, schema, unseen)  # [Q, N, G]
    return {
        "cosine": _metrics(scores, relevance),
        "first_hits": first_hits(scores, relevance, differs, schema),
        "known": known_groups(scores, relevance, differs, schema),
        "queries": query_kinds(ranked, unseen),
        "distances": distances(ranked, unseen),
    }


def differing_groups(ranked: RankedRun, schema: AttributeSchema, queries: Int64Array) -> BoolArray:
    """Whether an image's label differs from a query in a group, bool [Q, N, G]."""
    wanted, labels = ranked.vectors[queries], ranked.vectors[ranked.categories]
    parts = [(wanted[:, None, group.bits] != labels[None, :, group.bits]).any(axis=2) for group in schema.groups]
    return np.stack(parts, axis=2)


def first_hits(
    scores: Float32Array, relevance: BoolArray, differs: BoolArray, schema: AttributeSchema
) -> dict[str, Any]:
    """How wrong first hits differ from their query."""
    queries = np.arange(len(scores))
    first = scores.argmax(axis=1)
    wrong = ~relevance[queries, first]
    in_hit = differs[queries, first][wrong]  # [wrong, G]
    # the other category is drawn by its images, as a hit at random would
    at_random = np.stack([differs[query][~relevance[query]].mean(axis=0) for query in queries[wrong]])
    groups = {
        group.name: {"differs": float(in_hit[:, number].mean()), "at_random": float(at_random[:, number].mean())}
        for number, group in enumerate(schema.groups)
    }
    count = in_hit.sum(axis=1)
    return {
        "share_wrong": float(wrong.mean()),
        "groups_differing": {
            name: float((chosen).mean()) for name, chosen in (("1", count == 1), ("2", count == 2), ("3+", count > 2))
        },
        "mean_groups_differing": float(count.mean()),
        "groups": groups,
    }


def known_groups(
    scores: Float32Array, relevance: BoolArray, differs: BoolArray, schema: AttributeSchema
) -> dict[str, Numbers]:
    """Metrics with one group known, or a family of groups; images that differ in it come last."""
    names = [group.name for group in schema.groups]
    chosen = {name: [number] for number, name in enumerate(names)}
    chosen |= {
        title: [number for number, name in enumerate(names) if name in family] for title, family in FAMILIES.items()
    }
    return {
        title: _metrics(np.where(differs[:, :, numbers].any(axis=2), scores - 4.0, scores), relevance)
        for title, numbers in chosen.items()
        if numbers
    }


def query_kinds(ranked: RankedRun, queries: Int64Array) -> dict[str, Any]:
    """Metrics of descriptions beside those of queries that are made of true images."""
    rng = np.random.default_rng(0)
    halves: list[tuple[int, Int64Array]] = []
    people: list[tuple[int, Int64Array]] = []
    for query in queries:
        own = np.flatnonzero(ranked.categories == query)
        if len(own) > 1:
            halves.append((query, rng.permutation(own)[: len(own) // 2]))
        names = [ranked.split.identities[row] for row in ranked.rows[own]]
        if len(set(names)) > 1 and "" not in names:
            people.append((query, own[np.array([name == names[0] for name in names])]))
    return {
        "half_of_the_images": _beside_descriptions(ranked, halves),
        "one_person": _beside_descriptions(ranked, people) if people else None,
    }


def _beside_descriptions(ranked: RankedRun, examples: Sequence[tuple[int, Int64Array]]) -> dict[str, Any]:
    """Each query searches everything but its examples: once as the description, once as the mean of the examples."""
    measured: dict[str, list[tuple[float, int]]] = {"description": [], "images": [], "both": []}
    for query, rows in examples:
        rest = np.setdiff1d(np.arange(len(ranked.categories)), rows)
        mean = _unit(ranked.embeddings[rows].mean(axis=0))
        relevant = (ranked.categories[rest] == query)[None]
        for name, direction in (
            ("description", ranked.queries[query]),
            ("images", mean),
            ("both", ranked.queries[query] + mean),
        ):
            precision, first = rank_queries((ranked.embeddings[rest] @ direction)[None], relevant)
            measured[name].append((float(precision[0]), int(first[0])))
    return {"num_queries": len(examples)} | {
        name: {
            "mAP": statistics.mean(precision for precision, _ in values),
            "rank1": statistics.mean(float(first == 1) for _, first in values),
        }
        for name, values in measured.items()
    }


def distances(ranked: RankedRun, queries: Int64Array) -> Numbers:
    """Mean squared distances between unit vectors and centroids, over categories.

    The mean squared distance of a query to its images is the sum of the first two.
    """
    centroids = np.stack(
        [ranked.embeddings[ranked.categories == number].mean(axis=0) for number in range(len(ranked.queries))]
    )
    images = (ranked.embeddings - centroids[ranked.categories]) ** 2
    spread = np.bincount(ranked.categories, images.sum(axis=1)) / np.bincount(ranked.categories)
    to_all = ((ranked.queries[queries][:, None] - centroids[None]) ** 2).sum(axis=2)  # [Q, K]
    own = to_all[np.arange(len(queries)), queries].copy()
    to_all[np.arange(len(queries)), queries] = np.inf
    return {
        "description_to_own_centroid": float(own.mean()),
        "images_to_own_centroid": float(spread[queries].mean()),
        "description_to_nearest_other_centroid": float(to_all.min(axis=1).mean()),
        "own_centroid_is_nearest": float((own < to_all.min(axis=1)).mean()),
    }


def _unit(vector: Float32Array) -> Float32Array:
    return np.asarray(vector / np.linalg.norm(vector))


def _metrics(scores: Float32Array, relevance: BoolArray) -> Numbers:
    precision, first = rank_queries(scores, relevance)
    result = summarise(precision, first, scores.shape[1])
    return {"mAP": result.mAP, "rank1": result.rank1}


def mean_of(budgets: Sequence[Any]) -> Any:
    """The mean over runs of every number in results of the same form; None where a run has None."""
    first = budgets[0]
    if isinstance(first, dict):
        return {key: mean_of([budget[key] for budget in budgets]) for key in first}
    return None if any(value is None for value in budgets) else statistics.mean(budgets)


def budgets_of_runs(folders: Iterable[Path], dataset: SearchDataset, cache: Path) -> dict[str, Any]:
    """The error budget of each protocol, the mean over the runs."""
    parts: dict[str, list[dict[str, Any]]] = {"held_out": [], "test": []}
    for folder in folders:
        run = load_run(folder)
        for name, budgets in parts.items():
            if name == "test" or run.config.data.validation_fraction > 0:
                ranked = rank_run(run, dataset, cache, torch.device("cpu"), held_out=name == "held_out")
                budgets.append(error_budget(ranked, dataset.schema))
    return {name: mean_of(budgets) for name, budgets in parts.items() if budgets}


if __name__ == "__main__":
    sys.exit(measure_runs("benchmarks.training.error_budget", __doc__, budgets_of_runs))
