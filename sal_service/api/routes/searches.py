"""Whom to look for."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from sal_runtime.gallery.items import ItemFilter
from sal_service.api import models, present, values
from sal_service.api.gate.access import Principal
from sal_service.api.gate.json_bodies import StrictRoute
from sal_service.api.held import Held, HeldMetrics, Searcher
from sal_service.api.metrics import Metrics
from sal_service.api.problems import RefusedError, problems
from sal_service.api.service import Service
from sal_service.galleries.answers import Page, PictureError, Question
from sal_service.galleries.served import ServedGallery

PICTURE = {"type": "string", "format": "binary", "description": "An image file: JPEG, PNG, WebP, BMP or TIFF."}

router = APIRouter(route_class=StrictRoute, prefix="/v1/galleries", tags=["search"], responses=problems(404))


@router.get("", response_model=models.GalleriesAnswer)
def galleries(service: Held, _: Searcher) -> models.GalleriesAnswer:
    """All galleries."""
    return models.GalleriesAnswer(galleries=[present.gallery(served) for served in service.galleries.values()])


@router.get("/{gallery}/words", response_model=models.WordsAnswer)
def words(gallery: str, service: Held, _: Searcher) -> models.WordsAnswer:
    """All that a gallery can be asked for, and how well each word is recognised."""
    return present.words(service.gallery(gallery), service.settings.policy)


@router.post("/{gallery}/search", response_model=models.SearchAnswer)
def search(
    gallery: str, asked: models.SearchRequest, service: Held, metrics: HeldMetrics, principal: Searcher
) -> models.SearchAnswer:
    """People who fit a description, or who are like images."""
    served = service.gallery(gallery)
    page = served.ask(_question(service, served, asked))
    _note(service, metrics, principal, served, asked, page)
    return present.search(served, page)


@router.post(
    "/{gallery}/search/image",
    response_model=models.SearchAnswer,
    responses=problems(415),
    openapi_extra={"requestBody": {"required": True, "content": {"image/*": {"schema": PICTURE}}}},
)
async def search_image(  # noqa: PLR0913 - the parameters of an address
    gallery: str,
    request: Request,
    service: Held,
    metrics: HeldMetrics,
    principal: Searcher,
    camera: Annotated[list[values.Name], Query(max_length=1000)] = [],  # noqa: B006 - FastAPI copies it
    by_track: bool = True,
    limit: Annotated[int, Query(ge=1, le=models.MOST_HITS)] = 20,
    offset: Annotated[int, Query(ge=0, le=models.FARTHEST_HIT)] = 0,
    reason: values.Text | None = None,
) -> models.SearchAnswer:
    """People who are like somebody in a picture from elsewhere: the body is an image file."""
    served = service.gallery(gallery)
    content = await request.body()
    if not content:
        raise RefusedError(400, "The body is empty; expected an image file.")
    asked = models.SearchRequest(
        where=models.Where(cameras=camera), by_track=by_track, limit=limit, offset=offset, reason=reason
    )

    def work() -> models.SearchAnswer:
        service.settings.policy.check_query(None, served.generation.bundle.schema, reason, like=True)
        where = _known(service, served, asked.where)
        try:
            page = served.ask(Question(picture=content, where=where, by_track=by_track, limit=limit, offset=offset))
        except PictureError as error:
            raise RefusedError(415, f"The body is no image that can be read: {error}") from error
        _note(service, metrics, principal, served, asked, page)
        return present.search(served, page)

    return await run_in_threadpool(work)


def _question(service: Service, served: ServedGallery, asked: models.SearchRequest) -> Question:
    """What is asked, if the policy allows it."""
    description = asked.description
    if asked.terms:
        if description is not None:
            raise RefusedError(400, "Expected either a description or terms.", parameter="terms")
        description = ",".join(("!" if term.negated else "") + "|".join(term.values) for term in asked.terms)
    search = served.generation.search
    query = None if description is None else search.parse(description)
    by_images = bool(asked.like or asked.right or asked.wrong)
    service.settings.policy.check_query(query, search.bundle.schema, asked.reason, like=by_images)
    return Question(
        description=description,
        like=tuple(asked.like),
        right=tuple(asked.right),
        wrong=tuple(asked.wrong),
        where=_known(service, served, asked.where),
        by_track=asked.by_track,
        newest_first=asked.order == "newest",
        min_likelihood=asked.min_likelihood,
        limit=asked.limit,
        offset=asked.offset,
    )


def _known(service: Service, served: ServedGallery, where: models.Where) -> ItemFilter:
    """The filter, if its names are known: a misspelt camera would look like nobody was there."""
    cameras = [name for name in where.cameras if name not in service.cameras.names()]
    unknown = served.unknown_values(ItemFilter(cameras=cameras, tracks=where.tracks, metadata=where.metadata))
    if unknown:
        raise RefusedError(400, "; ".join(unknown), parameter="where")
    return present.item_filter(where)


def _note(
    service: Service,
    metrics: Metrics,
    principal: Principal,
    served: ServedGallery,
    asked: models.SearchRequest,
    page: Page,
) -> None:
    """Write a search into the audit log, before it is answered."""
    details = asked.model_dump(mode="json", exclude_defaults=True, exclude={"reason"})
    hits = page.result.hits
    what = {"gallery": served.name, "hits": len(hits), "asked": details}
    service.audit.append(principal.name, "search", asked.reason, what)
    metrics.search(hits[0].likelihood if hits else None)
