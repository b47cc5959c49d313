"""Exact top-k on a device. Experimental: it has not run on a GPU yet, only on the CPU by the same graph.

The gallery stays in the memory of the device. The graph in top_k.onnx multiplies queries with one part of the gallery,
sets rows that do not compete to minus infinity, and picks the k best. tests/runtime/ranking/test_on_device.py builds
it, because the runtime does not depend on `onnx`.
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
from sal_runtime.ranking import core

GRAPH = "top_k.onnx"
QUERY_BLOCK = 256
"""Queries in one run; the device holds all their scores of a part."""


class DeviceRanking:
    """A gallery in the memory of a device; any number of threads may rank it.

    Args:
        parts: float32 `[n, d]` each, at least one, in order; rows are numbered across them. 32,768 rows are a good
            size: 256 queries make 32 MiB of scores. They must not change afterwards.
        device: `cuda`; or `cpu`, where `ranking.top_k` is faster.
        earlier: a ranking of the same gallery on the same device. Parts that it has already, recognised by their
            place in memory and their length, are not copied again.
        query_block: queries in one run.

    Raises:
        BackendError: the device is not available, or has no room for the gallery.
        InputError: there is no part, or shapes or types do not fit.
    """

    def __init__(
        self,
        parts: Sequence[Float32Array],
        device: str,
        earlier: DeviceRanking | None = None,
        query_block: int = QUERY_BLOCK,
    ) -> None:
        if not parts:
            raise InputError("got no part of a gallery, expected at least one; it may be empty")
        core.check_shapes(parts[0], parts)
        self.device = device
        self._query_block = query_block
        self._no_vectors = parts[0][:0]
        self._ends = [0, *accumulate(len(part) for part in parts)]
        graph = files("sal_runtime.ranking") / GRAPH
        self._session: Any = earlier._session if earlier else open_session(graph.read_bytes(), device=device)
        known = {} if earlier is None else earlier._copies
        # the arrays are kept with their copies, so that no other array gets their place in memory
        self._copies: dict[tuple[int, int], tuple[Float32Array, Any, Any]] = {}
        for part in parts:
            key = (part.ctypes.data, len(part))
            everything = np.ones(len(part), np.bool_)
            self._copies[key] = known.get(key) or (part, to_device(part, device), to_device(everything, device))
        self._parts = [self._copies[part.ctypes.data, len(part)] for part in parts]

    def __len__(self) -> int:
        """Number of rows."""
        return self._ends[-1]

    def top_k(self, queries: Float32Array, k: int, allowed: BoolArray | None = None) -> tuple[Int64Array, Float32Array]:
        """As `ranking.top_k` of the same gallery, with scores as the device rounds them.

        Raises:
            BackendError: the device failed.
            InputError: shapes or types do not fit, or k is below 1.
        """
        core.check_shapes(queries, [self._no_vectors])
        k = min(k, core.check_allowed(len(self), k, allowed))
        return core.rank_in_blocks(queries, k, self._query_block, lambda block: self._rank_block(block, k, allowed))

    def _rank_block(self, queries: Float32Array, k: int, allowed: BoolArray | None) -> tuple[Float32Array, Int64Array]:
        """Best scores and rows. At least k rows compete, so no other row is among them."""
        queries_on_device = to_device(queries, self.device)
        scores = np.empty((len(queries), 0), np.float32)
        rows = np.empty((len(queries), 0), np.int64)
        for first, end, (_, vectors, everything) in zip(self._ends, self._ends[1:], self._parts, strict=False):
            mask = None if allowed is None else allowed[first:end]
            if first == end or (mask is not None and not mask.any()):
                continue
            inputs = {
                "queries": queries_on_device,
                "vectors": vectors,
                "allowed": everything if mask is None else to_device(mask, self.device),
                "k": to_device(np.array([min(k, end - first)]), "cpu"),  # ONNX Runtime reads it before it launches
            }
            new_scores, new_rows = run_on_device(self._session, inputs, self.device)
            joined = np.concatenate([scores, new_scores], axis=1), np.concatenate([rows, first + new_rows], axis=1)
            scores, rows = core.best(*joined, k)
        return scores, rows
