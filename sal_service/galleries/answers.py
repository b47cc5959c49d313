"""Questions to a gallery: by description, by likeness, after marks; best or newest first; in pages."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sal_runtime.arrays import Float32Array
from sal_runtime.errors import InputError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import ItemFilter
from sal_runtime.matching.person_search import PersonSearch
from sal_runtime.matching.result import Hit, SearchResult, asked_term
from sal_runtime.matching.tracks import ask_many_by_track
from sal_runtime.query.language import Query
from sal_service.galleries.feedback import cosine_share, mean_direction, refine, vectors_of
from sal_service.galleries.remembered import RememberingSearch

NEWEST_OF = 2000
"""Newest first: so many images that fit best are put into the order of time."""


@dataclass(frozen=True)
class Question:
    """Whom to look for; either a description, or images to be like.

    Attributes:
        description: in the query language or as a sentence; None for a search by likeness.
        like: uris of images of the gallery.
        picture: content of an image file from elsewhere, to be like.
        right: uris of images that were marked right; they refine a description.
        wrong: likewise those that were marked wrong.
        where: only these images are ranked.
        by_track: a hit for each track, instead of one for each image.
        newest_first: the order; it needs `min_likelihood`.
        min_likelihood: images with a lower likelihood of match are left out; None leaves out none.
        limit: hits wanted.
        offset: hits that were shown already.
    """

    description: str | None = None
    like: tuple[str, ...] = ()
    picture: bytes | None = None
    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    where: ItemFilter = ItemFilter()  # noqa: RUF009 - it is frozen
    by_track: bool = True
    newest_first: bool = False
    min_likelihood: float | None = None
    limit: int = 20
    offset: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be asked.

        Raises:
            InputError: says what is wrong.
        """
        by_likeness = bool(self.like) or self.picture is not None
        if by_likeness is (self.description is not None):
            raise InputError("expected either a description or images to be like", parameter="description")
        if by_likeness and (self.right or self.wrong or self.min_likelihood is not None or self.newest_first):
            raise InputError(
                "nothing is known of the likelihood in a search by likeness: it takes no marks, no min_likelihood, and "
                "no order by time",
                parameter="like",
            )
        if self.newest_first and self.min_likelihood is None:
            raise InputError(
                "newest first needs a min_likelihood: without one, everybody is among the hits",
                parameter="min_likelihood",
            )

    @property
    def is_plain(self) -> bool:
        """Whether it is a description without marks, best first."""
        return self.description is not None and not (self.right or self.wrong or self.newest_first)

    def is_alike(self, other: Question) -> bool:
        """Whether both are plain and differ in their descriptions at most."""
        return self.is_plain and other.is_plain and replace(self, description=other.description) == other


@dataclass(frozen=True)
class Page:
    """A page of an answer.

    Attributes:
        result: the answer; its hits are those of the page.
        next_offset: of the next page; None if there is none.
    """

    result: SearchResult
    next_offset: int | None


class PictureError(InputError):
    """The content of a picture to be like cannot be read as an image."""


class LikenessSearch(PersonSearch):
    """Ranks a gallery by the cosine with a vector, where a `PersonSearch` is expected; nothing is told of likelihoods.

    Args:
        search: of the gallery.
        vector: unit vector float32 `[d]`.
    """

    def __init__(self, search: RememberingSearch, vector: Float32Array) -> None:
        self.__dict__.update(copy.copy(search).__dict__)
        self._vector = np.ascontiguousarray(vector, np.float32)

    def ask_many(
        self, descriptions: Sequence[str | Query], k: int = 20, *, where: ItemFilter | None = None
    ) -> list[SearchResult]:
        """The images that are most like the vector; the descriptions are not looked at."""
        return [self._most_like(k, where)] * len(descriptions)

    def _most_like(self, k: int, where: ItemFilter | None) -> SearchResult:
        gallery = self.gallery
        (found,) = gallery.nearest(self._vector[None], k, where)
        hits = tuple(
            Hit(rank, item, gallery.image_path(item), float(score), None, {})
            for rank, (item, score) in enumerate(zip(found.items, found.scores, strict=True), 1)
        )
        return SearchResult(
            query="",
            terms=(),
            hits=hits,
            num_items=len(gallery),
            gallery=gallery.title,
            bundle_name=self.bundle.name,
            bundle_fingerprint=self.bundle.fingerprint,
            conditions=where.words() if where else (),
        )


def answer(
    search: RememberingSearch, gallery: Gallery, question: Question, picture: Float32Array | None = None
) -> Page:
    """Answer a question.

    Args:
        search: of the gallery.
        gallery: open.
        question: what is asked.
        picture: embedding of the question's picture by the gallery's bundle, unit vector float32 `[d]`.

    Raises:
        SchemaError: the description is unknown to the schema, or contradicts itself.
        InputError: an image to be like, or that was marked, is not in the gallery; or the question cannot be asked.
        ConfigError: a likelihood is asked for, and the bundle is not calibrated.
    """
    if question.is_plain:
        return answer_alike(search, gallery, [question])[0]
    if question.description is not None:
        query = search.parse(question.description)
        if len(gallery) == 0:
            return Page(_of_nobody(search, gallery, query), None)
        asked = search
        if question.right or question.wrong:
            right, wrong = vectors_of(gallery, question.right), vectors_of(gallery, question.wrong)
            share = cosine_share(search.bundle, query)
            asked = search.refined(refine(search.query_vector(query), right, wrong, share))
        return _newest(asked, query, question) if question.newest_first else _best(asked, [query], question)[0]
    if len(gallery) == 0:
        return Page(_of_nobody(search, gallery, None), None)
    vector = mean_direction(vectors_of(gallery, question.like)) if picture is None else picture
    return _best(LikenessSearch(search, vector), [""], question)[0]


def answer_alike(search: RememberingSearch, gallery: Gallery, questions: Sequence[Question]) -> list[Page]:
    """Answer plain questions that are alike, in one pass over the vectors; errors are those of `answer`."""
    queries = [search.parse(question.description or "") for question in questions]
    if len(gallery) == 0:
        return [Page(_of_nobody(search, gallery, query), None) for query in queries]
    return _best(search, queries, questions[0])


def _best(search: PersonSearch, queries: Sequence[Query | str], question: Question) -> list[Page]:
    """For each query, the page of the hits, best first."""
    known = set(question.like)
    wanted = question.offset + question.limit + len(known) + 1
    where = question.where or None
    if question.by_track:
        results = ask_many_by_track(search, queries, wanted, where)
    else:
        results = search.ask_many(queries, wanted, where=where)
    if question.min_likelihood is not None:
        results = [result.likely(question.min_likelihood) for result in results]
    return [
        _page(
            result,
            [hit for hit in result.hits if not known.intersection(other.uri for other in (hit, *hit.others))],
            question,
        )
        for result in results
    ]


def _newest(search: PersonSearch, query: Query, question: Question) -> Page:
    """The page of the hits, newest first."""
    assert question.min_likelihood is not None
    result = search.ask(query, NEWEST_OF, where=question.where or None)
    is_full = len(result) == NEWEST_OF and (result.hits[-1].likelihood or 0) >= question.min_likelihood
    result = result.likely(question.min_likelihood)
    if question.by_track:
        result = result.by_track()
    newest = sorted(result.hits, key=lambda hit: _moment(hit), reverse=True)
    if is_full:
        note = f"more than {NEWEST_OF:,} images are likely enough; these are the newest of the {NEWEST_OF:,} best"
        result = replace(result, notes=(*result.notes, note))
    return _page(result, newest, question)


def _moment(hit: Hit) -> float:
    """When a hit, or the last image of its track among the hits, was captured; images without a moment are oldest."""
    moments = [one.item.captured_at for one in (hit, *hit.others) if one.item.captured_at is not None]
    return max(moments, default=-np.inf)


def _page(result: SearchResult, hits: Sequence[Hit], question: Question) -> Page:
    end = question.offset + question.limit
    shown = tuple(replace(hit, rank=rank) for rank, hit in enumerate(hits, 1))[question.offset : end]
    return Page(replace(result, hits=shown), end if len(hits) > end else None)


def _of_nobody(search: RememberingSearch, gallery: Gallery, query: Query | None) -> SearchResult:
    """The answer of an empty gallery."""
    bundle = search.bundle
    terms = (
        ()
        if query is None
        else tuple(asked_term(term, bundle.schema, bundle.manifest["metrics"]) for term in query.terms)
    )
    return SearchResult(
        query="" if query is None else query.text,
        terms=terms,
        hits=(),
        num_items=0,
        gallery=gallery.title,
        bundle_name=bundle.name,
        bundle_fingerprint=bundle.fingerprint,
        notes=("the gallery has no images yet",),
    )
