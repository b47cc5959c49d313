"""Descriptions that are asked again: parsed and encoded once."""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from sal_runtime.arrays import Float32Array
from sal_runtime.bundle.bundle import Bundle
from sal_runtime.gallery.items import Neighbours
from sal_runtime.gallery.protocol import SearchableGallery
from sal_runtime.matching.person_search import PersonSearch
from sal_runtime.matching.result import Hit
from sal_runtime.query.language import Query, parse_query

MOST_REMEMBERED = 1024
"""Descriptions that are remembered; the one that was asked longest ago is forgotten first."""

Value = TypeVar("Value")


class RememberingSearch(PersonSearch):
    """A `PersonSearch` that parses and encodes each description once. Threads may share it.

    Arguments and errors are those of `PersonSearch`.

    Attributes:
        hits: number of descriptions that were remembered when they were asked.
        misses: number of those that were not.
    """

    def __init__(self, bundle: Bundle, gallery: SearchableGallery) -> None:
        super().__init__(bundle, gallery)
        self._queries: OrderedDict[str, Query] = OrderedDict()
        self._vectors: OrderedDict[str, Float32Array] = OrderedDict()
        self._lock = threading.Lock()
        self._fixed: Float32Array | None = None
        self.hits = self.misses = 0

    def parse(self, description: str) -> Query:
        """The description as it is understood.

        Raises:
            SchemaError: it is empty, unknown to the schema, or contradicts itself.
        """
        return self._remember(self._queries, description, lambda: parse_query(description, self.bundle.schema))

    def query_vector(self, query: Query) -> Float32Array:
        """The vector float32 `[d]` that a query is ranked with, of length 1 unless the search is refined."""
        if self._fixed is not None:
            return self._fixed
        return self._remember(self._vectors, query.text, lambda: super(RememberingSearch, self).query_vector(query))

    def refined(self, vector: Float32Array) -> RememberingSearch:
        """The same search with this vector float32 `[d]`, of any length, in the place of that of any description.

        The `score` of a hit is the cosine with it.
        """
        other = copy.copy(self)
        other._fixed = np.ascontiguousarray(vector, np.float32)
        return other

    def _hits(self, query: Query, vector: Float32Array, found: Neighbours) -> tuple[Hit, ...]:
        if self._fixed is not None:
            vector = np.asarray(vector / np.linalg.norm(vector), np.float32)
        return super()._hits(query, vector, found)

    def _remember(self, known: OrderedDict[str, Value], key: str, make: Callable[[], Value]) -> Value:
        with self._lock:
            if key in known:
                known.move_to_end(key)
                self.hits += 1
                return known[key]
        value = make()
        with self._lock:
            self.misses += 1
            known[key] = value
            if len(known) > MOST_REMEMBERED:
                known.popitem(last=False)
        return value
