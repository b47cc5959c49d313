"""What `sal bench search` measures: what bounds exact ranking, our own ranking, and what others take."""

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
from sal_runtime.gallery.nearest import SCREENED_QUERIES
from sal_runtime.ranking.approximate import GalleryVersion, build_index, open_index
from sal_runtime.ranking.exact import top_k
from sal_runtime.ranking.screened import ScreenedRanking

PART_ROWS = 32_768
"""Of the parts that a gallery keeps in memory."""
SHARES = (0.1, 0.5, 0.9)
"""Of rows that filters let through."""
GROUPS = 1000
"""Of similar vectors, as people who look alike are; without any, nearness means little in many dimensions."""
SPREAD = 0.8
"""Length of a vector's difference to the middle of its group, which has the length 1."""
BLAS_ROWS, SMALL_ROWS = 16_384, 32
"""Of one product: BLAS starts threads of its own, or stays in the thread that calls it."""
CHUNK_ROWS = 2048
"""That one of our threads multiplies before it takes the next ones."""
READ, GEMM, FAISS = "read", "GEMM", "faiss"


@dataclass(frozen=True)
class SearchContender:
    """Something that is timed.

    Attributes:
        name: what it does.
        engine: library and version.
        run: takes queries float32 `[Q, d]`; gives rows int64 `[Q, k]` where it ranks.
        kind: `exact`, `approximate`, or `bound`, which is no ranking.
        allowed: bool `[N]`, rows that compete; None for all.
        baseline: READ, GEMM or FAISS if others are compared with it.
        is_own: whether it is ours.
    """

    name: str
    engine: str
    run: Callable[[Float32Array], Any]
    kind: str = "exact"
    allowed: BoolArray | None = None
    baseline: str | None = None
    is_own: bool = False


def made_up_vectors(rng: np.random.Generator, count: int, dimension: int) -> Float32Array:
    """Unit vectors float32 `[count, dimension]` in `GROUPS` groups, in random order."""
    middles = rng.standard_normal((GROUPS, dimension), dtype=np.float32)
    middles /= np.linalg.norm(middles, axis=1, keepdims=True)
    vectors = np.empty((count, dimension), np.float32)
    for start in range(0, count, PART_ROWS):
        part = vectors[start : start + PART_ROWS]
        rng.standard_normal(out=part, dtype=np.float32)
        part *= SPREAD / dimension**0.5
        part += middles[rng.integers(0, GROUPS, len(part))]
        part /= np.linalg.norm(part, axis=1, keepdims=True)
    return vectors


def bounds(gallery: Float32Array) -> Iterator[SearchContender]:
    """Reading all vectors, and multiplying them with the queries, each in several ways."""
    engine, threads = f"numpy {np.__version__}", os.cpu_count() or 1
    numbers = gallery.reshape(-1)
    yield SearchContender("read: BLAS dot", engine, lambda _: np.dot(numbers, numbers), "bound", baseline=READ)
    pieces = np.array_split(numbers, threads)
    for name, reduce in (("max", np.maximum.reduce), ("sum", np.add.reduce)):

        def read(_: Float32Array, reduce: Callable[[Any], object] = reduce) -> None:
            _in_threads(threads, reduce, pieces)

        yield SearchContender(f"read: {name}, {threads} threads", engine, read, "bound", baseline=READ)
    yield SearchContender("GEMM: BLAS threads", engine, partial(_multiply, gallery), "bound", baseline=GEMM)
    in_blocks = partial(_multiply_in_blocks, gallery, threads)
    yield SearchContender(f"GEMM: small, {threads} threads", engine, in_blocks, "bound", baseline=GEMM)


def _in_threads(threads: int, work: Callable[[Any], object], tasks: Sequence[Any]) -> None:
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, tasks))


def _multiply(gallery: Float32Array, queries: Float32Array) -> None:
    """All products, into memory that is used again."""
    transposed = np.ascontiguousarray(queries.T)
    scores = np.empty((BLAS_ROWS, len(queries)), np.float32)
    for start in range(0, len(gallery), BLAS_ROWS):
        chunk = gallery[start : start + BLAS_ROWS]
        np.matmul(chunk, transposed, out=scores[: len(chunk)])


def _multiply_in_blocks(gallery: Float32Array, threads: int, queries: Float32Array) -> None:
    """The same without threads of BLAS."""
    transposed = np.ascontiguousarray(queries.T)
    starts = iter(range(0, len(gallery), CHUNK_ROWS))

    def work(_: int) -> None:
        scores = np.empty((CHUNK_ROWS // SMALL_ROWS, SMALL_ROWS, len(queries)), np.float32)
        for start in starts:
            chunk = gallery[start : start + CHUNK_ROWS]
            blocks, rest = divmod(len(chunk), SMALL_ROWS)
            whole = chunk[: len(chunk) - rest].reshape(blocks, SMALL_ROWS, -1)
            np.matmul(whole, transposed, out=scores[:blocks])
            if rest:
                np.matmul(chunk[-rest:], transposed)

    _in_threads(threads, work, range(threads))


def own_contenders(gallery: Float32Array, k: int, rng: np.random.Generator) -> Iterator[SearchContender]:
    """What `Gallery.nearest` does, for all rows and for random shares of them; codes are there before it is timed."""
    parts = [gallery[start : start + PART_ROWS] for start in range(0, len(gallery), PART_ROWS)]
    screened = ScreenedRanking(parts)
    masks = {f"sal, {share:.0%} allowed": rng.random(len(gallery)) < share for share in SHARES}
    for name, allowed in {"sal": None, **masks}.items():

        def run(queries: Float32Array, allowed: BoolArray | None = allowed) -> Int64Array:
            if len(queries) >= SCREENED_QUERIES:
                return screened.top_k(queries, k, allowed)[0]
            return top_k(queries, parts, k, allowed)[0]

        runtime = installed_version("onnxruntime") or installed_version("onnxruntime-gpu")
        engine = f"numpy {np.__version__}, ONNX Runtime {runtime}"
        yield SearchContender(name, engine, run, allowed=allowed, is_own=True)
    yield SearchContender(
        "sal, without codes", f"numpy {np.__version__}", lambda queries: top_k(queries, parts, k)[0], is_own=True
    )


def peer_contenders(gallery: Float32Array, k: int) -> tuple[list[SearchContender], list[str]]:
    """Exact search by faiss and usearch; and a line for each that is not installed."""
    found: list[SearchContender] = []
    notes: list[str] = []
    for name, make in (("faiss", _faiss), ("usearch", _usearch)):
        try:
            found.append(make(gallery, k))
        except ImportError:
            notes.append(f'not measured: {name} is not installed; pip install "sal-person-search[bench]"')
    return found, notes


def _faiss(gallery: Float32Array, k: int) -> SearchContender:
    import faiss

    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery)

    def run(queries: Float32Array) -> Int64Array:
        # the number of OpenMP threads may be shared with PyTorch, whose results depend on it: put back at once
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


def approximate_contender(gallery: Float32Array, k: int, path: Path) -> SearchContender:
    """The approximate index, whose proposals are ranked by the vectors themselves.

    Args:
        gallery: unit vectors float32 `[N, d]`.
        k: hits wanted.
        path: of the file to build.

    Raises:
        BackendError: usearch is not installed.
    """
    stamp = GalleryVersion("made up", str(len(gallery)))
    rows = np.arange(len(gallery))
    starts = range(0, len(gallery), PART_ROWS)
    build_index(
        path, ((rows[start : start + PART_ROWS], gallery[start : start + PART_ROWS]) for start in starts), stamp
    )
    index = open_index(path, stamp)

    def run(queries: Float32Array) -> Int64Array:
        return index.search(queries, k, gallery.__getitem__)[0]

    engine = f"usearch {installed_version('usearch')}"
    return SearchContender("approximate index", engine, run, "approximate", is_own=True)
