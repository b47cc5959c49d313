"""Exact top-k by a score that is a function of several inner products, at little more than the cost of one.

Each score has an upper bound that is one inner product (or the largest of a few) plus a constant. A chunk of the
gallery is multiplied with the bounds. The score itself is computed only for the rows whose bound is above the worst
score kept, which are a few in a hundred.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from sal_runtime.arrays import BoolArray, Float32Array, Int64Array
from sal_runtime.errors import InputError
from sal_runtime.ranking import core

CHUNK_SCORES = 2**19
"""Bounds computed at a time."""
CHUNK_ROWS = 2**14
GATHER_SHARE = 0.3
"""Up to this share of allowed rows in a chunk, copying them together is cheaper than multiplying all rows."""
CHUNKS_OF_A_THREAD = 8
"""Starting a thread for fewer takes longer than it saves."""
SCORED_ROWS = 1024
"""Rows scored at a time."""
HEAD_ROWS = 256
"""Rows of the largest bounds that are scored first, to find a bar for the others."""
PENDING = 256
"""When a thread has found so many candidates for each query (or k, if that is more), it sorts them out and raises the
bars."""
PROPOSED = 20
"""Rows proposed for each one wanted, where an index can only find the nearest vectors."""
FEWEST_PROPOSED = 1000


@dataclass(frozen=True)
class Scoring:
    """The score of gallery vectors for one query.

    Attributes:
        bounds: float32 `[B, d]`; a score is at most the largest product with them plus its offset.
        offsets: float32 `[B]`; infinite where nothing is known.
        directions: float32 `[R, d]`, whose products the score is a function of.
        score: takes products float32 `[n, R]`, which it may overwrite, and gives finite scores float32 `[n]`. Threads
            call it at once.
        nearest: unit vector float32 `[d]`; an index that can only find the nearest vectors finds those of this one.
        slope: the score changes by at most so much for each unit that a vector moves, ...
        slack: ... and by so much more, for the rounding of float32.
    """

    bounds: Float32Array
    offsets: Float32Array
    directions: Float32Array
    score: Callable[[Float32Array], Float32Array]
    nearest: Float32Array
    slope: float
    slack: float


Queries = Float32Array | Sequence[Scoring]
"""Query vectors float32 `[Q, d]`, ranked by the cosine; or the scoring of each query."""


def top_k_by_score(
    scorings: Sequence[Scoring],
    gallery: Sequence[Float32Array],
    k: int,
    allowed: BoolArray | None = None,
    *,
    chunk_rows: int = CHUNK_ROWS,
    scored_rows: int = SCORED_ROWS,
) -> tuple[Int64Array, Float32Array]:
    """The k gallery rows with the largest score for each query; exact, and safe to call from many threads.

    Args:
        scorings: of Q queries, 1 to 256.
        gallery: parts float32 `[n, d]` in order, finite; rows are numbered across them.
        k: at least 1; if fewer rows compete, all of them are returned.
        allowed: bool `[N]`, the rows that compete; None for all.
        chunk_rows: most rows bounded at a time.
        scored_rows: rows scored at a time.

    Returns:
        (rows int64 `[Q, min(k, competing rows)]`, scores float32 of the same shape), best first; among equal scores
        the lower row comes first.

    Raises:
        InputError: shapes or types do not fit, k is below 1, or numbers turn out not to be finite.
    """
    bounds = np.concatenate([scoring.bounds for scoring in scorings])
    core.check_shapes(bounds, gallery)
    k = min(k, core.check_allowed(sum(len(part) for part in gallery), k, allowed))
    if k == 0:
        return np.empty((len(scorings), 0), np.int64), np.empty((len(scorings), 0), np.float32)
    chunk_rows = min(chunk_rows, -(-CHUNK_SCORES // len(bounds)))
    chunks = list(core.cut_chunks(gallery, chunk_rows, allowed))
    waiting = iter(chunks)

    def work() -> core.Candidates:
        found = core.Candidates(len(scorings), k, PENDING * len(scorings))
        products = core.Products(bounds, chunk_rows)
        scored = [(scoring, core.Products(scoring.directions, scored_rows)) for scoring in scorings]
        for chunk in waiting:  # shared by the threads: each chunk goes to one of them, and to each in ascending order
            _rank_chunk(scored, products, chunk, k, scored_rows, found)
        return found

    threads = min(os.cpu_count() or 1, len(chunks) // CHUNKS_OF_A_THREAD)
    scores, rows = core.best_of_threads(work, threads, k)
    if scores.shape[1] < k or not np.isfinite(scores).all():
        raise InputError("the queries or the gallery hold numbers that are not finite")
    return rows, scores


def num_proposed(k: int) -> int:
    """How many of the nearest vectors are proposed for the k best."""
    return max(PROPOSED * k, FEWEST_PROPOSED)


def best_proposed(scoring: Scoring, vectors: Float32Array, k: int) -> tuple[Int64Array, Float32Array]:
    """Places int64 and scores float32, both `[min(k, n)]`, of the best of vectors float32 `[n, d]`, best first.

    Among equal scores the one that was proposed first comes first.
    """
    scores = scoring.score(vectors @ scoring.directions.T)
    places = np.argsort(-scores, kind="stable")[:k]
    return places, scores[places]


def _rank_chunk(
    scored: Sequence[tuple[Scoring, core.Products]],
    products: core.Products,
    chunk: core.Chunk,
    k: int,
    scored_rows: int,
    found: core.Candidates,
) -> None:
    picked = None
    if chunk.allowed is not None and np.count_nonzero(chunk.allowed) <= GATHER_SHARE * len(chunk.allowed):
        picked = np.flatnonzero(chunk.allowed)
    bounds = np.ascontiguousarray(products.multiply(chunk.vectors, picked).T)  # [B, n]
    first, found_here = 0, []
    for number, (scoring, multiplied) in enumerate(scored):
        upper = bounds[first]
        upper += scoring.offsets[0]
        for other in range(1, len(scoring.bounds)):
            np.maximum(upper, bounds[first + other] + scoring.offsets[other], out=upper)
        first += len(scoring.bounds)
        if chunk.allowed is not None and picked is None:
            upper[~chunk.allowed] = -np.inf
        rows = np.arange(len(upper)) if picked is None else picked
        score = partial(_scores, scoring, multiplied, chunk.vectors, scored_rows)
        above, scores, bar = _above(rows, upper, found.bar[number], max(2 * k, HEAD_ROWS), k, score)
        found.bar[number] = bar
        found_here.append((np.full(len(above), number), above, scores))
    queries, rows, scores = (np.concatenate(arrays) for arrays in zip(*found_here, strict=True))
    found.add(queries, chunk.first_row + rows, scores)


def _scores(
    scoring: Scoring, multiplied: core.Products, vectors: Float32Array, at_a_time: int, rows: Int64Array
) -> Float32Array:
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), at_a_time):
        part = slice(start, start + at_a_time)
        scores[part] = scoring.score(multiplied.multiply(vectors, rows[part]))
    return scores


def _above(
    rows: Int64Array,
    upper: Float32Array,
    bar: np.float32,
    head: int,
    k: int,
    score: Callable[[Int64Array], Float32Array],
) -> tuple[Int64Array, Float32Array, np.float32]:
    """Rows int64 and scores float32 of those that can be among the best, given a bar that these are above; and the bar.

    Without a bar (minus infinity), the `head` rows of the largest bounds are scored first, and the bar is right below
    the k-th best of them.

    Args:
        rows: int64 `[n]`.
        upper: bounds of their scores, float32 `[n]`; those of rows that do not compete are minus infinity.
        bar: only scores above it matter.
        head: at least k.
        k: rows wanted.
        score: of rows.
    """
    places = np.flatnonzero(upper > bar)
    if bar > -np.inf or len(places) <= head:
        possible = rows[places]
        scores = score(possible)
    else:
        order = np.argpartition(-upper[places], head)
        first, rest = places[order[:head]], places[order[head:]]
        scores = score(rows[first])
        bar = np.nextafter(np.partition(scores, -k)[-k], np.float32(-np.inf))
        rest = np.sort(rest[upper[rest] > bar])
        possible = rows[np.concatenate([first, rest])]
        scores = np.concatenate([scores, score(rows[rest])])
    above = scores > bar
    return possible[above], scores[above], bar
