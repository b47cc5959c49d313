"""A gallery that follows a folder of images: kept in a file beside it, brought up to date when it is searched."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sal_runtime.arrays import Encode, Progress
from sal_runtime.errors import InputError, SalError
from sal_runtime.files import cache_folder, make_cache
from sal_runtime.gallery.comparing import Changes, UpdateReport, compare_files
from sal_runtime.gallery.protocol import check_bundle
from sal_runtime.gallery.store.file import can_be_written, resolved
from sal_runtime.images.folder import Listing, list_images

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle
    from sal_runtime.gallery.gallery import Gallery
    from sal_runtime.gallery.items import GalleryItem

GALLERY_SUFFIX = ".sal"
LONGEST_ADDITION = 45
"""Bytes that the name of the longest file beside a gallery may add to the name of the folder."""


def gallery_path_for(folder: Path) -> Path:
    """The gallery file of a folder: `crops.sal` beside `crops`, or one in the user's cache.

    A file beside that this user may only read is taken until `sync_folder` has something to add to it; from then on it
    is the one in the cache.

    Raises:
        SalError: it must be in the cache, and there is no home directory for one.
    """
    folder = folder.resolve()
    beside = folder.with_name(folder.name + GALLERY_SUFFIX) if _has_room_beside(folder) else None
    if beside is not None and beside.exists():
        if can_be_written(resolved(beside)):
            return beside
        if os.access(beside, os.R_OK):
            with suppress(SalError):  # without a home directory there is no cache to look into
                if _cached_path(folder).exists():
                    return _cached_path(folder)
            return beside
    elif beside is not None and os.access(folder.parent, os.W_OK):
        return beside
    return _cached_path(folder)


def _has_room_beside(folder: Path) -> bool:
    """Whether files beside a resolved folder can be named after it; not so beside the root, and names have limits."""
    longest = os.pathconf(folder.parent, "PC_NAME_MAX") - LONGEST_ADDITION
    return 0 < len(os.fsencode(folder.name)) <= longest


def _cached_path(folder: Path) -> Path:
    """The gallery file of a resolved folder in the user's cache."""
    key = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    name = f"{folder.name}-{key}" if _has_room_beside(folder) else key
    return cache_folder() / f"{name}{GALLERY_SUFFIX}"


def locate(place: Path) -> Path:
    """The gallery file of a place: a gallery file, or the folder that it follows.

    Raises:
        InputError: there is none.
    """
    path = gallery_path_for(place) if place.is_dir() else place
    if not path.is_file():
        left = place.with_name(place.name + GALLERY_SUFFIX) if place.name else place
        if not place.exists() and left.is_file():
            raise InputError(f"{place}: there is no such folder; {left} is there: name it", parameter="gallery")
        remedy = "search the folder once to make it" if place.is_dir() else "add images to make it"
        raise InputError(f"{path}: there is no such gallery file; {remedy}", parameter="gallery")
    return path


def sync_folder(
    folder: Path,
    bundle: Bundle,
    encode: Encode,
    *,
    gallery: Gallery | None = None,
    precision: str = "fp32",
    forget: bool = False,
    progress: Progress | None = None,
) -> UpdateReport:
    """Bring the gallery of a folder up to date; makes it if there is none.

    Args:
        folder: searched recursively.
        bundle: the gallery must be of this bundle, or new.
        encode: uint8 `[n, H, W, 3]` to unit vectors float32 `[n, d]`; called only if there is something to encode.
        gallery: the gallery of the folder, open for reading; None where there is none yet.
        precision: precision of `encode`, from `choose_precision`.
        forget: add images again that were removed from the gallery.
        progress: called with the number of images done and of all that are to be encoded.

    Raises:
        InputError: the folder holds no image that can be read, its gallery is of another bundle, or another process
            writes it.
    """
    listing = list_images(folder)
    if gallery is not None:
        _refuse_other_gallery(gallery, folder)
        check_bundle(gallery, bundle)
    changes = compare_files(_items_by_uri(gallery), listing, None if forget else gallery)
    if changes.is_empty:
        failed = tuple(listing.failed)
        report = UpdateReport(0, 0, 0, changes.unchanged, failed, held_back=changes.held_back)
    else:
        from sal_runtime.gallery.update import GalleryWriter, apply_changes  # a search of what has not changed is light

        with GalleryWriter(_path_to_write(folder), bundle, precision, folder) as writer:
            report = apply_changes(changes, listing, writer, encode, progress=progress)
    if report.added + report.changed + report.unchanged == 0:
        raise InputError(_nothing_to_search(folder, listing, report.failed, report.held_back))
    return replace(report, passed_over=listing.passed_over)


def _path_to_write(folder: Path) -> Path:
    """As `gallery_path_for`; a file beside the folder that this user may only read is copied to the cache before.

    Raises:
        InputError: another process writes the copy.
        SalError: nothing can be written in the cache.
    """
    path = gallery_path_for(folder)
    if path.name != folder.resolve().name + GALLERY_SUFFIX:
        make_cache(path.parent)
    elif path.exists() and not can_be_written(resolved(path)):
        cached = _cached_path(folder.resolve())
        make_cache(cached.parent)
        from sal_runtime.gallery.store.lock import WriterLock
        from sal_runtime.gallery.store.whole import copy_gallery

        lock = WriterLock(cached)
        try:
            if not cached.exists():  # another process may have been faster
                copy_gallery(path, cached, {"root": str(folder.resolve())})
        finally:
            lock.release()
        return cached
    return path


def folder_changes(folder: Path, gallery: Gallery) -> Changes:
    """How a folder differs from its gallery; changes nothing.

    Raises:
        InputError: there is no such folder, or the gallery does not follow it.
    """
    _refuse_other_gallery(gallery, folder)
    return compare_files(_items_by_uri(gallery), list_images(folder), gallery)


def _items_by_uri(gallery: Gallery | None) -> dict[str, GalleryItem]:
    return {} if gallery is None else {item.uri: item for item in gallery.all_items()}


def _refuse_other_gallery(gallery: Gallery, folder: Path) -> None:
    if gallery.root is None:
        raise InputError(
            f"{gallery.path}: is a gallery of its own and does not follow the folder {folder}; search the file, or "
            "rename it to search the folder"
        )


def _nothing_to_search(folder: Path, listing: Listing, failed: Iterable[tuple[str, str]], held_back: int) -> str:
    if held_back:
        return f"{folder}: its {held_back:,} images were removed from its gallery; set forget to add them again"
    reasons = [f"{path}: {reason}" for path, reason in failed]
    if not reasons:
        return f"{folder}: with the folders below it, holds {listing.nothing()}"
    shown = "; ".join(reasons[:5]) + (f"; and {len(reasons) - 5} more" if len(reasons) > 5 else "")
    return f"{folder}: none of its images can be read: {shown}"


def refuse_follower(gallery: Gallery) -> None:
    """Refuse to change a gallery whose content a folder decides.

    Raises:
        InputError: it follows a folder.
    """
    if gallery.root is not None:
        raise InputError(
            f"gallery {gallery.path}: follows the folder {gallery.root}; add or delete images there, and the next "
            "search of the folder notices"
        )
