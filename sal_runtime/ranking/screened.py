"""Exact top-k of many queries, most of whose products are taken in integers.

Every number of a vector also has a code of 8 bits, and every number of a query one of 7. Products of codes are several
times as fast as those of float32 and say what a score can be at most: by the inequality of Cauchy and Schwarz it is
off by no more than the lengths of what the codes leave out allow. Only what could be among the best is then multiplied
in float32, so the answer is that of `ranking.top_k`. The codes take a quarter of the memory of the vectors.

The graph is the file screen.onnx, one MatMulInteger; tests/runtime/ranking/test_screened.py builds it. Queries get
seven bits, because sums of two products of eight overflow on processors without VNNI.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sal_runtime.arrays import BoolArray, Float32Array, Int64Array
from sal_runtime.engines.onnx import open_session
from sal_runtime.errors import InputError
from sal_runtime.ranking.exact import Candidates, Chunk, Products, best, check_allowed, check_shapes, top_k

GRAPH = "screen.onnx"
QUERY_BLOCK = 64
CHUNK_ROWS = 4096
"""Of one product: 64 queries make 1 MiB of integers."""
VECTOR_CODES, QUERY_CODES = 127, 63
"""Largest code; those of vectors are kept with 128 added."""
GATHER_SHARE = 0.2
"""Of allowed rows in a chunk: up to here these are copied together and multiplied in float32."""
PASSING_SHARE = 0.1
"""Of scores that may be among the best: above, all of the chunk is multiplied in float32."""
LARGEST_K_SHARE = 0.01
"""Of all rows: where more are wanted, too many pass."""
ROUNDING = 1e-7
"""More than a sum of float32 is off for each of its terms, in units of the lengths of query and vector."""


@dataclass(frozen=True)
class _CodedPart:
    """A part of a gallery and its codes.

    Attributes:
        vectors: float32 `[n, d]`.
        codes: uint8 `[n, d]`.
        scale: what a code stands for.
        length: of the longest vector that codes stand for.
        error: length of what the codes of a vector leave out, at most.
    """

    vectors: Float32Array
    codes: NDArray[np.uint8]
    scale: float
    length: float
    error: float


@dataclass(frozen=True)
class _CodedQueries:
    """Queries with their codes int8 `[d, Q]`, what a code of each stands for, and lengths as of `_CodedPart`, `[Q]`."""

    vectors: Float32Array
    codes: NDArray[np.int8]
    scales: NDArray[np.float64]
    lengths: NDArray[np.float64]
    errors: NDArray[np.float64]


class ScreenedRanking:
    """A gallery with codes; any number of threads may rank it.

    Args:
        parts: float32 `[n, d]` each, at least one, in their order; rows are numbered across them. They must not change
            afterwards.
        earlier: of the same gallery; parts that it has already, by their place in memory and their length, are not
            coded again.

    Raises:
        BackendError: ONNX Runtime is not installed.
        InputError: there is no part, shapes or types do not fit, or numbers are not finite.
    """

    def __init__(self, parts: Sequence[Float32Array], earlier: ScreenedRanking | None = None) -> None:
        if not parts:
            raise InputError("got no part of a gallery, expected at least one; it may be empty")
        check_shapes(parts[0], parts)
        graph = files("sal_runtime.ranking") / GRAPH
        self._session: Any = earlier._session if earlier else open_session(graph.read_bytes(), device="cpu", threads=1)
        there = {} if earlier is None else earlier._there
        keys = [(part.ctypes.data, len(part)) for part in parts]
        missing = {key: part for key, part in zip(keys, parts, strict=True) if key not in there}
        with ThreadPoolExecutor(os.cpu_count(), "sal-codes") as pool:
            coded = dict(zip(missing, pool.map(_code_part, missing.values()), strict=True))
        # the arrays are kept with their codes: their places in memory are not given to others then
        self._there: dict[tuple[int, int], _CodedPart] = {key: coded.get(key) or there[key] for key in keys}
        self._parts = [self._there[key] for key in keys]
        self._firsts = [0, *accumulate(len(part) for part in parts)]

    def __len__(self) -> int:
        """Number of rows."""
        return self._firsts[-1]

    def top_k(self, queries: Float32Array, k: int, allowed: BoolArray | None = None) -> tuple[Int64Array, Float32Array]:
        """As `ranking.top_k` of the same gallery; the last bit of a score may differ.

        Raises:
            InputError: shapes or types do not fit, or k is below 1.
        """
        parts = [part.vectors for part in self._parts]
        check_shapes(queries, parts)
        competing = check_allowed(len(self), k, allowed)
        if k > LARGEST_K_SHARE * competing:
            return top_k(queries, parts, k, allowed)
        rows = np.empty((len(queries), k), np.int64)
        scores = np.empty((len(queries), k), np.float32)
        chunks = list(self._chunks(allowed))
        for start in range(0, len(queries), QUERY_BLOCK):
            block = slice(start, start + QUERY_BLOCK)
            scores[block], rows[block] = self._rank_block(_code_queries(queries[block]), k, chunks)
        return rows, scores

    def _chunks(self, allowed: BoolArray | None) -> list[tuple[_CodedPart, int, Chunk]]:
        """Rows to multiply together, with their part and where in it they begin, if any of them competes."""
        found = []
        for part, first in zip(self._parts, self._firsts, strict=False):
            for start in range(0, len(part.vectors), CHUNK_ROWS):
                vectors = part.vectors[start : start + CHUNK_ROWS]
                mask = None if allowed is None else allowed[first + start : first + start + len(vectors)]
                if mask is None or mask.any():
                    found.append((part, start, Chunk(vectors, first + start, mask)))
        return found

    def _rank_block(
        self, queries: _CodedQueries, k: int, chunks: Sequence[tuple[_CodedPart, int, Chunk]]
    ) -> tuple[Float32Array, Int64Array]:
        waiting = iter(chunks)

        def work(_: int) -> tuple[Float32Array, Int64Array]:
            found = Candidates(len(queries.vectors), k)
            products = Products(queries.vectors, CHUNK_ROWS)
            for part, start, chunk in waiting:  # threads share it: to each they come in ascending order
                if not found.has_bar or not self._screen(queries, part, start, chunk, found):
                    _multiply(products, queries, part, chunk, found)
            return found.kept()

        threads = min(os.cpu_count() or 1, -(-len(chunks) // 2))
        with ThreadPoolExecutor(threads, "sal-ranking") as pool:
            results = list(pool.map(work, range(threads)))
        scores, rows = (np.concatenate(arrays, axis=1) for arrays in zip(*results, strict=True))
        return best(scores, rows, k)

    def _screen(self, queries: _CodedQueries, part: _CodedPart, start: int, chunk: Chunk, found: Candidates) -> bool:
        """Add what is above the bar to what was found; False, and nothing added, where float32 is the faster way."""
        mask = chunk.allowed
        if mask is not None and np.count_nonzero(mask) <= GATHER_SHARE * len(mask):
            return False
        codes = part.codes[start : start + len(chunk.vectors)]
        (products,) = self._session.run(None, {"vectors": codes, "queries": queries.codes})
        passing = products > _limits(queries, part, found.bar)
        if mask is not None:
            passing &= mask[:, None]
        places = np.flatnonzero(passing)
        if len(places) > PASSING_SHARE * passing.size:
            return False
        _add(queries, chunk, *np.divmod(places, passing.shape[1]), found)
        return True


def _multiply(products: Products, queries: _CodedQueries, part: _CodedPart, chunk: Chunk, found: Candidates) -> None:
    """As `_screen`, with the products of all rows that compete in float32."""
    picked = None if chunk.allowed is None else np.flatnonzero(chunk.allowed)
    scores = products.of(chunk.vectors, picked)
    # of many products at a time, which are added up in another order than those of `_add`
    margin = (2 * _rounding(queries, part)).astype(np.float32)
    if not found.has_bar:
        found.set_bar(scores)
        found.bar -= margin
    rows, numbers = np.divmod(np.flatnonzero(scores > found.bar - margin), scores.shape[1])
    _add(queries, chunk, rows if picked is None else picked[rows], numbers, found)


def _add(queries: _CodedQueries, chunk: Chunk, rows: Int64Array, numbers: Int64Array, found: Candidates) -> None:
    """Add pairs of rows of a chunk and numbers of queries, if their score is above the bar.

    Every score comes from here, so that equal vectors get equal ones.
    """
    scores = np.einsum("nd,nd->n", chunk.vectors[rows], queries.vectors[numbers])
    above = scores > found.bar[numbers]
    if above.any():
        found.add(numbers[above], chunk.first_row + rows[above], scores[above])


def _limits(queries: _CodedQueries, part: _CodedPart, bar: Float32Array) -> NDArray[np.int32]:
    """The product of codes `[Q]` that must be exceeded by every row whose score is above the bar.

    With x = x' + e and q = q' + f, where codes stand for x' and q': qx = q'x' + fx' + qe <= q'x' + |f||x'| + |q||e|.
    """
    slack = queries.errors * part.length + queries.lengths * part.error + _rounding(queries, part)
    limits = np.floor((bar - slack) / (queries.scales * part.scale))
    return np.clip(limits, np.iinfo(np.int32).min, np.iinfo(np.int32).max - 1).astype(np.int32)


def _rounding(queries: _CodedQueries, part: _CodedPart) -> NDArray[np.float64]:
    """What float32 may change of a score at most, `[Q]`."""
    changed: NDArray[np.float64] = queries.lengths * (ROUNDING * part.vectors.shape[1] * (part.length + part.error))
    return changed


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
