"""Exact top-k of many queries that takes most products in integers.

Every number of a vector has a code of 8 bits, and every number of a query one of 7. Integer products of codes are
several times as fast as products of float32 and give an upper bound of each score: by the inequality of Cauchy and
Schwarz the error is at most what the lengths of the rounding errors allow. Only rows that could be among the best are
then multiplied in float32, so the answer is that of `ranking.top_k`. The codes take a quarter of the memory of the
vectors.

The graph in screen.onnx is one MatMulInteger; tests/runtime/ranking/test_screened.py builds it. Queries get seven bits
because a sum of two products of 8-bit codes overflows on processors without VNNI.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sal_runtime.arrays import BoolArray, Float32Array, Float64Array, Int64Array, UInt8Array
from sal_runtime.engines.onnx import open_session
from sal_runtime.errors import InputError
from sal_runtime.ranking import core
from sal_runtime.ranking.exact import top_k

GRAPH = "screen.onnx"
QUERY_BLOCK = 64
CHUNK_ROWS = 4096
"""Rows multiplied at a time; with 64 queries they make 1 MiB of integers."""
VECTOR_CODES, QUERY_CODES = 127, 63
"""Largest code; codes of vectors are stored with 128 added."""
GATHER_SHARE = 0.2
"""Up to this share of allowed rows in a chunk, these are copied together and multiplied in float32."""
PASSING_SHARE = 0.1
"""If more scores than this share could be among the best, the whole chunk is multiplied in float32."""
LARGEST_K_SHARE = 0.01
"""If more rows than this share are wanted, too many scores pass the screen: all rows are multiplied in float32."""
ROUNDING = 1e-7
"""Largest error of a float32 sum for each of its terms, in units of the lengths of query and vector."""


@dataclass(frozen=True)
class _CodedPart:
    """A part of a gallery and its codes.

    Attributes:
        vectors: float32 `[n, d]`.
        codes: uint8 `[n, d]`.
        scale: what a code of 1 stands for.
        length: of the longest vector that codes stand for.
        error: length of the longest difference between a vector and what its codes stand for.
    """

    vectors: Float32Array
    codes: UInt8Array
    scale: float
    length: float
    error: float


@dataclass(frozen=True)
class _CodedQueries:
    """Queries float32 `[Q, d]` and their codes int8 `[d, Q]`; scales, lengths and errors `[Q]` as in `_CodedPart`."""

    vectors: Float32Array
    codes: NDArray[np.int8]
    scales: Float64Array
    lengths: Float64Array
    errors: Float64Array


class ScreenedRanking:
    """A gallery with codes; any number of threads may rank it.

    Args:
        parts: float32 `[n, d]` each, at least one, in order; rows are numbered across them. They must not change
            afterwards.
        earlier: a ranking of the same gallery. Parts that it has already, recognised by their place in memory and
            their length, are not coded again.

    Raises:
        BackendError: ONNX Runtime is not installed.
        InputError: there is no part, shapes or types do not fit, or numbers are not finite.
    """

    def __init__(self, parts: Sequence[Float32Array], earlier: ScreenedRanking | None = None) -> None:
        if not parts:
            raise InputError("got no part of a gallery, expected at least one; it may be empty")
        core.check_shapes(parts[0], parts)
        graph = files("sal_runtime.ranking") / GRAPH
        self._session: Any = earlier._session if earlier else open_session(graph.read_bytes(), device="cpu", threads=1)
        known = {} if earlier is None else earlier._coded
        keys = [(part.ctypes.data, len(part)) for part in parts]
        missing = {key: part for key, part in zip(keys, parts, strict=True) if key not in known}
        with ThreadPoolExecutor(os.cpu_count(), "sal-codes") as pool:
            coded = dict(zip(missing, pool.map(_code_part, missing.values()), strict=True))
        # the arrays are kept with their codes, so that no other array gets their place in memory
        self._coded: dict[tuple[int, int], _CodedPart] = {key: coded.get(key) or known[key] for key in keys}
        self._parts = [self._coded[key] for key in keys]
        self._vectors = [part.vectors for part in self._parts]

    def __len__(self) -> int:
        """Number of rows."""
        return sum(map(len, self._vectors))

    def top_k(self, queries: Float32Array, k: int, allowed: BoolArray | None = None) -> tuple[Int64Array, Float32Array]:
        """As `ranking.top_k` of the same gallery; the last bit of a score may differ.

        Raises:
            InputError: shapes or types do not fit, k is below 1, or numbers are not finite.
        """
        core.check_shapes(queries, self._vectors)
        competing = core.check_allowed(len(self), k, allowed)
        if k > LARGEST_K_SHARE * competing:
            return top_k(queries, self._vectors, k, allowed)
        chunks = list(core.cut_chunks(self._vectors, CHUNK_ROWS, allowed))
        return core.rank_in_blocks(queries, k, QUERY_BLOCK, lambda block: self._rank_block(block, k, chunks))

    def _rank_block(
        self, vectors: Float32Array, k: int, chunks: Sequence[core.Chunk]
    ) -> tuple[Float32Array, Int64Array]:
        queries, waiting = _code_queries(vectors), iter(chunks)

        def work() -> core.Candidates:
            found = core.Candidates(len(vectors), k)
            products = core.Products(vectors, CHUNK_ROWS)
            for chunk in waiting:  # shared by the threads: each gets its chunks in ascending order
                part = self._parts[chunk.part]
                if not found.has_bar or not self._screen(queries, part, chunk, found):
                    _multiply(products, queries, part, chunk, found)
            return found

        return core.best_of_threads(work, min(os.cpu_count() or 1, -(-len(chunks) // 2)), k)

    def _screen(self, queries: _CodedQueries, part: _CodedPart, chunk: core.Chunk, found: core.Candidates) -> bool:
        """Add the scores above the bar to `found`; False, with nothing added, where float32 is faster."""
        mask = chunk.allowed
        if mask is not None and np.count_nonzero(mask) <= GATHER_SHARE * len(mask):
            return False
        codes = part.codes[chunk.start : chunk.start + len(chunk.vectors)]
        (products,) = self._session.run(None, {"vectors": codes, "queries": queries.codes})
        passing = products > _limits(queries, part, found.bar)
        if mask is not None:
            passing &= mask[:, None]
        places = np.flatnonzero(passing)
        if len(places) > PASSING_SHARE * passing.size:
            return False
        _add(queries, chunk, *np.divmod(places, passing.shape[1]), found)
        return True


def _multiply(
    products: core.Products, queries: _CodedQueries, part: _CodedPart, chunk: core.Chunk, found: core.Candidates
) -> None:
    """As `_screen`, with float32 products of all rows that compete."""
    picked = None if chunk.allowed is None else np.flatnonzero(chunk.allowed)
    scores = products.multiply(chunk.vectors, picked)
    # a product of many rows adds its terms up in another order than `_add` does
    margin = (2 * _rounding(queries, part)).astype(np.float32)
    if not found.has_bar:
        found.set_bar(scores)
        found.bar -= margin
    rows, numbers = np.divmod(np.flatnonzero(scores > found.bar - margin), scores.shape[1])
    _add(queries, chunk, rows if picked is None else picked[rows], numbers, found)


def _add(
    queries: _CodedQueries, chunk: core.Chunk, rows: Int64Array, numbers: Int64Array, found: core.Candidates
) -> None:
    """Add pairs of rows of a chunk and numbers of queries whose score is above the bar.

    Every score is computed here, so that equal vectors get equal scores.
    """
    scores = np.einsum("nd,nd->n", chunk.vectors[rows], queries.vectors[numbers])
    above = scores > found.bar[numbers]
    if above.any():
        found.add(numbers[above], chunk.first_row + rows[above], scores[above])


def _limits(queries: _CodedQueries, part: _CodedPart, bar: Float32Array) -> NDArray[np.int32]:
    """The product of codes `[Q]` that every row whose score is above the bar exceeds.

    With x = x' + e and q = q' + f, where codes stand for x' and q': qx = q'x' + fx' + qe <= q'x' + |f||x'| + |q||e|.
    """
    slack = queries.errors * part.length + queries.lengths * part.error + _rounding(queries, part)
    limits = np.floor((bar - slack) / (queries.scales * part.scale))
    return np.clip(limits, np.iinfo(np.int32).min, np.iinfo(np.int32).max - 1).astype(np.int32)


def _rounding(queries: _CodedQueries, part: _CodedPart) -> Float64Array:
    """Largest rounding error of a float32 score, `[Q]`."""
    error: Float64Array = queries.lengths * (ROUNDING * part.vectors.shape[1] * (part.length + part.error))
    return error


def _code_part(vectors: Float32Array) -> _CodedPart:
    largest = float(np.abs(vectors).max(initial=0.0))
    if not np.isfinite(largest):
        raise InputError("the gallery holds numbers that are not finite")
    scale = (largest or 1.0) / VECTOR_CODES
    codes = np.empty(vectors.shape, np.uint8)
    length = error = 0.0
    for start in range(0, len(vectors), CHUNK_ROWS):
        chunk = vectors[start : start + CHUNK_ROWS].astype(np.float64)
        numbers = np.rint(chunk / scale)
        codes[start : start + CHUNK_ROWS] = numbers + 128
        length = max(length, float(np.linalg.norm(scale * numbers, axis=1).max()))
        error = max(error, float(np.linalg.norm(chunk - scale * numbers, axis=1).max()))
    return _CodedPart(vectors, codes, scale, length, error)


def _code_queries(vectors: Float32Array) -> _CodedQueries:
    if not np.isfinite(vectors).all():
        raise InputError("the queries hold numbers that are not finite")
    exact = vectors.astype(np.float64)
    largest = np.abs(exact).max(axis=1, initial=0.0)
    scales = np.where(largest > 0, largest, 1.0) / QUERY_CODES
    codes = np.rint(exact / scales[:, None])
    errors = np.linalg.norm(exact - scales[:, None] * codes, axis=1)
    return _CodedQueries(
        np.ascontiguousarray(vectors),
        np.ascontiguousarray(codes.T.astype(np.int8)),
        scales,
        np.linalg.norm(exact, axis=1),
        errors,
    )
