"""Search: a description in words against a folder of images or a gallery file, to a ranked answer with its reasons.

    result = search("bundles/edge", "crops/", "male,backpack,!hat", k=20)
    for hit in result.hits:
        print(hit.rank, hit.uri, hit.score, hit.evidence)

A folder is encoded once; later searches only encode what is new or has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sal_runtime.arrays import AnyArray
from sal_runtime.bundle.bundle import Bundle
from sal_runtime.encoding.encoders import AttributeEncoder
from sal_runtime.errors import InputError
from sal_runtime.gallery.protocol import SearchableGallery
from sal_runtime.matching.result import Hit, SearchResult, asked_term
from sal_runtime.matching.scoring import QueryVectors, Rule, query_vectors, score_embeddings
from sal_runtime.query.language import Query, parse_query
from sal_runtime.ranking.core import best

if TYPE_CHECKING:
    from sal_runtime.gallery.items import ItemFilter


class PersonSearch:
    """Descriptions against one gallery, again and again. Many threads may ask at once.

    They share the session of the attribute encoder and the vectors in memory; each ranks on its own.

    Args:
        bundle: opened; the one that made the embeddings of the gallery.
        gallery: open, and left open.

    Raises:
        InputError: the gallery is of another bundle.
    """

    def __init__(self, bundle: Bundle, gallery: SearchableGallery) -> None:
        gallery.check_bundle(bundle)
        self.bundle = bundle
        self.gallery = gallery
        self._attribute_encoder = AttributeEncoder(bundle)

    def ask(
        self, attrs: str, k: int = 20, *, where: ItemFilter | None = None, rule: Rule = "marginalised"
    ) -> SearchResult:
        """Rank the gallery by one description; arguments and errors are those of `ask_many`."""
        return self.ask_many([attrs], k, where=where, rule=rule)[0]

    def ask_many(
        self, descriptions: Sequence[str], k: int = 20, *, where: ItemFilter | None = None, rule: Rule = "marginalised"
    ) -> list[SearchResult]:
        """Rank the gallery by several descriptions in one pass over its vectors.

        Args:
            descriptions: in the query language, such as `male,backpack,!hat,upper=red|pink`.
            k: hits wanted for each; fewer come if fewer images are allowed.
            where: only these images are ranked; None for all.
            rule: how what a description leaves open is dealt with; see `sal_runtime.matching.scoring`.

        Returns:
            For each description the answer.

        Raises:
            SchemaError: a description is empty, unknown to the schema, or contradicts itself.
            InputError: the gallery is empty, or k is below 1.
        """
        if k < 1:
            raise InputError(f"got k = {k}, expected at least 1 hit to be wanted")
        queries = [parse_query(attrs, self.bundle.schema) for attrs in descriptions]
        num_items = len(self.gallery)
        if num_items == 0:
            title = self.gallery.title
            raise InputError(f"gallery {title}: is empty; add images with `sal gallery add {title} FOLDER`")
        vectors = [query_vectors(self.bundle, self._attribute_encoder, query, rule) for query in queries]
        if rule == "attribute_likelihood":
            found = [self._most_likely(query, one, k, where) for query, one in zip(queries, vectors, strict=True)]
        else:
            stacked = np.array([one.ranking for one in vectors], np.float32).reshape(-1, self.bundle.embedding_dim)
            found = list(zip(*self.gallery.nearest(stacked, k, where), strict=True))
        conditions = where.words() if where else ()
        return [
            replace(self._result(query, vector, ids), num_items=num_items, conditions=conditions)
            for query, vector, (ids, _) in zip(queries, vectors, found, strict=True)
        ]

    def _most_likely(
        self, query: Query, vectors: QueryVectors, k: int, where: ItemFilter | None
    ) -> tuple[AnyArray, AnyArray]:
        """Ids `[k]` and log-likelihoods `[k]` of the items to which the attribute head gives most."""
        ids, ranking = np.empty((1, 0), np.int64), np.empty((1, 0), np.float32)
        for chunk_ids, embeddings in self.gallery.chunks(where):
            scores = score_embeddings(self.bundle, query, vectors, embeddings, "attribute_likelihood").ranking
            ranking, ids = best(
                np.concatenate([ranking, scores[None]], axis=1), np.concatenate([ids, chunk_ids[None]], axis=1), k
            )
        return ids[0], ranking[0]

    def _result(self, query: Query, vectors: QueryVectors, ids: AnyArray) -> SearchResult:
        scores = score_embeddings(self.bundle, query, vectors, self.gallery.embeddings(ids))
        texts = [term.text for term in query.terms]
        hits = tuple(
            Hit(
                rank=row + 1,
                item=item,
                path=self.gallery.image_path(item),
                score=float(scores.cosine[row]),
                likelihood=None if scores.likelihood is None else float(scores.likelihood[row]),
                evidence=dict(zip(texts, map(float, scores.evidence[row]), strict=True)),
            )
            for row, item in enumerate(self.gallery.items(ids))
        )
        return SearchResult(
            query=query.text,
            terms=tuple(asked_term(term, self.bundle.schema) for term in query.terms),
            hits=hits,
            num_items=0,
            num_encoded=0,
            failed=(),
            gallery=self.gallery.title,
            bundle_name=self.bundle.name,
            bundle_fingerprint=self.bundle.fingerprint,
        )
