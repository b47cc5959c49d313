"""Exact top-k on a device: the gallery stays in its memory, a graph of ONNX Runtime multiplies and picks the best.

The graph is the file top_k.onnx: the products of queries and one part of the gallery, minus infinity for rows that do
not compete, and the k best. tests/runtime/ranking/test_on_device.py builds it, because the runtime has no `onnx`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from itertools import accumulate
from typing import Any

import numpy as np

from sal_runtime.arrays import BoolArray, Float32Array, Int64Array
from sal_runtime.engines.onnx import open_session, run_on_device, to_device
from sal_runtime.errors import InputError
from sal_runtime.ranking.exact import best, check_allowed, check_shapes

GRAPH = "top_k.onnx"
QUERY_BLOCK = 256
"""Queries of one run, of which the device holds all scores of a part."""


class DeviceRanking:
    """A gallery in the memory of a device; any number of threads may rank it.

    Attributes:
        device: where it lies.

    Args:
        parts: float32 `[n, d]` each, at least one, in their order; rows are numbered across them. 32,768 rows are a
            good size: 256 queries make 32 MiB of scores. They must not change afterwards.
        device: `cuda`, or `cpu`, where `ranking.top_k` is the faster one.
        earlier: of the same gallery on the same device; parts that it has already, by their place in memory and their
            length, are not copied again.

    Raises:
        BackendError: the device cannot be had, or has no room for the gallery.
        InputError: there is no part, or shapes or types do not fit.
    """

    def __init__(self, parts: Sequence[Float32Array], device: str, earlier: DeviceRanking | None = None) -> None:
        if not parts:
            raise InputError("got no part of a gallery, expected at least one; it may be empty")
        check_shapes(parts[0], parts)
        self.device = device
        self._no_vectors = parts[0][:0]
        self._ends = list(accumulate(len(part) for part in parts))
        graph = files("sal_runtime.ranking") / GRAPH
        self._session: Any = earlier._session if earlier else open_session(graph.read_bytes(), device=device)
        there = {} if earlier is None else earlier._there
        # the arrays are kept with what lies on the device: their places in memory are not given to others then
        self._there: dict[tuple[int, int], tuple[Float32Array, Any, Any]] = {}
        for part in parts:
            key = (part.ctypes.data, len(part))
            self._there[key] = there.get(key) or (
                part,
                to_device(part, device),
                to_device(np.ones(len(part), np.bool_), device),
            )
        self._vectors, self._all = zip(*(self._there[part.ctypes.data, len(part)][1:] for part in parts), strict=True)

    def __len__(self) -> int:
        """Number of rows."""
        return self._ends[-1]

    def top_k(self, queries: Float32Array, k: int, allowed: BoolArray | None = None) -> tuple[Int64Array, Float32Array]:
        """As `ranking.top_k` of the same gallery, with the scores as the device rounds them.

        Raises:
            BackendError: the device failed.
            InputError: shapes or types do not fit, or k is below 1.
        """
        check_shapes(queries, [self._no_vectors])
        k = min(k, check_allowed(len(self), k, allowed))
        rows = np.empty((len(queries), k), np.int64)
        scores = np.empty((len(queries), k), np.float32)
        for start in range(0, len(queries) if k else 0, QUERY_BLOCK):
            block = slice(start, start + QUERY_BLOCK)
            scores[block], rows[block] = self._rank_block(queries[block], k, allowed)
        return rows, scores

    def _rank_block(self, queries: Float32Array, k: int, allowed: BoolArray | None) -> tuple[Float32Array, Int64Array]:
        """Best scores and rows; k is not above the number of rows that compete, so none of the others is among them."""
        queries_there = to_device(queries, self.device)
        scores = np.empty((len(queries), 0), np.float32)
        rows = np.empty((len(queries), 0), np.int64)
        for number, end in enumerate(self._ends):
            first = self._ends[number - 1] if number else 0
            mask = None if allowed is None else allowed[first:end]
            if first == end or (mask is not None and not mask.any()):
                continue
            inputs = {
                "queries": queries_there,
                "vectors": self._vectors[number],
                "allowed": self._all[number] if mask is None else to_device(mask, self.device),
                "k": to_device(np.array([min(k, end - first)]), "cpu"),  # ONNX Runtime reads it before it launches
            }
            new_scores, new_rows = run_on_device(self._session, inputs, self.device)
            joined = np.concatenate([scores, new_scores], axis=1), np.concatenate([rows, first + new_rows], axis=1)
            scores, rows = best(*joined, k)
        return scores, rows
