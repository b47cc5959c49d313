"""Exact top-k by inner product, on all cores."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sal_runtime.arrays import BoolArray, Float32Array, Int64Array
from sal_runtime.errors import InputError
from sal_runtime.ranking import core

GATHER_SHARE = (0.15, 0.5)
"""Up to this share of allowed rows in a chunk, copying them together is cheaper than multiplying all rows. The first is
for one query, whose products cost little, the second for 64; in between the share grows with the number of queries."""


@dataclass(frozen=True)
class Sizes:
    """How much is ranked at a time. The result does not depend on it; time and memory do.

    Attributes:
        queries: ranked together, at most 256.
        kept_scores: queries times k; more queries are ranked in several turns.
        chunk_scores: scores of a chunk: 512 KiB, which stay in the cache of a core.
        chunk_rows: most rows of a chunk; with few queries chunks would be long, and the threads finish far apart.
        block_products: multiplications in one call to BLAS.
        pending_candidates: candidates after which a thread sorts them out.
    """

    queries: int = 64
    kept_scores: int = 2**16
    chunk_scores: int = 2**17
    chunk_rows: int = 2**14
    block_products: int = core.BLOCK_PRODUCTS
    pending_candidates: int = core.PENDING_CANDIDATES


SIZES = Sizes()


def top_k(
    queries: Float32Array,
    gallery: Float32Array | Sequence[Float32Array],
    k: int,
    allowed: BoolArray | None = None,
    *,
    sizes: Sizes = SIZES,
) -> tuple[Int64Array, Float32Array]:
    """The k nearest gallery rows of each query by inner product, which is the cosine of unit vectors.

    Exact, and safe to call from many threads. Needs up to 16 MiB for each core (with d = 128) and 64 bytes times k
    besides the result, and never copies the whole gallery.

    Args:
        queries: float32 `[Q, d]`, finite.
        gallery: float32 `[N, d]`, finite; or its parts in order, with rows numbered across them.
        k: at least 1; if fewer rows compete, all of them are returned.
        allowed: bool `[N]`, the rows that compete; None for all.
        sizes: how much is ranked at a time.

    Returns:
        (rows int64 `[Q, min(k, competing rows)]`, scores float32 of the same shape), best first; among equal scores
        the lower row comes first.

    Raises:
        InputError: shapes or types do not fit, k is below 1, or numbers turn out not to be finite.
    """
    parts = [gallery] if isinstance(gallery, np.ndarray) else list(gallery)
    core.check_shapes(queries, parts)
    k = min(k, core.check_allowed(sum(len(part) for part in parts), k, allowed))
    block_size = min(sizes.queries, max(1, sizes.kept_scores // max(k, 1)))
    return core.rank_in_blocks(queries, k, block_size, lambda block: _rank_block(block, parts, k, allowed, sizes))


def _rank_block(
    queries: Float32Array, parts: Sequence[Float32Array], k: int, allowed: BoolArray | None, sizes: Sizes
) -> tuple[Float32Array, Int64Array]:
    """The k best scores and rows of a few queries."""
    chunk_rows = min(sizes.chunk_rows, -(-sizes.chunk_scores // len(queries)))
    chunks = list(core.cut_chunks(parts, chunk_rows, allowed))
    low, high = GATHER_SHARE
    gather_share = low + (high - low) * (len(queries) - 1) / (SIZES.queries - 1)
    waiting = iter(chunks)

    def work() -> core.Candidates:
        found = core.Candidates(len(queries), k, sizes.pending_candidates)
        products = core.Products(queries, chunk_rows, sizes.block_products)
        for chunk in waiting:  # shared by the threads: each chunk goes to one of them, and to each in ascending order
            _rank_chunk(products, chunk, gather_share, found)
        return found

    threads = min(os.cpu_count() or 1, len(chunks) // 2)  # starting one for less takes longer than it saves
    scores, rows = core.best_of_threads(work, threads, k)
    if scores.shape[1] < k:  # NaN is neither above nor below the bar
        raise InputError("the queries or the gallery hold numbers that are not finite")
    return scores, rows


def _rank_chunk(products: core.Products, chunk: core.Chunk, gather_share: float, found: core.Candidates) -> None:
    mask, picked = chunk.allowed, None
    if mask is not None and np.count_nonzero(mask) <= gather_share * len(mask):
        picked, mask = np.flatnonzero(mask), None
    scores = products.multiply(chunk.vectors, picked)
    if not found.has_bar:
        found.set_bar(scores if mask is None else scores[mask])
    above = scores > found.bar
    if mask is not None:
        above &= mask[:, None]
    places = np.flatnonzero(above)
    if len(places):
        rows, queries = np.divmod(places, scores.shape[1])
        found.add(queries, chunk.first_row + (rows if picked is None else picked[rows]), scores.ravel()[places])
