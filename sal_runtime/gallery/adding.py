"""Adding image files to a gallery that follows no folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from sal_runtime.arrays import Encode, Progress
from sal_runtime.errors import InputError
from sal_runtime.gallery.comparing import UpdateReport, compare_files
from sal_runtime.gallery.folder import refuse_follower
from sal_runtime.gallery.protocol import check_bundle
from sal_runtime.gallery.update import NOTHING_KNOWN, Capture, GalleryWriter, apply_changes
from sal_runtime.images.folder import Listing, list_images, note_file

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle
    from sal_runtime.gallery.gallery import Gallery
    from sal_runtime.gallery.items import GalleryItem


def add_images(  # noqa: PLR0913 - all but four have defaults that fit
    path: Path,
    sources: Sequence[Path],
    bundle: Bundle,
    encode: Encode,
    *,
    gallery: Gallery | None = None,
    capture: Capture = NOTHING_KNOWN,
    captures: Mapping[str, Capture] = MappingProxyType({}),
    precision: str = "fp32",
    forget: bool = False,
    progress: Progress | None = None,
) -> UpdateReport:
    """Add image files, and all images below folders, to a gallery that follows no folder; makes it if there is none.

    Args:
        path: the gallery file.
        sources: files and folders. An image is known by its absolute path; adding it again changes what is known of it.
        bundle: the gallery must be of this bundle, or new.
        encode: uint8 `[n, H, W, 3]` to unit vectors float32 `[n, d]`.
        gallery: the gallery, open for reading; None where there is none yet.
        capture: what you know about all of the images.
        captures: what you know about single images in addition, by their absolute paths.
        precision: precision of `encode`, from `choose_precision`.
        forget: add images again that were removed from the gallery.
        progress: called with the number of images done and of all that are to be encoded.

    Raises:
        InputError: nothing to add, a source does not exist, or the gallery is not one to add to.
    """
    listing = _list_sources(sources)
    known: dict[str, GalleryItem] = {}
    if gallery is not None:
        refuse_follower(gallery)
        check_bundle(gallery, bundle)
        known = gallery.find(listing.files)

    def describe(item: GalleryItem) -> GalleryItem:
        return captures.get(item.uri, NOTHING_KNOWN).describe(capture.describe(item))

    changes = compare_files(known, listing, None if forget else gallery)
    same = {uri: item for uri, item in known.items() if uri not in changes.changed}
    same |= {item.uri: item for item in changes.touched}
    described = [describe(item) for item in same.values()]
    changes = replace(changes, touched=tuple(item for item in described if item != known[item.uri]))
    with GalleryWriter(path, bundle, precision) as writer:
        return apply_changes(changes, listing, writer, encode, describe, progress)


def _list_sources(sources: Sequence[Path]) -> Listing:
    """Files and the images below folders, by their absolute paths."""
    listing = Listing()
    for source in sources:
        if source.is_dir():
            found = list_images(source)
            listing.files |= {os.path.abspath(file.path): file for file in found.files.values()}
            listing.failed += found.failed
            listing.passed_over += found.passed_over
        elif source.exists():
            note_file(listing, str(source), os.path.abspath(source))
        else:
            raise InputError(f"{source}: there is no such file or folder to add")
    if not listing.files and not listing.failed:
        raise InputError(f"nothing to add: the folders hold {listing.nothing()}")
    return listing
