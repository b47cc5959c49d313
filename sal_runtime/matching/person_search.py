"""Descriptions against an open gallery, to ranked answers with their reasons.

with Gallery.open("yard.sal") as gallery:
    search = PersonSearch(open_bundle("bundles/edge"), gallery)
    for hit in search.ask("male,backpack,!hat", k=20):
        print(hit.rank, hit.uri, hit.score, hit.evidence)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sal_runtime.arrays import Float32Array, batched
from sal_runtime.bundle.bundle import Bundle
from sal_runtime.encoding.encoders import AttributeEncoder
from sal_runtime.errors import InputError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import COLOURLESS, YES, ItemFilter, Neighbours
from sal_runtime.gallery.protocol import SearchableGallery, check_bundle
from sal_runtime.matching.result import Hit, SearchResult, asked_term, left_out_note, unlikely_note
from sal_runtime.matching.scoring import assess, match_scoring, query_vector
from sal_runtime.query.language import Query, parse_query
from sal_runtime.query.words import asks_for_colour, weak_words

if TYPE_CHECKING:
    from sal_runtime.ranking.scoring import Scoring

QUERIES_AT_A_TIME = 64
"""Descriptions ranked in one pass over the vectors."""


class PersonSearch:
    """Descriptions against one gallery, again and again. Many threads may ask at once.

    They share the session of the attribute encoder and the vectors in memory; each ranks on its own.

    Args:
        bundle: opened; the one that made the embeddings of the gallery.
        gallery: open, and left open.
        approximate: let the index beside a gallery file propose images, where its vectors do not fit into memory; some
            of the best can be missed.

    Raises:
        InputError: the gallery is of another bundle, or `approximate` and the gallery is not a file.
    """

    def __init__(self, bundle: Bundle, gallery: SearchableGallery, *, approximate: bool = False) -> None:
        check_bundle(gallery, bundle)
        if approximate and not isinstance(gallery, Gallery):
            raise InputError(
                f"gallery {gallery.title}: only a gallery file has an approximate index; search without it",
                parameter="approximate",
            )
        self.bundle = bundle
        self.gallery = gallery
        self._approximate = approximate
        self._attribute_encoder = AttributeEncoder(bundle)

    def ask(self, attrs: str | Query, k: int = 20, *, where: ItemFilter | None = None) -> SearchResult:
        """Rank the gallery by one description; arguments and errors are those of `ask_many`."""
        return self.ask_many([attrs], k, where=where)[0]

    def ask_many(
        self, descriptions: Sequence[str | Query], k: int = 20, *, where: ItemFilter | None = None
    ) -> list[SearchResult]:
        """Rank the gallery by several descriptions in one pass over its vectors, or two.

        Where a description names a colour, images that are marked as colourless are left out before ranking, and a note
        says how many. An approximate search leaves them out of what the index proposes, so that fewer than k may come.

        Args:
            descriptions: in the query language, such as `male,backpack,!hat,upper=red|blue`, or parsed already.
            k: hits wanted for each; fewer come if fewer images are allowed.
            where: only these images are ranked; None for all.

        Returns:
            The answer to each description.

        Raises:
            SchemaError: a description is empty, unknown to the schema, or contradicts itself.
            InputError: the gallery is empty, or k is below 1.
        """
        if k < 1:
            raise InputError(f"got k = {k}, expected at least 1 hit to be wanted")
        schema = self.bundle.schema
        queries = [attrs if isinstance(attrs, Query) else parse_query(attrs, schema) for attrs in descriptions]
        num_items = len(self.gallery)
        if num_items == 0:
            raise InputError(f"gallery {self.gallery.title}: is empty; add images to it", parameter="gallery")
        ask_for_colour = [asks_for_colour(query, schema) for query in queries]
        colourless = self._count_colourless(where) if any(ask_for_colour) else 0
        left_out = [colourless if asks else 0 for asks in ask_for_colour]
        results: dict[int, SearchResult] = {}
        for count in set(left_out):
            alike = [number for number, other in enumerate(left_out) if other == count]
            for block in batched(alike, QUERIES_AT_A_TIME):
                asked = [queries[number] for number in block]
                results |= zip(block, self._ask_block(asked, k, where, num_items, count), strict=True)
        return [results[number] for number in range(len(queries))]

    def query_vector(self, query: Query) -> Float32Array:
        """The unit vector float32 `[d]` that a query is ranked with; a subclass may remember or refine it."""
        return query_vector(query, self.bundle.statistics, self._attribute_encoder.encode)

    def _count_colourless(self, where: ItemFilter | None) -> int:
        """Number of images without colours that a filter lets through."""
        where = where or ItemFilter()
        if YES not in where.metadata.get(COLOURLESS, (YES,)):
            return 0
        return self.gallery.count(replace(where, metadata={**where.metadata, COLOURLESS: (YES,)}))

    def _ask_block(
        self, queries: Sequence[Query], k: int, where: ItemFilter | None, num_items: int, left_out: int
    ) -> list[SearchResult]:
        """The answers to descriptions, all or none of which leave out as many images without colours."""
        bundle = self.bundle
        vectors = [self.query_vector(query) for query in queries]
        ranked = _in_colour(where) if left_out and not self._approximate else where  # an index knows no conditions
        found = [
            _seen_in_colour(best) if asks_for_colour(query, bundle.schema) else best
            for query, best in zip(queries, self._best(queries, np.array(vectors, np.float32), k, ranked), strict=True)
        ]
        metrics = bundle.manifest["metrics"]
        return [
            SearchResult(
                query=query.text,
                terms=tuple(asked_term(term, bundle.schema, metrics) for term in query.terms),
                hits=(hits := self._hits(query, vector, best)),
                num_items=num_items,
                gallery=self.gallery.title,
                bundle_name=bundle.name,
                bundle_fingerprint=bundle.fingerprint,
                conditions=where.words() if where else (),
                notes=(
                    *query.notes,
                    *weak_words(query, bundle.schema, metrics),
                    *left_out_note(left_out),
                    *unlikely_note(hits),
                ),
            )
            for query, vector, best in zip(queries, vectors, found, strict=True)
        ]

    def _best(
        self, queries: Sequence[Query], vectors: Float32Array, k: int, where: ItemFilter | None
    ) -> list[Neighbours]:
        rank_by: Float32Array | list[Scoring] = vectors
        if self.bundle.calibration is not None:
            rank_by = [match_scoring(self.bundle, *pair) for pair in zip(queries, vectors, strict=True)]
        if isinstance(self.gallery, Gallery):
            return self.gallery.nearest(rank_by, k, where, approximate=self._approximate)
        return self.gallery.nearest(rank_by, k, where)

    def _hits(self, query: Query, vector: Float32Array, found: Neighbours) -> tuple[Hit, ...]:
        assessed = assess(self.bundle, query, vector, found.scores, found.embeddings)
        texts = [term.text for term in query.terms]
        return tuple(
            Hit(
                rank=row + 1,
                item=item,
                path=self.gallery.image_path(item),
                score=float(assessed.cosines[row]),
                likelihood=None if assessed.likelihood is None else float(assessed.likelihood[row]),
                evidence=dict(zip(texts, map(float, assessed.evidence[row]), strict=True)),
            )
            for row, item in enumerate(found.items)
        )


def _in_colour(where: ItemFilter | None) -> ItemFilter:
    """A filter that lets no marked image without colours through."""
    where = where or ItemFilter()
    others = where.without_metadata
    return replace(where, without_metadata={**others, COLOURLESS: (*others.get(COLOURLESS, ()), YES)})


def _seen_in_colour(found: Neighbours) -> Neighbours:
    """Those that have colours: an index proposes others, too, and one may have been added since they were counted."""
    rows = [row for row, item in enumerate(found.items) if item.metadata.get(COLOURLESS) != YES]
    return Neighbours(tuple(found.items[row] for row in rows), found.scores[rows], found.embeddings[rows])
