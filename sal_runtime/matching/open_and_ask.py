"""Search a folder, a gallery file or a collection in one call: it is opened, asked once, and closed.

    for hit in search("crops/", "male,backpack,!hat", k=20):
        print(hit.rank, hit.uri, hit.score, hit.evidence)

A folder is encoded once; later searches only encode what is new or has changed.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sal_runtime.arrays import Precision, Progress
from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.encoding.encoders import LazyImageEncoder
from sal_runtime.errors import InputError
from sal_runtime.gallery.choices import choose_bundle_path, choose_precision
from sal_runtime.gallery.folder import gallery_path_for, sync_folder
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.protocol import is_collection
from sal_runtime.matching.person_search import PersonSearch
from sal_runtime.query.language import parse_query

if TYPE_CHECKING:
    from sal_runtime.gallery.comparing import UpdateReport
    from sal_runtime.gallery.items import ItemFilter
    from sal_runtime.matching.result import SearchResult


def search(  # noqa: PLR0913 - all but two have defaults that fit
    gallery: Path | str,
    attrs: str,
    k: int = 20,
    *,
    bundle: Bundle | Path | str | None = None,
    where: ItemFilter | None = None,
    approximate: bool = False,
    device: str | None = None,
    precision: Precision | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Rank a gallery by a description. Ask a gallery that is open through `PersonSearch`.

    Args:
        gallery: a gallery file; a folder of images, of which what is new or changed is encoded first; or a collection
            of Milvus, such as `http://host:19530/yard`.
        attrs: description in the query language, such as `male,backpack,!hat,upper=red|blue`.
        k: hits wanted; fewer come if the gallery has fewer images.
        bundle: open, or where it is; None takes $SAL_BUNDLE, else the bundle of the gallery, else the shipped one.
        where: only these images are ranked; None for all.
        approximate: let the index of a gallery file propose images, where its vectors do not fit into memory; some of
            the best can be missed.
        device: where a folder's images are encoded: `cpu` (None), `cuda`, `trt`, or `auto` for the best there is.
        precision: the one that a folder's images are encoded in; None takes that of its gallery, or fp32 for a new one.
        progress: called with the number of images done and of all that are to be encoded.

    Raises:
        SchemaError: the description is empty, unknown to the schema, or contradicts itself.
        InputError: there is nothing to search, the gallery is of another bundle, an argument can have no effect, or
            `where` asks for a camera, track or metadata that no image of the file has.
        BundleError: the bundle is missing, damaged, or of an unknown format.
        BackendError: the device cannot be had.
    """
    if not isinstance(gallery, Path | str):
        raise InputError(f"got a {type(gallery).__name__} as gallery, expected a path; ask it through PersonSearch")
    if k < 1:
        raise InputError(f"got k = {k}, expected at least 1 hit to be wanted")
    in_collection, is_folder = is_collection(str(gallery)), os.path.isdir(gallery)
    if not (in_collection or os.path.exists(gallery)):  # Path.exists raises where a name is too long
        raise InputError(f"{gallery}: there is no such folder or gallery file", parameter="gallery")
    if not is_folder:
        _refuse_encoding(str(gallery), device=device, precision=precision)
    if in_collection:
        from sal_runtime.gallery.places import open_place

        with open_place(str(gallery)) as collection:
            return PersonSearch(_open(bundle, None), collection, approximate=approximate).ask(attrs, k, where=where)
    path, encoding = gallery_path_for(Path(gallery)) if is_folder else Path(gallery), None
    with ExitStack() as stack:
        opened = stack.enter_context(Gallery.open(path)) if path.exists() or not is_folder else None
        chosen = _open(bundle, opened)
        query = parse_query(attrs, chosen.schema)  # a mistake in it should not cost the encoding of a folder
        if is_folder:
            encoding = _bring_up_to_date(Path(gallery), opened, chosen, device, precision, progress)
        if opened is None or (is_folder and gallery_path_for(Path(gallery)) != path):
            # made now, or copied to the cache now
            opened = stack.enter_context(Gallery.open(gallery_path_for(Path(gallery))))
        _refuse_unknown(opened, where)
        result = PersonSearch(chosen, opened, approximate=approximate).ask(query, k, where=where)
    return replace(result, encoding=encoding)


def _bring_up_to_date(
    folder: Path,
    gallery: Gallery | None,
    bundle: Bundle,
    device: str | None,
    asked: Precision | None,
    progress: Progress | None,
) -> UpdateReport:
    precision = choose_precision(asked, gallery)
    encode = LazyImageEncoder(bundle, device=device or "cpu", precision=precision)
    report = sync_folder(folder, bundle, encode, gallery=gallery, precision=precision, progress=progress)
    return replace(report, device=encode.choice)


def _refuse_unknown(gallery: Gallery, where: ItemFilter | None) -> None:
    unknown = gallery.unknown_values(where) if where else []
    if unknown:
        raise InputError(f"gallery {gallery.title}: {'; '.join(unknown)}", parameter="where")


def _refuse_encoding(gallery: str, **settings: str | None) -> None:
    for parameter, value in settings.items():
        if value is not None:
            raise InputError(
                f"{gallery}: got {parameter} {value}, but only the images of a folder are encoded for a search; leave "
                f"{parameter} out",
                parameter=parameter,
            )


def _open(bundle: Bundle | Path | str | None, gallery: Gallery | None) -> Bundle:
    return bundle if isinstance(bundle, Bundle) else open_bundle(choose_bundle_path(bundle, gallery))
