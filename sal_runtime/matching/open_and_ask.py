"""Search a folder, a gallery file or a collection in one call: everything is opened, asked once, and closed."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sal_runtime.arrays import Progress
from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.encoding.encoders import image_encoder
from sal_runtime.errors import InputError
from sal_runtime.gallery.choices import choose_bundle_path, choose_precision
from sal_runtime.gallery.folder import gallery_path_for, sync_folder
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.places import is_collection, open_place
from sal_runtime.gallery.protocol import SearchableGallery
from sal_runtime.matching.person_search import PersonSearch
from sal_runtime.matching.result import SearchResult
from sal_runtime.query.language import parse_query

if TYPE_CHECKING:
    from sal_runtime.gallery.items import ItemFilter


def search(  # noqa: PLR0913 - all but three have defaults that fit
    bundle: Bundle | Path | str | None,
    gallery: SearchableGallery | Path | str,
    attrs: str,
    k: int = 20,
    *,
    where: ItemFilter | None = None,
    approximate: bool = False,
    device: str | None = None,
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
        device: where images are encoded: `cpu`, `cuda`, `trt`, or `auto` for the best that can be had; None is `cpu`.
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
        _refuse(str(gallery), device=device, precision=precision, approximate=approximate or None)
        with open_place(str(gallery)) as collection:
            return PersonSearch(_open(bundle, None), collection).ask(attrs, k, where=where)
    place = Path(gallery)
    if not os.path.exists(place):  # Path.exists raises where a name is too long
        raise InputError(f"{place}: there is no such folder or gallery file", parameter="gallery")
    if not place.is_dir():
        _refuse(str(place), device=device, precision=precision)
    path = gallery_path_for(place) if place.is_dir() else place
    opened = _open(bundle, path)
    parse_query(attrs, opened.schema)  # a mistake in it should not cost the encoding of a folder
    chosen = choose_precision(precision, path)
    encoder = image_encoder(opened, device or "cpu", chosen)
    report = sync_folder(place, opened, encoder, progress, chosen) if place.is_dir() else None
    with Gallery.open(path) as stored:
        if approximate:
            stored.search_approximately()
        result = PersonSearch(opened, stored).ask(attrs, k, where=where)
    encoded, failed = (0, ()) if report is None else (report.added + report.changed, report.failed)
    return replace(result, num_encoded=encoded, failed=failed, device=encoder.choice)


def _refuse(gallery: str, **settings: str | bool | None) -> None:
    for parameter, value in settings.items():
        if value is not None:
            message = f"{gallery}: {parameter} has no effect unless a folder is encoded; leave it out"
            raise InputError(message, parameter=parameter)


def _open(bundle: Bundle | Path | str | None, gallery_path: Path | None) -> Bundle:
    return bundle if isinstance(bundle, Bundle) else open_bundle(choose_bundle_path(bundle, gallery_path))
