"""What both exact rankings use: chunks of a gallery, their products with queries, and the best candidates so far.

The threads of BLAS wait for each other, on a busy machine several times as long as a product takes. So a ranking runs
threads of its own, which take chunks in turn, and each multiplies in blocks so small that BLAS stays in the calling
thread. One query goes through `einsum`, which reads as fast as memory allows. Scores are only compared with the worst
score kept; the few above it are sorted out later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np

from sal_runtime.arrays import BoolArray, Float32Array, Int64Array
from sal_runtime.errors import InputError

Best = tuple[Float32Array, Int64Array]
"""Scores and rows, of one shape."""

BLOCK_PRODUCTS = 2**18
"""Multiplications in one call to BLAS; from about 2**19 on OpenBLAS starts threads."""
PENDING_CANDIDATES = 2**14
"""When a thread has found so many candidates (or k, if that is more), it sorts them out and raises the bar."""


def check_shapes(queries: Float32Array, parts: Sequence[Float32Array]) -> None:
    """Refuse queries and parts of a gallery that cannot be multiplied.

    Raises:
        InputError: one of them is not float32 `[n, d]`, or the lengths d differ.
    """
    for array in (queries, *parts):
        if array.ndim != 2 or array.shape[1] != queries.shape[1] or array.dtype != np.float32:
            shapes = ", ".join(f"{part.dtype} {part.shape}" for part in parts[:3])
            raise InputError(
                f"queries {queries.dtype} {queries.shape} and gallery {shapes}: expected float32 [Q, d] and [N, d]"
            )


def check_allowed(size: int, k: int, allowed: BoolArray | None) -> int:
    """Number of rows that compete, out of `size`.

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


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of one part of a gallery, ranked together.

    Attributes:
        vectors: float32 `[n, d]`.
        part: number of the part.
        start: place of the first vector in the part.
        first_row: row number of the first vector, counted across all parts.
        allowed: bool `[n]`, the rows that compete; None if all do.
    """

    vectors: Float32Array
    part: int
    start: int
    first_row: int
    allowed: BoolArray | None


def cut_chunks(parts: Sequence[Float32Array], chunk_rows: int, allowed: BoolArray | None) -> Iterator[Chunk]:
    """All chunks of a gallery in which some row competes, in ascending order."""
    first = 0
    for number, part in enumerate(parts):
        for start in range(0, len(part), chunk_rows):
            vectors = part[start : start + chunk_rows]
            mask = None if allowed is None else allowed[first + start : first + start + len(vectors)]
            if mask is None or mask.all():
                yield Chunk(vectors, number, start, first + start, None)
            elif mask.any():
                yield Chunk(vectors, number, start, first + start, mask)
        first += len(part)


@cache
def rows_are_alike() -> bool:
    """Whether BLAS gives a vector the same products in each row of a block.

    OpenBLAS's kernels for Haswell and Zen do not. They treat 16 columns alike, so products of 16 columns serve there,
    which take half as long again.
    """
    random = np.random.default_rng(0)
    rows = np.tile(random.standard_normal(128, dtype=np.float32), (96, 1))
    products = rows @ random.standard_normal((128, 64), dtype=np.float32)
    return bool((products == products[0]).all())


class Products:
    """Multiplies chunks of up to `chunk_rows` rows with queries float32 `[Q, d]`, in memory that is used again."""

    def __init__(self, queries: Float32Array, chunk_rows: int, block_products: int = BLOCK_PRODUCTS) -> None:
        self._queries = np.ascontiguousarray(queries.T)  # [d, Q]
        dim, count = self._queries.shape
        rows = block_products // max(1, dim * count)
        self._block = min(rows // 16 * 16 or 8, 1024) if count > 1 else 1  # BLAS computes 16 rows alike
        num_blocks = -(-chunk_rows // self._block)
        self._scores = np.empty((num_blocks, self._block, count), np.float32)
        self._vectors = np.empty((num_blocks * self._block, dim), np.float32)  # costs nothing until it is written

    def multiply(self, vectors: Float32Array, picked: Int64Array | None) -> Float32Array:
        """Scores float32 `[n, Q]` of vectors `[n, d]`, or of their picked rows; the next call overwrites them.

        The last block is padded, so that the score of a vector does not depend on its place in the gallery.
        """
        size = len(vectors) if picked is None else len(picked)
        num_blocks = -(-size // self._block)
        padded = num_blocks * self._block
        if picked is not None or size < padded or not vectors.flags.c_contiguous:
            if picked is None:
                self._vectors[:size] = vectors
            else:
                np.take(vectors, picked, axis=0, out=self._vectors[:size], mode="clip")  # other modes copy twice
            self._vectors[size:padded] = 0
            vectors = self._vectors[:padded]
        scores = self._scores[:num_blocks]
        if self._queries.shape[1] == 1:
            np.einsum("nd,d->n", vectors, self._queries[:, 0], out=scores[:, 0, 0])
        else:
            blocks = vectors.reshape(num_blocks, self._block, -1)
            if rows_are_alike():
                np.matmul(blocks, self._queries, out=scores)
            else:
                few = 16 if self._block % 16 == 0 else 8
                products = np.matmul(self._queries.T, vectors.reshape(padded // few, few, -1).transpose(0, 2, 1))
                scores.reshape(padded // few, few, -1)[:] = products.transpose(0, 2, 1)
        return scores.reshape(padded, -1)[:size]


class Candidates:
    """What one thread has found: the k best of each query so far, and candidates that are not sorted out yet.

    The chunks of a thread ascend, so a later row with the same score as the worst kept one does not enter. There are at
    most 256 queries, because a byte numbers them.

    Attributes:
        bar: float32 `[Q]`; only scores above it matter.
    """

    def __init__(self, num_queries: int, k: int, pending: int = PENDING_CANDIDATES) -> None:
        self._k = k
        self._most_pending = max(k, pending)
        self.bar = np.full(num_queries, -np.inf, np.float32)
        self._scores = np.empty((num_queries, 0), np.float32)
        self._rows = np.empty((num_queries, 0), np.int64)
        self._pending: list[tuple[Int64Array, Int64Array, Float32Array]] = []
        self._num_pending = 0

    @property
    def has_bar(self) -> bool:
        """Whether k scores of each query are known, so that lower ones do not matter."""
        return bool(self.bar[0] > -np.inf)

    def set_bar(self, scores: Float32Array) -> None:
        """Put the bar right below the k-th best of scores `[n, Q]` that will be added, if there are so many."""
        if len(scores) >= self._k:
            self.bar = np.nextafter(np.partition(scores, -self._k, axis=0)[-self._k], np.float32(-np.inf))

    def add(self, queries: Int64Array, rows: Int64Array, scores: Float32Array) -> None:
        """Add scores `[n]` above the bar, each with the number of its query and its row."""
        self._pending.append((queries, rows, scores))
        self._num_pending += len(rows)
        if self._num_pending >= self._most_pending:
            self._sort_out()

    def kept(self) -> Best:
        """The best scores and rows, both `[Q, min(k, rows added)]`, in any order."""
        self._sort_out()
        return self._scores, self._rows

    def _sort_out(self) -> None:
        if not self._pending:
            return
        queries, rows, scores = (np.concatenate(arrays) for arrays in zip(*self._pending, strict=True))
        self._pending, self._num_pending = [], 0
        by_query = np.argsort(queries.astype(np.uint8), kind="stable")  # numpy sorts bytes much faster
        counts = np.bincount(queries, minlength=len(self.bar))
        # Without a bar every query has as many; with one each has k already, and the padding loses against these.
        columns = np.arange(len(queries)) - np.repeat(np.cumsum(counts) - counts, counts)
        new_scores = np.full((len(self.bar), counts.max()), -np.inf, np.float32)
        new_rows = np.zeros(new_scores.shape, np.int64)
        new_scores[queries[by_query], columns] = scores[by_query]
        new_rows[queries[by_query], columns] = rows[by_query]
        joined = np.concatenate([self._scores, new_scores], axis=1), np.concatenate([self._rows, new_rows], axis=1)
        self._scores, self._rows = _keep(*joined, self._k)
        if self._scores.shape[1] == self._k:
            self.bar = self._scores.min(axis=1)


def rank_in_blocks(
    queries: Float32Array, k: int, block_size: int, rank_block: Callable[[Float32Array], Best]
) -> tuple[Int64Array, Float32Array]:
    """Rows and scores `[Q, k]` of all queries, from the scores and rows of `block_size` queries at a time."""
    rows = np.empty((len(queries), k), np.int64)
    scores = np.empty((len(queries), k), np.float32)
    for start in range(0, len(queries) if k else 0, block_size):
        block = slice(start, start + block_size)
        scores[block], rows[block] = rank_block(queries[block])
    return rows, scores


def best_of_threads(work: Callable[[], Candidates], threads: int, k: int) -> Best:
    """The best scores and rows of what `work` finds, called once in each thread; in this one if one is enough."""
    if threads <= 1:
        return best(*work().kept(), k)
    with ThreadPoolExecutor(threads, "sal-ranking") as pool:
        results = list(pool.map(lambda _: work().kept(), range(threads)))
    scores, rows = (np.concatenate(arrays, axis=1) for arrays in zip(*results, strict=True))
    return best(scores, rows, k)


def best(scores: Float32Array, rows: Int64Array, k: int) -> Best:
    """The k largest scores of each query and their rows, `[Q, min(k, n)]`, from scores float32 and rows int64 `[Q, n]`.

    The best comes first; among equal scores the lower row comes first.
    """
    scores, rows = _keep(scores, rows, k)
    order = np.lexsort((rows, -scores), axis=1)
    return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


def _keep(scores: Float32Array, rows: Int64Array, k: int) -> Best:
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
