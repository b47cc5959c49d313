"""An approximate index for galleries that do not fit into memory: a graph of neighbours (HNSW) in one file, by usearch.

    build_index(path, gallery.chunks(), GalleryVersion(gallery.fingerprint, state))
    index = open_index(path, GalleryVersion(gallery.fingerprint, state))
    ids, scores = index.search(queries, k=10, stored=gallery.embeddings)

The index proposes items by coarse vectors, and the proposals are ranked by the stored vectors. So scores are exact, but
an item that was not proposed is missing. The file is mapped into memory, not read. It holds usearch's own format,
followed by a description of the gallery it was built from; a file that is not whole lacks the description.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from sal_runtime.arrays import Float32Array, Int64Array
from sal_runtime.engines.installed import import_onnxruntime
from sal_runtime.errors import BackendError, InputError, SalError, install
from sal_runtime.files import whole_file
from sal_runtime.ranking.core import best

Stored = Callable[[Int64Array], Float32Array]
"""Ids int64 `[n]` to the unit vectors float32 `[n, d]` that the gallery stores for them."""
IndexPrecision = Literal["f16", "i8"]
"""Precision of the vectors in an index."""

MAGIC = b"SALANN01"
"""Last bytes of every index file, after the description (JSON) and its length."""
TAIL_BYTES = len(MAGIC) + 8
OVERSAMPLING = 4
"""Proposals for each wanted hit."""


@dataclass(frozen=True)
class GalleryVersion:
    """The state of a gallery. Whatever is derived from a gallery is stamped with it, to be refused when it is stale.

    Attributes:
        fingerprint: identifies the bundle that made the embeddings.
        state: any text that differs after each change of the gallery.
    """

    fingerprint: str
    state: str


def build_index(
    path: Path,
    chunks: Iterable[tuple[Int64Array, Float32Array]],
    version: GalleryVersion,
    precision: IndexPrecision = "f16",
) -> int:
    """Write the index of a gallery and return its number of items; it replaces an older one when it is whole.

    The whole index is built in memory: with d = 128 up to 900 bytes for each item, of which 400 (f16) or 280 (i8) are
    written.

    Args:
        path: the index file.
        chunks: ids int64 `[n]`, at least 0, and unit vectors float32 `[n, d]`; each id once.
        version: the state of the gallery that the chunks come from.
        precision: of the vectors in the index.

    Raises:
        BackendError: usearch is not installed.
        InputError: there is no chunk, an id comes twice, or the vectors of two chunks differ in length.
        SalError: the file cannot be written.
    """
    index_class = _import_usearch().Index
    index = None
    for ids, vectors in chunks:
        if index is None:
            index = index_class(ndim=vectors.shape[1], metric="cos", dtype=precision)
        if vectors.shape != (len(ids), index.ndim):
            raise InputError(f"got vectors {vectors.shape} for {len(ids)} ids, expected ({len(ids)}, {index.ndim})")
        try:
            index.add(ids.astype(np.uint64), vectors)
        except RuntimeError as error:
            raise InputError(
                f"{path}: cannot index ids {ids.min()} to {ids.max()}: {error}; give each id once"
            ) from error
    if index is None:
        raise InputError(f"{path}: got nothing to index, expected at least one chunk of vectors")
    description = {**asdict(version), "precision": precision, "items": len(index), "embedding_dim": index.ndim}
    _write(path, index, description)
    return len(index)


def _write(path: Path, index: Any, description: dict[str, Any]) -> None:
    try:
        with whole_file(path) as temporary:
            index.save(temporary)
            text = json.dumps({**description, "bytes": temporary.stat().st_size}).encode()
            with temporary.open("ab") as file:
                file.write(text + len(text).to_bytes(8, "little") + MAGIC)
    except (OSError, RuntimeError) as error:  # usearch raises the latter
        raise SalError(f"{path}: cannot be written ({error})") from error


def open_index(path: Path, version: GalleryVersion) -> ApproximateIndex:
    """Map an index into memory.

    Args:
        path: the index file. Do not open files from people you do not trust: usearch does not check its graph.
        version: the state of the gallery that the index must have been built from.

    Raises:
        BackendError: usearch is not installed.
        InputError: there is no such file, it is not whole, or it belongs to another bundle or state of the gallery.
    """
    usearch = _import_usearch()
    description = _read_description(path)
    if description["fingerprint"] != version.fingerprint:
        raise InputError(
            f"index {path}: holds embeddings of bundle {description['fingerprint'][:12]}, expected "
            f"{version.fingerprint[:12]}; build it from this gallery"
        )
    if description["state"] != version.state:
        raise InputError(f"index {path}: the gallery has changed since it was built; build it again")
    try:
        index = usearch.Index(ndim=description["embedding_dim"], metric="cos", dtype=description["precision"])
        index.view(path)
    except RuntimeError as error:
        raise InputError(f"index {path}: usearch cannot read it ({error}); build it again") from error
    if len(index) != description["items"]:
        raise InputError(f"index {path}: has {len(index)} items, expected {description['items']}; build it again")
    return ApproximateIndex(index)


def _read_description(path: Path) -> dict[str, Any]:
    """The description behind usearch's own bytes."""
    if not path.is_file():
        raise InputError(f"index {path}: there is no such file; build it")
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - TAIL_BYTES))
        tail = file.read()
        length = int.from_bytes(tail[:8], "little")
        if len(tail) == TAIL_BYTES and tail.endswith(MAGIC) and length <= size - TAIL_BYTES:
            file.seek(size - TAIL_BYTES - length)
            with contextlib.suppress(ValueError):  # not JSON
                description = json.loads(file.read(length))
                if isinstance(description, dict) and description.get("bytes") == size - TAIL_BYTES - length:
                    return description
    raise InputError(f"index {path}: is not an index of sal, or not whole ({size:,} bytes); build it again")


class ApproximateIndex:
    """An index mapped into memory. Threads may share it; they take turns."""

    def __init__(self, index: Any) -> None:
        """Use `open_index`."""
        self._index = index
        self._turn = threading.Lock()  # usearch numbers the threads of each call from 0, and each has its memory

    def __len__(self) -> int:
        """Number of items."""
        return len(self._index)

    def propose(self, queries: Float32Array, count: int) -> list[Int64Array]:
        """Ids int64 near each query by the coarse vectors, nearest first; one array for each query.

        Args:
            queries: unit vectors float32 `[Q, d]`.
            count: ids wanted, at least 1. If the index has no more items, all are proposed. If it has more, a query may
                get fewer, though rarely.

        Raises:
            InputError: the queries do not fit, or the count is below 1.
        """
        if queries.ndim != 2 or queries.shape[1] != self._index.ndim or count < 1:
            raise InputError(
                f"got queries {queries.shape} and {count} wanted, expected [Q, {self._index.ndim}] and at least 1"
            )
        if len(self) == 0 or len(queries) == 0:
            return [np.empty(0, np.int64) for _ in queries]
        with self._turn:
            # the graph does not always lead to every item, so a search for all of them compares them one by one
            wants_all = count >= len(self)
            found = self._index.search(np.ascontiguousarray(queries), min(count, len(self)), exact=wants_all)
        if len(queries) == 1:
            return [found.keys.astype(np.int64)]  # usearch has another class for a single one
        return [keys[:number].astype(np.int64) for keys, number in zip(found.keys, found.counts, strict=True)]

    def search(
        self, queries: Float32Array, k: int, stored: Stored, oversampling: int = OVERSAMPLING
    ) -> tuple[Int64Array, Float32Array]:
        """The nearest of the proposed items, ranked by their stored vectors.

        Args:
            queries: unit vectors float32 `[Q, d]`.
            k: hits wanted, at least 1.
            stored: reads vectors by id; called once, with all proposed ids.
            oversampling: proposals for each hit, at least 1.

        Returns:
            Ids int64 and cosines float32, both `[Q, k]`, or narrower if some query has fewer proposals; best first,
            among equal cosines the lower id first.

        Raises:
            InputError: the queries do not fit, or k or the oversampling is below 1.
        """
        proposed = self.propose(queries, k * oversampling)
        k = min([k, *(len(ids) for ids in proposed)])
        ids = np.empty((len(queries), k), np.int64)
        scores = np.empty((len(queries), k), np.float32)
        if k and proposed:
            known = np.unique(np.concatenate(proposed))
            vectors = stored(known)
            for number, candidates in enumerate(proposed):
                cosines = vectors[np.searchsorted(known, candidates)] @ queries[number]
                scores[number : number + 1], ids[number : number + 1] = best(cosines[None], candidates[None], k)
        return ids, scores


def measure_recall(
    index: ApproximateIndex,
    queries: Float32Array,
    exact: Int64Array,
    stored: Stored,
    oversampling: int = OVERSAMPLING,
) -> float:
    """Share of the exact hits, in 0..1, that an index finds for your own gallery and queries.

    Args:
        index: the index of the gallery.
        queries: unit vectors float32 `[Q, d]`.
        exact: ids int64 `[Q, k]` of the exact hits.
        stored: reads vectors by id.
        oversampling: proposals for each hit.

    Raises:
        InputError: there is no hit to find.
    """
    if exact.size == 0:
        raise InputError(f"got exact hits {exact.shape}, expected at least one query with one hit")
    found, _ = index.search(queries, exact.shape[1], stored, oversampling)
    return sum(len(np.intersect1d(*pair)) for pair in zip(found, exact, strict=True)) / exact.size


def _import_usearch() -> Any:
    with suppress(
        ImportError
    ):  # a process that loads ONNX Runtime after usearch dies (usearch 2.26, ONNX Runtime 1.32)
        import_onnxruntime()
    try:
        import usearch.index
    except ImportError as error:
        raise BackendError(f"usearch is not installed; {install('ann')}") from error
    return usearch.index
