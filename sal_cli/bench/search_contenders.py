"""The contenders of `sal bench search`: lower bounds of exact ranking, our own ranking, and other libraries."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sal_runtime.arrays import BoolArray, Float32Array, Int64Array
from sal_runtime.engines.installed import installed_version
from sal_runtime.errors import install
from sal_runtime.gallery.nearest import SCREENED_QUERIES
from sal_runtime.ranking.approximate import GalleryVersion, build_index, open_index
from sal_runtime.ranking.exact import top_k
from sal_runtime.ranking.screened import ScreenedRanking

PART_ROWS = 32_768
"""Rows in a part of the gallery, as many as a gallery keeps together in memory."""
SHARES = (0.1, 0.5, 0.9)
"""Shares of the rows that filters let through."""
GROUPS = 1000
"""Number of groups of similar vectors, like people who look alike; else all vectors are about equally far apart."""
SPREAD = 0.8
"""Length of a vector's difference from the middle of its group, which has the length 1."""
BLAS_ROWS, SMALL_ROWS = 16_384, 32
"""Rows of one product: for the first BLAS starts threads of its own, for the second it stays in the calling thread."""
CHUNK_ROWS = 2048
"""Rows per work item of a thread of ours."""
READ, GEMM, FAISS = "read", "GEMM", "faiss"


@dataclass(frozen=True)
class SearchContender:
    """A way to rank the gallery, or a part of that work that bounds it.

    Attributes:
        name: says what it does.
        library: name and version of the library that does it.
        run: takes queries float32 `[Q, d]`; returns rows int64 `[Q, k]` unless it is a bound.
        kind: `exact`, `approximate`, or `bound`, which does not rank.
        allowed: rows that compete, bool `[N]`; None lets all compete.
        baseline: READ, GEMM or FAISS if others are compared with it.
        is_own: whether sal ranks this way.
    """

    name: str
    library: str
    run: Callable[[Float32Array], Any]
    kind: str = "exact"
    allowed: BoolArray | None = None
    baseline: str | None = None
    is_own: bool = False


def made_up_vectors(rng: np.random.Generator, count: int, dimension: int, part_rows: int = PART_ROWS) -> Float32Array:
    """Unit vectors float32 `[count, dimension]` in `GROUPS` groups, in random order."""
    middles = rng.standard_normal((GROUPS, dimension), dtype=np.float32)
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    vectors = np.empty((count, dimension), np.float32)
    for start in range(0, count, part_rows):
        part = vectors[start : start + part_rows]
        rng.standard_normal(out=part, dtype=np.float32)
        part *= SPREAD / dimension**0.5
        part += middles[rng.integers(0, GROUPS, len(part))]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def bounds(
    gallery: Float32Array, *, blas_rows: int = BLAS_ROWS, chunk_rows: int = CHUNK_ROWS
) -> Iterator[SearchContender]:
    """Reading all vectors, and multiplying them with the queries, each in several ways.

    Args:
        gallery: unit vectors float32 `[N, d]`.
        blas_rows: rows of one product of BLAS with threads of its own.
        chunk_rows: rows per work item of our threads.
    """
    library, threads = f"numpy {np.__version__}", os.cpu_count() or 1
    numbers = gallery.reshape(-1)
    yield SearchContender("read: BLAS dot", library, lambda _: np.dot(numbers, numbers), "bound", baseline=READ)
    pieces = np.array_split(numbers, threads)
    for name, reduce in (("max", np.maximum.reduce), ("sum", np.add.reduce)):

        def read(_: Float32Array, reduce: Callable[[Any], object] = reduce) -> None:
            _in_threads(threads, reduce, pieces)

        yield SearchContender(f"read: {name}, {threads} threads", library, read, "bound", baseline=READ)
    whole = partial(_multiply, gallery, blas_rows)
    yield SearchContender("GEMM: BLAS threads", library, whole, "bound", baseline=GEMM)
    in_blocks = partial(_multiply_in_blocks, gallery, chunk_rows, threads)
    yield SearchContender(f"GEMM: small, {threads} threads", library, in_blocks, "bound", baseline=GEMM)


def _in_threads(threads: int, work: Callable[[Any], object], tasks: Sequence[Any]) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, tasks))


def _multiply(gallery: Float32Array, blas_rows: int, queries: Float32Array) -> None:
    """Compute all products, into memory that is used again."""
    transposed = np.ascontiguousarray(queries.T)
    scores = np.empty((blas_rows, len(queries)), np.float32)
    for start in range(0, len(gallery), blas_rows):
        chunk = gallery[start : start + blas_rows]
        np.matmul(chunk, transposed, out=scores[: len(chunk)])


def _multiply_in_blocks(gallery: Float32Array, chunk_rows: int, threads: int, queries: Float32Array) -> None:
    """Compute all products in threads of ours, in products too small for BLAS to start its own."""
    transposed = np.ascontiguousarray(queries.T)
    starts = iter(range(0, len(gallery), chunk_rows))

    def work(_: int) -> None:
        scores = np.empty((chunk_rows // SMALL_ROWS, SMALL_ROWS, len(queries)), np.float32)
        for start in starts:
            chunk = gallery[start : start + chunk_rows]
            blocks, rest = divmod(len(chunk), SMALL_ROWS)
            whole = chunk[: len(chunk) - rest].reshape(blocks, SMALL_ROWS, -1)
            np.matmul(whole, transposed, out=scores[:blocks])
            if rest:
                np.matmul(chunk[-rest:], transposed)

    _in_threads(threads, work, range(threads))


def own_contenders(parts: Sequence[Float32Array], k: int, rng: np.random.Generator) -> Iterator[SearchContender]:
    """The ranking of `Gallery.nearest`, for all rows and for random shares of them; codes are made beforehand.

    Args:
        parts: the gallery, unit vectors float32 `[n, d]` in each part.
        k: number of hits.
        rng: draws the rows that filters let through.
    """
    screened = ScreenedRanking(parts)
    num_rows = sum(map(len, parts))
    masks = {f"sal, {share:.0%} allowed": rng.random(num_rows) < share for share in SHARES}
    for name, allowed in {"sal": None, **masks}.items():

        def run(queries: Float32Array, allowed: BoolArray | None = allowed) -> Int64Array:
            if len(queries) >= SCREENED_QUERIES:
                return screened.top_k(queries, k, allowed)[0]
            return top_k(queries, parts, k, allowed)[0]

        runtime = installed_version("onnxruntime") or installed_version("onnxruntime-gpu")
        library = f"numpy {np.__version__}, ONNX Runtime {runtime}"
        yield SearchContender(name, library, run, allowed=allowed, is_own=True)
    yield SearchContender(
        "sal, without codes", f"numpy {np.__version__}", lambda queries: top_k(queries, parts, k)[0], is_own=True
    )


def peer_contenders(gallery: Float32Array, k: int) -> tuple[list[SearchContender], list[str]]:
    """Exact search by faiss and usearch; and a line for each library that is not installed."""
    contenders: list[SearchContender] = []
    notes: list[str] = []
    for name, make in (("faiss", _faiss), ("usearch", _usearch)):
        try:
            contenders.append(make(gallery, k))
        except ImportError:
            notes.append(f"not measured: {name} is not installed; {install('bench')}")
    return contenders, notes


def _faiss(gallery: Float32Array, k: int) -> SearchContender:
    import faiss

    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery)

    def run(queries: Float32Array) -> Int64Array:
        # PyTorch may share this number of OpenMP threads, and its results depend on it: restore the number at once
        before = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(os.cpu_count() or 1)
        try:
            rows: Int64Array = index.search(queries, k)[1]
        finally:
            faiss.omp_set_num_threads(before)
        return rows

    return SearchContender("faiss IndexFlatIP", f"faiss {faiss.__version__}", run, baseline=FAISS)


def _usearch(gallery: Float32Array, k: int) -> SearchContender:
    import usearch
    from usearch.index import search

    def run(queries: Float32Array) -> Int64Array:
        keys: NDArray[Any] = np.atleast_2d(search(gallery, queries, k, "ip", exact=True).keys)
        return keys.astype(np.int64)

    return SearchContender("usearch exact", f"usearch {usearch.__version__}", run)


def approximate_contender(gallery: Float32Array, parts: Sequence[Float32Array], k: int, path: Path) -> SearchContender:
    """The approximate index, whose proposals are ranked by the vectors themselves.

    Args:
        gallery: unit vectors float32 `[N, d]`.
        parts: the same vectors in parts.
        k: number of hits.
        path: of the index file to build.

    Raises:
        BackendError: usearch is not installed.
    """
    stamp = GalleryVersion("made up", str(len(gallery)))
    firsts = np.cumsum([0, *map(len, parts[:-1])])
    build_index(path, ((first + np.arange(len(part)), part) for first, part in zip(firsts, parts, strict=True)), stamp)
    index = open_index(path, stamp)

    def run(queries: Float32Array) -> Int64Array:
        return index.search(queries, k, gallery.__getitem__)[0]

    library = f"usearch {installed_version('usearch')}"
    return SearchContender("approximate index", library, run, "approximate", is_own=True)
