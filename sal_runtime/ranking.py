"""Exact top-k by cosine: chunks of the gallery against all queries, with the best k so far carried along."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sal_runtime.errors import InputError

Float32Array = NDArray[np.float32]
IntArray = NDArray[np.int64]

CHUNK_ROWS = 16_384


def top_k(
    queries: Float32Array, gallery: Any, k: int, allowed: NDArray[np.bool_] | None = None
) -> tuple[IntArray, Float32Array]:
    """The k nearest gallery rows of each query by inner product, which for unit vectors is the cosine.

    Args:
        queries: float32 `[Q, d]`.
        gallery: float32 `[N, d]`.
        allowed: interim.
        k: at least 1; where N is smaller, N hits are returned.

    Returns:
        (indices int64 `[Q, min(k, N)]`, scores float32 of the same shape), best first, the lower index first among
        equal scores.

    Raises:
        InputError: shapes do not fit or k is below 1.
    """
    if not isinstance(gallery, np.ndarray):
        if any(part.shape[1:] != queries.shape[1:] for part in gallery):
            raise InputError("shapes")
        gallery = np.concatenate([np.empty((0, queries.shape[1]), np.float32), *gallery])
    if allowed is not None:
        rows = np.flatnonzero(allowed)
        found, best_scores = top_k(queries, gallery[rows], k)
        return rows[found], best_scores
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise InputError(f"queries {queries.shape} and gallery {gallery.shape}: expected [Q, d] and [N, d]")
    if k < 1:
        raise InputError(f"k is {k}, expected at least 1")
    scores = np.empty((len(queries), 0), dtype=np.float32)
    indices = np.empty((len(queries), 0), dtype=np.int64)
    for start in range(0, len(gallery), CHUNK_ROWS):
        chunk = gallery[start : start + CHUNK_ROWS]
        found = queries @ chunk.T  # [Q, chunk]
        if scores.shape[1] == k and not (found > scores[:, -1:]).any():
            continue  # nothing beats the worst kept one; an equal score has a higher index
        rows = np.broadcast_to(np.arange(start, start + len(chunk)), found.shape)
        scores, indices = best(np.concatenate([scores, found], axis=1), np.concatenate([indices, rows], axis=1), k)
    return indices, scores


def best(scores: Float32Array, indices: IntArray, k: int) -> tuple[Float32Array, IntArray]:
    """The k largest of each row, best first; among equal scores the one with the lower index."""
    count = scores.shape[1]
    k = min(k, count)
    if k < count:
        threshold = np.partition(scores, count - k, axis=1)[:, count - k]  # the k-th largest of each row
        candidates = scores >= threshold[:, None]
        if candidates.sum() == k * len(scores):
            columns = np.nonzero(candidates)[1].reshape(len(scores), k)
            scores, indices = np.take_along_axis(scores, columns, 1), np.take_along_axis(indices, columns, 1)
    order = np.lexsort((indices, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(indices, order, 1)
