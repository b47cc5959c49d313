"""Search: a description in words against a folder of images or a gallery file, to a ranked answer with its reasons.

    result = search("bundles/edge", "crops/", "male,backpack,!hat", k=20)
    for hit in result.hits:
        print(hit.rank, hit.uri, hit.score, hit.evidence)

A folder is encoded once; later searches only encode what is new or has changed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sal_runtime.bundle import Bundle, open_bundle
from sal_runtime.default_bundle import choose_bundle_path, choose_precision
from sal_runtime.encoders import AttributeEncoder, LazyImageEncoder, bulk_image_encoder
from sal_runtime.errors import InputError
from sal_runtime.folder_gallery import gallery_path_for, sync_folder
from sal_runtime.gallery import Gallery
from sal_runtime.gallery_places import is_collection, open_place
from sal_runtime.gallery_update import Progress
from sal_runtime.query import Query, parse_query
from sal_runtime.ranking import best
from sal_runtime.scoring import QueryVectors, Rule, query_vectors, score_embeddings
from sal_runtime.search_result import Hit, SearchResult, asked_term
from sal_runtime.searchable_gallery import SearchableGallery

if TYPE_CHECKING:
    from sal_runtime.item_filter import ItemFilter

Array = NDArray[Any]


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
            rule: how what a description leaves open is dealt with; see `sal_runtime.scoring`.

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
    ) -> tuple[Array, Array]:
        """Ids `[k]` and log-likelihoods `[k]` of the items to which the attribute head gives most."""
        ids, ranking = np.empty((1, 0), np.int64), np.empty((1, 0), np.float32)
        for chunk_ids, embeddings in self.gallery.chunks(where):
            scores = score_embeddings(self.bundle, query, vectors, embeddings, "attribute_likelihood").ranking
            ranking, ids = best(
                np.concatenate([ranking, scores[None]], axis=1), np.concatenate([ids, chunk_ids[None]], axis=1), k
            )
        return ids[0], ranking[0]

    def _result(self, query: Query, vectors: QueryVectors, ids: Array) -> SearchResult:
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


def search(  # noqa: PLR0913 - all but three have defaults that fit
    bundle: Bundle | Path | str | None,
    gallery: SearchableGallery | Path | str,
    attrs: str,
    k: int = 20,
    *,
    where: ItemFilter | None = None,
    approximate: bool = False,
    device: str = "cpu",
    precision: str | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Rank a gallery by a description.

    Args:
        bundle: open, or where it is; None takes $SAL_BUNDLE, else the bundle of the gallery, else the shipped one.
        gallery: open, or a gallery file, or a folder of images, of which what is new or changed is encoded first, or a
            collection of Milvus, such as `http://host:19530/yard`.
        attrs: description in the query language, such as `male,backpack,!hat,upper=red|pink`.
        k: hits wanted; fewer come if the gallery has fewer images.
        where: only these images are ranked; None for all.
        approximate: let the index of a gallery file propose images, where its vectors do not fit into memory; some of
            the best can be missed.
        device: where images are encoded: `cpu`, `cuda`, `trt`, or `auto` for the best that can be had.
        precision: images are encoded in; None takes that of the gallery, or fp32 for a new one.
        progress: told how far encoding is.

    Raises:
        SchemaError: the description is empty, unknown to the schema, or contradicts itself.
        InputError: there is nothing to search, or the gallery is of another bundle.
        BundleError: the bundle is missing, damaged, or of an unknown format.
        BackendError: the device cannot be had.
    """
    if k < 1:
        raise InputError(f"got k = {k}, expected at least 1 hit to be wanted")
    if not isinstance(gallery, Path | str):
        path = gallery.path if isinstance(gallery, Gallery) else None
        return PersonSearch(_open(bundle, path), gallery).ask(attrs, k, where=where)
    if is_collection(str(gallery)):
        with open_place(str(gallery)) as collection:
            return PersonSearch(_open(bundle, None), collection).ask(attrs, k, where=where)
    place = Path(gallery)
    if not os.path.exists(place):  # Path.exists raises where a name is too long
        raise InputError(f"{place}: there is no such folder or gallery file")
    path = gallery_path_for(place) if place.is_dir() else place
    opened = _open(bundle, path)
    parse_query(attrs, opened.schema)  # a mistake in it should not cost the encoding of a folder
    chosen = choose_precision(precision, path)
    encoder = image_encoder(opened, device, chosen)
    report = sync_folder(place, opened, encoder, progress, chosen) if place.is_dir() else None
    with Gallery.open(path) as stored:
        if approximate:
            stored.search_approximately()
        result = PersonSearch(opened, stored).ask(attrs, k, where=where)
    encoded, failed = (0, ()) if report is None else (report.added + report.changed, report.failed)
    return replace(result, num_encoded=encoded, failed=failed, device=encoder.choice)


def image_encoder(bundle: Bundle, device: str, precision: str = "fp32") -> LazyImageEncoder:
    """The image encoder of a bundle for `encode_stream`, made when there is something to encode."""
    return LazyImageEncoder(lambda: bulk_image_encoder(bundle, device, precision))


def _open(bundle: Bundle | Path | str | None, gallery_path: Path | None) -> Bundle:
    return bundle if isinstance(bundle, Bundle) else open_bundle(choose_bundle_path(bundle, gallery_path))
