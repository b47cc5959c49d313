"""Search a folder, a gallery file or a collection in one call: it is opened, asked once, and closed.

    for hit in search("crops/", "male,backpack,!hat", k=20):
        print(hit.rank, hit.uri, hit.likelihood, hit.evidence)

A folder is encoded once; later searches only encode what is new or has changed.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sal_runtime.arrays import Precision, Progress
from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.encoding.encoders import LazyImageEncoder
from sal_runtime.errors import InputError
from sal_runtime.gallery.choices import choose_bundle_path, choose_precision
from sal_runtime.gallery.folder import GALLERY_SUFFIX, gallery_path_for, sync_folder
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.protocol import is_collection
from sal_runtime.matching.person_search import PersonSearch
from sal_runtime.matching.tracks import ask_by_track
from sal_runtime.query.language import parse_query

if TYPE_CHECKING:
    from sal_runtime.gallery.comparing import UpdateReport
    from sal_runtime.gallery.items import ItemFilter
    from sal_runtime.gallery.protocol import SearchableGallery
    from sal_runtime.matching.result import SearchResult
    from sal_runtime.query.language import Query


def search(  # noqa: PLR0913 - all but two have defaults that fit
    gallery: Path | str,
    attrs: str,
    k: int = 20,
    *,
    bundle: Bundle | Path | str | None = None,
    where: ItemFilter | None = None,
    approximate: bool = False,
    by_track: bool = False,
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
        by_track: rank tracks instead of images; k counts tracks, and each hit is the best image of its track.
        device: where a folder's images are encoded: `cpu` (None), `cuda`, `trt`, or `auto` for the best there is.
        precision: the one that a folder's images are encoded in; None takes that of its gallery, or fp32 for a new one.
        progress: called with the number of images done and of all that are to be encoded.

    Raises:
        SchemaError: the description is empty, unknown to the schema, or contradicts itself.
        InputError: there is nothing to search, the gallery is of another bundle, an argument can have no effect,
            or `where` asks for a camera, track or metadata, or `by_track` for tracks, that no image of the file has.
        BundleError: the bundle is missing, damaged, or of an unknown format.
        BackendError: the device cannot be had.
    """
    _check_arguments(gallery, k, approximate=approximate, by_track=by_track)
    encoding: UpdateReport | None = None
    query: Query | str = attrs
    with ExitStack() as stack:
        opened: SearchableGallery
        if os.path.isdir(gallery):
            folder = Path(gallery)
            chosen, query, opened, encoding = _open_folder(folder, attrs, bundle, device, precision, progress, stack)
        else:
            _refuse_encoding(str(gallery), device=device, precision=precision)
            opened = stack.enter_context(_open_gallery(str(gallery)))
            chosen = _open_bundle(bundle, opened)
        if isinstance(opened, Gallery):
            _refuse_unknown(opened, where, by_track=by_track)
        asked = PersonSearch(chosen, opened, approximate=approximate)
        result = ask_by_track(asked, query, k, where) if by_track else asked.ask(query, k, where=where)
    return replace(result, encoding=encoding, licence=chosen.manifest["licence"])


def _check_arguments(gallery: Path | str, k: int, *, approximate: bool, by_track: bool) -> None:
    if not isinstance(gallery, Path | str):
        raise InputError(f"got a {type(gallery).__name__} as gallery, expected a path; ask it through PersonSearch")
    if k < 1:
        raise InputError(f"got k = {k}, expected at least 1 hit to be wanted")
    if approximate and by_track:
        raise InputError("an approximate index cannot find all images of a track", parameter="approximate")
    if not (is_collection(str(gallery)) or os.path.exists(gallery)):  # Path.exists raises where a name is too long
        left = f"{str(gallery).rstrip(os.sep)}{GALLERY_SUFFIX}"
        found = f"; {left} still holds the vectors of its images" if os.path.isfile(left) else ""
        raise InputError(f"{gallery}: there is no such folder or gallery file{found}", parameter="gallery")


def _open_folder(
    folder: Path,
    attrs: str,
    bundle: Bundle | Path | str | None,
    device: str | None,
    asked: Precision | None,
    progress: Progress | None,
    stack: ExitStack,
) -> tuple[Bundle, Query, Gallery, UpdateReport]:
    """The bundle, the query, and the gallery of a folder after it was brought up to date, open for the stack's life."""
    path = gallery_path_for(folder)
    gallery = stack.enter_context(Gallery.open(path)) if path.exists() else None
    chosen = _open_bundle(bundle, gallery)
    query = parse_query(attrs, chosen.schema)  # a mistake in it should not cost the encoding of a folder
    precision = choose_precision(asked, gallery)
    encode = LazyImageEncoder(chosen, device=device or "cpu", precision=precision)
    report = sync_folder(folder, chosen, encode, gallery=gallery, precision=precision, progress=progress)
    if gallery is None or gallery_path_for(folder) != path:  # made now, or copied to the cache now
        gallery = stack.enter_context(Gallery.open(gallery_path_for(folder)))
    return chosen, query, gallery, replace(report, device=encode.choice)


def _open_gallery(gallery: str) -> AbstractContextManager[SearchableGallery]:
    if is_collection(gallery):
        from sal_runtime.gallery.places import open_place

        return open_place(gallery)
    return Gallery.open(gallery)


def _refuse_unknown(gallery: Gallery, where: ItemFilter | None, *, by_track: bool) -> None:
    unknown = gallery.unknown_values(where) if where else []
    if unknown:
        raise InputError(f"gallery {gallery.title}: {'; '.join(unknown)}", parameter="where")
    if by_track and not gallery.recorded().tracks:
        raise InputError(
            f"gallery {gallery.title}: no image has a track, so hits cannot be grouped by track; record the tracks "
            "when the images are added",
            parameter="by_track",
        )


def _refuse_encoding(gallery: str, **settings: str | None) -> None:
    for parameter, value in settings.items():
        if value is not None:
            raise InputError(
                f"{gallery}: got {parameter} {value}, but only the images of a folder are encoded for a search; leave "
                f"{parameter} out",
                parameter=parameter,
            )


def _open_bundle(bundle: Bundle | Path | str | None, gallery: SearchableGallery | None) -> Bundle:
    if isinstance(bundle, Bundle):
        return bundle
    return open_bundle(choose_bundle_path(bundle, gallery if isinstance(gallery, Gallery) else None))
