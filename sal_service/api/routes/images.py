"""The pictures of a gallery: seen, added and removed; and the bundle that takes over."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request

from sal_runtime.errors import BusyError, InputError, SalError
from sal_runtime.gallery.items import ItemFilter
from sal_runtime.gallery.store.file import CROP_SCHEME
from sal_service.api import models, present, values
from sal_service.api.gate.json_bodies import StrictRoute
from sal_service.api.held import Adder, Admin, Held, Searcher
from sal_service.api.problems import RefusedError, problems
from sal_service.api.routes.searches import PICTURE
from sal_service.api.service import Service
from sal_service.governance.retention import removed_images
from sal_service.video.intake import KeptCrop

KEEP_SECONDS = 20.0
"""How long a request waits for its image to be written; then the answer is 503, and the image may be sent again."""
MOST_FILES = 256


class BatchItem(values.Request):
    """What is known of one file of a batch."""

    file: values.Text
    camera: values.Name
    captured_at: values.Moment
    track: values.Text | None = None
    box: tuple[int, int, int, int] | None = None
    metadata: dict[values.Text, values.Text] = Field(default={}, max_length=20)


ITEMS = TypeAdapter(list[BatchItem])
BATCH_BODY = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["items", "files"],
                "properties": {
                    "items": {
                        "type": "string",
                        "description": "JSON: a list of what is known of each file, by `file`.",
                    },
                    "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                },
            }
        }
    },
}


router = APIRouter(route_class=StrictRoute, prefix="/v1/galleries/{gallery}", tags=["images"], responses=problems(404))


@router.get(
    "/crops/{path:path}",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {"schema": PICTURE}}, "description": "The picture."}},
)
def crop(gallery: str, path: str, service: Held, principal: Searcher) -> Response:
    """The picture of an image; it is written into the audit log that it was seen."""
    served = service.gallery(gallery)
    uri = CROP_SCHEME + path
    item = served.gallery.find([uri]).get(uri)
    if item is None:
        raise RefusedError(404, f"Gallery {gallery} has no image of this name.")
    try:
        content = served.gallery.image_path(item).read_bytes()
    except OSError:
        raise RefusedError(404, f"The picture of this image of gallery {gallery} was not kept.") from None
    service.audit.append(principal.name, "view", None, {"gallery": gallery, "uri": uri})
    return Response(content, media_type="image/jpeg", headers={"Cache-Control": "private, no-store"})


@router.post(
    "/crops",
    status_code=201,
    response_model=models.KeptAnswer,
    responses=problems(409, 415),
    openapi_extra={"requestBody": {"required": True, "content": {"image/*": {"schema": PICTURE}}}},
)
async def add(  # noqa: PLR0913 - the parameters of an address
    gallery: str,
    request: Request,
    service: Held,
    principal: Adder,
    camera: values.Name,
    captured_at: values.Moment,
    track: values.Text | None = None,
    box: Annotated[str | None, Query(pattern=r"^-?\d{1,7},-?\d{1,7},\d{1,7},\d{1,7}$")] = None,
    meta: Annotated[list[str], Query(max_length=20)] = [],  # noqa: B006 - FastAPI copies it
) -> models.KeptAnswer:
    """Add a picture of one person, cut out of a camera's picture: the body is an image file.

    The answer means that the gallery holds it. `box` is left, top, width, height; `meta` is `key=value`.
    """
    content = await request.body()
    if not content:
        raise RefusedError(400, "The body is empty; expected an image file.")
    known = BatchItem(
        file="body",
        camera=camera,
        captured_at=captured_at,
        track=track,
        box=None if box is None else _four(box),
        metadata=_pairs(meta),
    )

    def work() -> models.KeptAnswer:
        future = _submit(service, gallery, content, known)
        try:
            kept = future.result(KEEP_SECONDS)
        except TimeoutError:
            raise BusyError("the image is not written yet; send it again") from None
        except InputError as error:
            status = 409 if type(error).__name__ == "HeldBackError" else 415
            raise RefusedError(status, str(error)) from error
        service.audit.append(principal.name, "add", None, {"gallery": gallery, "images": 1, "uri": kept.item.uri})
        return models.KeptAnswer(image=present.image(gallery, kept.item))

    return await run_in_threadpool(work)


@router.post("/crops/batch", response_model=models.BatchAnswer, openapi_extra={"requestBody": BATCH_BODY})
async def add_batch(gallery: str, request: Request, service: Held, principal: Adder) -> models.BatchAnswer:
    """Add many pictures: files, and one field `items` that says what is known of each."""
    async with request.form(max_files=MOST_FILES, max_fields=1, max_part_size=4 * 1024 * 1024) as form:
        items = _items(form.get("items"))
        files = {
            upload.filename or "": await upload.read()
            for upload in form.getlist("files")
            if isinstance(upload, UploadFile)
        }

    def work() -> models.BatchAnswer:
        futures = [
            (item, _submit(service, gallery, files[item.file], item) if item.file in files else None) for item in items
        ]
        told = [_told(gallery, item.file, future) for item, future in futures]
        kept = [one.image.uri for one in told if one.image is not None]
        if kept:
            what = {"gallery": gallery, "images": len(kept), "uris": kept[:100]}
            service.audit.append(principal.name, "add", None, what)
        return models.BatchAnswer(files=told)

    return await run_in_threadpool(work)


@router.post("/remove", response_model=models.RemovedAnswer)
def remove(gallery: str, asked: models.RemoveRequest, service: Held, principal: Admin) -> models.RemovedAnswer:
    """Remove images for good, with their pictures."""
    served = service.gallery(gallery)
    names = sorted(served.gallery.find(asked.uris))
    what = {"gallery": gallery, **removed_images(names)}
    service.audit.append(principal.name, "remove", asked.reason, what)
    removed = served.remove(names)
    service.forget_images(gallery, removed)
    return models.RemovedAnswer(uris=removed, dry_run=False)


@router.post("/purge", response_model=models.RemovedAnswer)
def purge(gallery: str, asked: models.PurgeRequest, service: Held, principal: Admin) -> models.RemovedAnswer:
    """Remove what fits conditions, or is older than a moment; `dry_run` only says what would be removed."""
    served = service.gallery(gallery)
    where: ItemFilter = present.item_filter(asked.where)
    before = None if asked.before is None else asked.before.timestamp()
    names = served.purge(where, before, dry_run=True)
    if not asked.dry_run:
        conditions = [*where.words(), *([] if asked.before is None else [f"before {asked.before.isoformat()}"])]
        what = {"gallery": gallery, "conditions": conditions, **removed_images(names)}
        service.audit.append(principal.name, "purge", asked.reason, what)
        names = served.remove(names)
        service.forget_images(gallery, names)
    return models.RemovedAnswer(uris=names, dry_run=asked.dry_run)


@router.post("/swap", status_code=202, response_model=models.GalleryAnswer, responses=problems(409))
def swap(gallery: str, asked: models.SwapRequest, service: Held, principal: Admin) -> models.GalleryAnswer:
    """Encode all images anew with another bundle, which takes over when that is done; searches go on meanwhile."""
    served = service.gallery(gallery)
    folder = service.settings.bundles
    path = None if folder is None else folder / asked.bundle
    if path is None or not path.exists():
        raise RefusedError(404, f"The service's folder of bundles has no {asked.bundle}.", parameter="bundle")
    service.audit.append(principal.name, "swap", asked.reason, {"gallery": gallery, "bundle": asked.bundle})
    try:
        served.claim_swap(path)
    except BusyError as error:
        raise RefusedError(409, str(error)) from error
    threading.Thread(target=_swap, args=(service, gallery, path), name="sal-swap", daemon=True).start()
    return present.gallery(served)


def _swap(service: Service, gallery: str, bundle: Path) -> None:
    try:
        service.swap(service.gallery(gallery), bundle)
        outcome: dict[str, Any] = {"gallery": gallery, "bundle": bundle.name, "done": True}
    except SalError as error:
        outcome = {"gallery": gallery, "bundle": bundle.name, "done": False, "problem": str(error)}
    service.audit.append("service", "swap", None, outcome)


def _submit(service: Service, gallery: str, content: bytes, item: BatchItem) -> Future[KeptCrop]:
    at: datetime = item.captured_at
    return service.gallery(gallery).ingest.intake.submit(
        content,
        camera=item.camera,
        captured_at=at.timestamp(),
        track=item.track,
        box=item.box,
        metadata=item.metadata,
    )


def _told(gallery: str, file: str, future: Future[KeptCrop] | None) -> models.KeptOrRefused:
    problem = "there is no such file among `files`"
    if future is not None:
        try:
            kept = future.result(KEEP_SECONDS)
            return models.KeptOrRefused(file=file, image=present.image(gallery, kept.item), problem=None)
        except TimeoutError:
            problem = "it is not written yet; send it again"
        except SalError as error:
            problem = str(error)
    return models.KeptOrRefused(file=file, image=None, problem=problem)


def _four(box: str) -> tuple[int, int, int, int]:
    left, top, width, height = (int(side) for side in box.split(","))
    return left, top, width, height


def _pairs(meta: list[str]) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in meta]
    if not all(key and mark for key, mark, _ in pairs):
        raise RefusedError(400, "Expected metadata as key=value.", parameter="meta")
    return {key: value for key, _, value in pairs}


def _items(field: object) -> list[BatchItem]:
    if not isinstance(field, str):
        raise RefusedError(
            400, "Expected one field `items`: a JSON list of what is known of each file.", parameter="items"
        )
    try:
        return ITEMS.validate_python(json.loads(field))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RefusedError(400, f"items.{place}: {first['msg']}", parameter="items") from None
    except (ValueError, RecursionError):
        raise RefusedError(400, "`items` is no JSON.", parameter="items") from None
