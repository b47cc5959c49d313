"""Retrieval metrics from scores and relevance: plain average precision, rank-k, standard errors, seen and unseen.

Average precision is the mean, over the relevant gallery images, of the precision at their rank, without interpolation
or trapezoids. Equal scores keep the order of the gallery, so numbers are reproducible. A query without a relevant image
has no metric; it is left out of the means and counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sal_runtime.arrays import AnyArray, BoolArray, Float64Array, Int64Array
from sal_runtime.errors import InputError

CMC_RANKS = (1, 5, 10)


@dataclass(frozen=True)
class RetrievalMetrics:
    """Means over queries, as fractions in 0..1, with their standard errors.

    Attributes:
        mAP: mean of the plain average precision.
        rank1: share of queries with a relevant image in the first place.
        rank5: the same among the first 5 images.
        rank10: the same among the first 10 images.
        standard_error: of these four, by name; sample standard deviation / sqrt(queries), 0 for one query.
        num_queries: queries with a relevant image, over which the means are taken.
        num_gallery: images ranked for each query.
        num_without_match: queries left out because no gallery image is relevant.
        seen: metrics over the queries marked as seen; None without marks, or if no such query counts.
        unseen: metrics over the other queries, likewise.
    """

    mAP: float  # noqa: N815 - the name people and the JSON contract use
    rank1: float
    rank5: float
    rank10: float
    standard_error: dict[str, float]
    num_queries: int
    num_gallery: int
    num_without_match: int
    seen: RetrievalMetrics | None = None
    unseen: RetrievalMetrics | None = None

    def to_json(self) -> dict[str, Any]:
        """The attributes by name; `seen` and `unseen` only if they are not None."""
        data: dict[str, Any] = {
            "mAP": self.mAP,
            "rank1": self.rank1,
            "rank5": self.rank5,
            "rank10": self.rank10,
            "standard_error": dict(self.standard_error),
            "num_queries": self.num_queries,
            "num_gallery": self.num_gallery,
            "num_without_match": self.num_without_match,
        }
        for name, part in (("seen", self.seen), ("unseen", self.unseen)):
            if part is not None:
                data[name] = part.to_json()
        return data


def rank_queries(scores: AnyArray, relevance: BoolArray) -> tuple[Float64Array, Int64Array]:
    """Average precision and the rank of the first relevant image, query by query.

    Args:
        scores: `[Q, N]`, higher is better; finite.
        relevance: bool `[Q, N]`.

    Returns:
        Average precision float64 `[Q]` (NaN without a relevant image) and the 1-based rank of the first relevant
        image int64 `[Q]` (0 without one).

    Raises:
        InputError: the shapes differ or a score is not finite.
    """
    scores, relevance = np.asarray(scores), np.asarray(relevance, dtype=bool)
    if scores.dtype.kind != "f":
        scores = scores.astype(np.float64)  # unsigned scores cannot be negated for sorting
    if scores.ndim != 2 or scores.shape != relevance.shape:
        raise InputError(f"scores {scores.shape} and relevance {relevance.shape}: expected the same [queries, gallery]")
    precision = np.full(len(scores), np.nan)
    first = np.zeros(len(scores), dtype=np.int64)
    for query, (row, relevant) in enumerate(zip(scores, relevance, strict=True)):
        if not np.isfinite(row).all():
            raise InputError(f"query {query}: a score is not a finite number; check the encoder and its input")
        order = np.argsort(-row, kind="stable")
        ranks = np.flatnonzero(relevant[order]) + 1  # 1-based, of the relevant images
        if len(ranks):
            precision[query] = np.mean(np.arange(1, len(ranks) + 1) / ranks)
            first[query] = ranks[0]
    return precision, first


def retrieval_metrics(scores: AnyArray, relevance: BoolArray, seen: BoolArray | None = None) -> RetrievalMetrics:
    """All metrics of a ranking.

    Args:
        scores: `[Q, N]`, higher is better; finite.
        relevance: bool `[Q, N]`.
        seen: bool `[Q]`, whether the query's category occurs in training; if given, the result has both parts.

    Raises:
        InputError: the shapes do not fit, a score is not finite, or no query has a relevant image.
    """
    precision, first = rank_queries(scores, relevance)
    return summarise(precision, first, np.asarray(scores).shape[1], seen)


def summarise(
    precision: Float64Array, first: Int64Array, num_gallery: int, seen: BoolArray | None = None
) -> RetrievalMetrics:
    """Means over queries of the output of `rank_queries`.

    Args:
        precision: average precisions, float64 `[Q]`.
        first: ranks of the first relevant images, int64 `[Q]`.
        num_gallery: images ranked for each query.
        seen: bool `[Q]`, as for `retrieval_metrics`.

    Raises:
        InputError: the lengths differ, or no query has a relevant image.
    """
    if len(precision) != len(first) or (seen is not None and len(seen) != len(first)):
        raise InputError(
            f"got {len(precision)} average precisions, {len(first)} first ranks and "
            f"{'no' if seen is None else len(seen)} marks of seen queries; expected one of each per query"
        )
    if not (first > 0).any():
        raise InputError(
            f"none of the {len(first)} queries has a relevant image among {num_gallery}: nothing to measure"
        )
    parts: dict[str, RetrievalMetrics | None] = {"seen": None, "unseen": None}
    if seen is not None:
        for name, chosen in (("seen", seen), ("unseen", ~np.asarray(seen, dtype=bool))):
            if (first[chosen] > 0).any():
                parts[name] = _means(precision[chosen], first[chosen], num_gallery)
    return _means(precision, first, num_gallery, **parts)


def _means(
    precision: Float64Array,
    first: Int64Array,
    num_gallery: int,
    seen: RetrievalMetrics | None = None,
    unseen: RetrievalMetrics | None = None,
) -> RetrievalMetrics:
    counted = first > 0
    columns = {"mAP": precision[counted]}
    columns |= {f"rank{k}": (first[counted] <= k).astype(np.float64) for k in CMC_RANKS}
    count = int(counted.sum())
    means = {name: float(values.mean()) for name, values in columns.items()}
    errors = {
        name: float(values.std(ddof=1) / np.sqrt(count)) if count > 1 else 0.0 for name, values in columns.items()
    }
    return RetrievalMetrics(
        mAP=means["mAP"],
        rank1=means["rank1"],
        rank5=means["rank5"],
        rank10=means["rank10"],
        standard_error=errors,
        num_queries=count,
        num_gallery=num_gallery,
        num_without_match=int((~counted).sum()),
        seen=seen,
        unseen=unseen,
    )


def random_metrics(num_relevant: AnyArray, num_gallery: int) -> dict[str, float]:
    """What rankings in random order reach on average: chance, beside which the metrics of a model are read.

    With R of N images relevant, the expected average precision is (H + (R - 1) / (N - 1) * (N - H)) / N, where H is the
    N-th harmonic number; the first k hold a relevant image with probability 1 - C(N - R, k) / C(N, k).

    Args:
        num_relevant: relevant images of each query, int `[Q]`, in 0..num_gallery; queries with 0 are left out.
        num_gallery: N, images ranked for each query.

    Returns:
        `mAP`, `rank1`, `rank5` and `rank10`, 0..1, means over the queries.

    Raises:
        InputError: no query has a relevant image.
    """
    relevant = np.asarray(num_relevant, dtype=np.float64)
    relevant = relevant[relevant > 0]
    if not len(relevant):
        raise InputError("no query has a relevant image: nothing to measure")
    harmonic = float((1.0 / np.arange(1, num_gallery + 1)).sum())
    precision = (harmonic + (relevant - 1) / max(1, num_gallery - 1) * (num_gallery - harmonic)) / num_gallery
    chance = {"mAP": float(precision.mean())}
    for k in CMC_RANKS:
        taken = np.arange(min(k, num_gallery))[:, None]
        missed = np.clip((num_gallery - relevant - taken) / (num_gallery - taken), 0.0, 1.0).prod(axis=0)
        chance[f"rank{k}"] = float(1.0 - missed.mean())
    return chance
