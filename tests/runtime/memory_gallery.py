"""A gallery in memory that does what `SearchableGallery` says in the plainest way; what others are compared with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sal_runtime.arrays import Float32Array, Int64Array
from sal_runtime.errors import InputError
from sal_runtime.gallery.items import GalleryItem, ItemFilter, Neighbours, check_embeddings
from sal_runtime.ranking.scoring import Queries, Scoring
from tests.runtime.filter_oracle import matches


class MemoryGallery:
    """Ids count up from 1; `chunks` gives `chunk_rows` at a time."""

    title = "memory"
    bundle_name = ""
    precision = "fp32"

    def __init__(self, fingerprint: str, embedding_dim: int, chunk_rows: int = 7) -> None:
        self.fingerprint = fingerprint
        self.embedding_dim = embedding_dim
        self.chunk_rows = chunk_rows
        self._rows: dict[int, tuple[GalleryItem, Float32Array]] = {}
        self._next_id = 1

    def __len__(self) -> int:
        return len(self._rows)

    def count(self, where: ItemFilter) -> int:
        return len(self._fitting(where))

    def add(self, items: Sequence[GalleryItem], embeddings: Float32Array) -> None:
        check_embeddings(embeddings, [item.uri for item in items], self.embedding_dim)
        for item, embedding in zip(items, embeddings, strict=True):
            known = [number for number, (there, _) in self._rows.items() if there.uri == item.uri]
            self._rows[known[0] if known else self._next_id] = (item, embedding.copy())
            self._next_id += not known

    def remove(self, uris: Iterable[str]) -> int:
        wanted = set(uris)
        return self._drop([number for number, (item, _) in self._rows.items() if item.uri in wanted])

    def held_back(self, content_hashes: Iterable[str | None]) -> set[str]:
        return set()

    def remove_where(self, where: ItemFilter) -> int:
        if not where:
            raise InputError("a filter without a condition")
        return self._drop(self._fitting(where))

    def nearest(self, queries: Queries, k: int, where: ItemFilter | None = None) -> list[Neighbours]:
        ids = np.array(self._fitting(where), dtype=np.int64)
        vectors = self._vectors(ids)
        found = []
        for query in queries:
            by_score = isinstance(query, Scoring)
            scores = query.score(vectors @ query.directions.T) if by_score else vectors @ query
            order = np.argsort(-scores, kind="stable")[:k]
            found.append(Neighbours(self.items(ids[order]), scores[order], vectors[order]))
        return found

    def items(self, ids: Iterable[int]) -> tuple[GalleryItem, ...]:
        return tuple(self._row(number)[0] for number in ids)

    def _vectors(self, ids: Iterable[int]) -> Float32Array:
        rows = [self._row(number)[1] for number in ids]
        return np.array(rows, dtype=np.float32).reshape(len(rows), self.embedding_dim)

    def chunks(self, where: ItemFilter | None = None) -> Iterator[tuple[Int64Array, Float32Array]]:
        ids = self._fitting(where)
        for start in range(0, len(ids), self.chunk_rows):
            part = np.array(ids[start : start + self.chunk_rows], dtype=np.int64)
            yield part, self._vectors(part)

    def image_path(self, item: GalleryItem) -> Path:
        return Path(item.uri)

    def _fitting(self, where: ItemFilter | None) -> list[int]:
        return [number for number, (item, _) in self._rows.items() if matches(where, item)]

    def _drop(self, ids: list[int]) -> int:
        for number in ids:
            del self._rows[number]
        return len(ids)

    def _row(self, number: Any) -> tuple[GalleryItem, Float32Array]:
        if int(number) not in self._rows:
            raise InputError("an item was removed meanwhile")
        return self._rows[int(number)]


def contents(gallery: Any) -> dict[str, tuple[GalleryItem, bytes]]:
    """Item and vector bytes by uri of any `SearchableGallery`."""
    return {
        item.uri: (item, vector.tobytes())
        for ids, vectors in gallery.chunks()
        for item, vector in zip(gallery.items(ids), vectors, strict=True)
    }
