"""Exact top-k by inner product: chunks of the gallery against all queries, with the best k so far carried along.

The threads of BLAS wait for each other, and on a busy machine several times as long as a product takes. So threads of
this module take chunks in turn, and each multiplies in blocks so small that BLAS stays in the calling thread; one query
goes through `einsum`, which reads as fast as memory gives. Scores are only compared with the worst score kept; what
beats it is rare and sorted out later.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from sal_runtime.arrays import BoolArray, Float32Array, Int64Array
from sal_runtime.errors import InputError

Gallery = Float32Array | Sequence[Float32Array]

QUERY_BLOCK = 64
"""Queries that are ranked together; at most 256, so that a byte numbers them."""
CHUNK_SCORES = 2**17
"""Of one thread at a time: 512 KiB, which stay in its cache."""
CHUNK_ROWS = 2**14
"""At most; with few queries a chunk would be long otherwise, and the threads finish far apart."""
BLOCK_PRODUCTS = 2**18
"""Of one call to BLAS: more than twice as many and OpenBLAS starts threads."""
KEPT_SCORES = 2**16
"""Queries times k; more queries are ranked in several turns."""
PENDING_CANDIDATES = 2**14
"""Or k, where that is more: then they are sorted out, and the bar is raised."""
GATHER_SHARE = (0.15, 0.5)
"""Of allowed rows in a chunk: up to here it is cheaper to copy these together than to multiply all. For one query,
whose products cost little, and for `QUERY_BLOCK`; in between it grows with the number of queries."""


def top_k(
    queries: Float32Array, gallery: Gallery, k: int, allowed: BoolArray | None = None
) -> tuple[Int64Array, Float32Array]:
    """The k nearest gallery rows of each query by inner product, which for unit vectors is the cosine.

    Exact, and safe to call from many threads. Beside the result it takes up to 16 MiB for each core (with d = 128) and
    64 bytes times k; the gallery is never copied as a whole.

    Args:
        queries: float32 `[Q, d]`, finite.
        gallery: float32 `[N, d]`, finite; or parts of it in their order, with rows numbered across them.
        k: at least 1; where fewer rows compete, all of them are returned.
        allowed: bool `[N]`, the rows that compete; None for all.

    Returns:
        (rows int64 `[Q, min(k, competing rows)]`, scores float32 of the same shape), best first, the lower row first
        among equal scores.

    Raises:
        InputError: shapes or types do not fit, k is below 1, or numbers are seen not to be finite.
    """
    parts = [gallery] if isinstance(gallery, np.ndarray) else list(gallery)
    check_shapes(queries, parts)
    k = min(k, check_allowed(sum(len(part) for part in parts), k, allowed))
    rows = np.empty((len(queries), k), np.int64)
    scores = np.empty((len(queries), k), np.float32)
    step = min(QUERY_BLOCK, max(1, KEPT_SCORES // max(k, 1)))
    for start in range(0, len(queries) if k else 0, step):
        block = slice(start, start + step)
        found = _rank_block(queries[block], parts, k, allowed)
        if found[0].shape[1] < k:  # nothing is above, or below, what is no number
            raise InputError("the queries or the gallery hold numbers that are not finite")
        scores[block], rows[block] = found
    return rows, scores


def check_shapes(queries: Float32Array, parts: Sequence[Float32Array]) -> None:
    """Refuse queries and parts of a gallery that cannot be multiplied.

    Raises:
        InputError: not all of them are float32 with two axes, the second of one length.
    """
    for array in (queries, *parts):
        if array.ndim != 2 or array.shape[1] != queries.shape[1] or array.dtype != np.float32:
            shapes = ", ".join(f"{part.dtype} {part.shape}" for part in parts[:3])
            raise InputError(
                f"queries {queries.dtype} {queries.shape} and gallery {shapes}: expected float32 [Q, d] and [N, d]"
            )


def check_allowed(size: int, k: int, allowed: BoolArray | None) -> int:
    """How many of `size` rows compete.

    Raises:
        InputError: k is below 1, or `allowed` is not bool `[size]`.
    """
    if k < 1:
        raise InputError(f"k is {k}, expected at least 1")
    if allowed is None:
        return size
    if allowed.shape != (size,) or allowed.dtype != np.bool_:
        raise InputError(f"allowed {allowed.dtype} {allowed.shape}: expected bool ({size},), one for each gallery row")
    return int(np.count_nonzero(allowed))


def best(scores: Float32Array, rows: Int64Array, k: int) -> tuple[Float32Array, Int64Array]:
    """The k largest of each query, best first; among equal scores the one with the lower row.

    Args:
        scores: float32 `[Q, n]`.
        rows: int64 `[Q, n]`, what the scores are of.
        k: at least 1.

    Returns:
        Scores and rows, both `[Q, min(k, n)]`.
    """
    scores, rows = _keep(scores, rows, k)
    order = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


def _keep(scores: Float32Array, rows: Int64Array, k: int) -> tuple[Float32Array, Int64Array]:
    """As `best`, in any order."""
    excess = scores.shape[1] - k
    if excess <= 0:
        return scores, rows
    worst = np.partition(scores, excess, axis=1)[:, excess, None]  # the k-th largest of each query
    kept = scores >= worst
    counts = kept.sum(axis=1)
    for query in np.flatnonzero(counts > k):  # several have the worst score: the lower rows stay
        tied = np.flatnonzero(scores[query] == worst[query])
        places = len(tied) - (counts[query] - k)
        kept[query, tied[np.argpartition(rows[query, tied], places)[places:]]] = False
    columns = np.nonzero(kept)[1].reshape(-1, k)
    return np.take_along_axis(scores, columns, 1), np.take_along_axis(rows, columns, 1)


def _rank_block(
    queries: Float32Array, parts: Sequence[Float32Array], k: int, allowed: BoolArray | None
) -> tuple[Float32Array, Int64Array]:
    """Best scores and rows of a few queries, by as many threads as are worth it."""
    chunk_rows = min(CHUNK_ROWS, -(-CHUNK_SCORES // len(queries)))
    chunks = list(_chunks(parts, chunk_rows, allowed))
    waiting = iter(chunks)

    def work() -> tuple[Float32Array, Int64Array]:
        found = Candidates(len(queries), k)
        products = Products(queries, chunk_rows)
        for chunk in waiting:  # threads share it: each chunk goes to one of them, and to each in ascending order
            _rank_chunk(products, chunk, found)
        return found.kept()

    threads = min(os.cpu_count() or 1, len(chunks) // 2)  # to start one for less takes longer than it saves
    if threads <= 1:
        return best(*work(), k)
    with ThreadPoolExecutor(threads, "sal-ranking") as pool:
        futures = [pool.submit(work) for _ in range(threads)]
        results = [future.result() for future in futures]
    scores, rows = (np.concatenate(arrays, axis=1) for arrays in zip(*results, strict=True))
    return best(scores, rows, k)


@dataclass(frozen=True)
class Chunk:
    """Rows of one part that are multiplied together; `allowed` is None where all of them compete."""

    vectors: Float32Array
    first_row: int
    allowed: BoolArray | None


def _chunks(parts: Sequence[Float32Array], chunk_rows: int, allowed: BoolArray | None) -> Iterator[Chunk]:
    """All chunks with a row that competes."""
    first = 0
    for part in parts:
        for start in range(0, len(part), chunk_rows):
            vectors = part[start : start + chunk_rows]
            mask = None if allowed is None else allowed[first + start : first + start + len(vectors)]
            if mask is None or mask.all():
                yield Chunk(vectors, first + start, None)
            elif mask.any():
                yield Chunk(vectors, first + start, mask)
        first += len(part)


def _rank_chunk(products: Products, chunk: Chunk, found: Candidates) -> None:
    vectors, mask = chunk.vectors, chunk.allowed
    picked = None
    if mask is not None and np.count_nonzero(mask) <= products.gather_share * len(mask):
        picked, mask = np.flatnonzero(mask), None
    scores = products.of(vectors, picked)
    if not found.has_bar:
        found.set_bar(scores if mask is None else scores[mask])
    above = scores > found.bar
    if mask is not None:
        above &= mask[:, None]
    places = np.flatnonzero(above)
    if len(places):
        rows, queries = np.divmod(places, scores.shape[1])
        found.add(queries, chunk.first_row + (rows if picked is None else picked[rows]), scores.ravel()[places])


class Products:
    """Inner products of chunks with the same queries, in memory that is used again."""

    def __init__(self, queries: Float32Array, chunk_rows: int) -> None:
        self._queries = np.ascontiguousarray(queries.T)  # [d, Q]
        dim, count = self._queries.shape
        products = BLOCK_PRODUCTS // max(1, dim * count)
        self._block = min(products // 16 * 16 or 8, 1024) if count > 1 else 1  # BLAS computes 16 rows alike
        num_blocks = -(-chunk_rows // self._block)
        self._scores = np.empty((num_blocks, self._block, count), np.float32)
        self._vectors = np.empty((num_blocks * self._block, dim), np.float32)  # costs nothing until it is written
        low, high = GATHER_SHARE
        self.gather_share = low + (high - low) * (count - 1) / (QUERY_BLOCK - 1)

    def of(self, vectors: Float32Array, picked: Int64Array | None) -> Float32Array:
        """Scores `[n, Q]` of vectors `[n, d]`, or of those of their rows that are picked; the next call overwrites it.

        A last block is filled up, so that the score of a row does not depend on where in the gallery it lies.
        """
        size = len(vectors) if picked is None else len(picked)
        num_blocks = -(-size // self._block)
        whole = num_blocks * self._block
        if picked is not None or size < whole or not vectors.flags.c_contiguous:
            if picked is None:
                self._vectors[:size] = vectors
            else:
                np.take(vectors, picked, axis=0, out=self._vectors[:size], mode="clip")  # other modes copy twice
            self._vectors[size:whole] = 0
            vectors = self._vectors[:whole]
        scores = self._scores[:num_blocks]
        if self._queries.shape[1] == 1:
            np.einsum("nd,d->n", vectors, self._queries[:, 0], out=scores[:, 0, 0])
        else:
            np.matmul(vectors.reshape(num_blocks, self._block, -1), self._queries, out=scores)
        return scores.reshape(whole, -1)[:size]


class Candidates:
    """What one thread has found: the k best of each query as far as they are sorted out, and what came after.

    The thread's chunks ascend, so a later row with the same score as the worst kept one does not enter.

    Attributes:
        bar: float32 `[Q]`, what a score must be above to matter.
    """

    def __init__(self, num_queries: int, k: int) -> None:
        self._k = k
        self.bar = np.full(num_queries, -np.inf, np.float32)
        self._scores = np.empty((num_queries, 0), np.float32)
        self._rows = np.empty((num_queries, 0), np.int64)
        self._pending: list[tuple[Int64Array, Int64Array, Float32Array]] = []
        self._num_pending = 0

    @property
    def has_bar(self) -> bool:
        """Whether k scores of each query are known, so that others need not matter."""
        return bool(self.bar[0] > -np.inf)

    def set_bar(self, scores: Float32Array) -> None:
        """Put the bar right below the k-th best of scores `[n, Q]` that come next, if they are so many."""
        if len(scores) >= self._k:
            self.bar = np.nextafter(np.partition(scores, -self._k, axis=0)[-self._k], np.float32(-np.inf))

    def add(self, queries: Int64Array, rows: Int64Array, scores: Float32Array) -> None:
        """Scores `[n]` above the bar, with the query and the row of each."""
        self._pending.append((queries, rows, scores))
        self._num_pending += len(rows)
        if self._num_pending >= max(self._k, PENDING_CANDIDATES):
            self._sort_out()

    def kept(self) -> tuple[Float32Array, Int64Array]:
        """The best scores and rows `[Q, min(k, rows seen)]`, in any order."""
        self._sort_out()
        return self._scores, self._rows

    def _sort_out(self) -> None:
        if not self._pending:
            return
        queries, rows, scores = (np.concatenate(arrays) for arrays in zip(*self._pending, strict=True))
        self._pending, self._num_pending = [], 0
        by_query = np.argsort(queries.astype(np.uint8), kind="stable")  # of bytes, which numpy sorts much faster
        counts = np.bincount(queries, minlength=len(self.bar))
        # Without a bar every query has as many; with one each has k, against which what is filled up here loses.
        columns = np.arange(len(queries)) - np.repeat(np.cumsum(counts) - counts, counts)
        new_scores = np.full((len(self.bar), counts.max()), -np.inf, np.float32)
        new_rows = np.zeros(new_scores.shape, np.int64)
        new_scores[queries[by_query], columns] = scores[by_query]
        new_rows[queries[by_query], columns] = rows[by_query]
        joined = np.concatenate([self._scores, new_scores], axis=1), np.concatenate([self._rows, new_rows], axis=1)
        self._scores, self._rows = _keep(*joined, self._k)
        if self._scores.shape[1] == self._k:
            self.bar = self._scores.min(axis=1)
