"""Removing images from gallery files, for good, and their image files where that is asked for."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from sal_runtime.errors import InputError
from sal_runtime.gallery.folder import locate
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem, ItemFilter
from sal_runtime.gallery.moments import parse_age
from sal_runtime.images.folder import content_hash


@dataclass(frozen=True)
class Removal:
    """What was removed from a gallery, or would be.

    Attributes:
        uris: of the images.
        files: paths of the image files that were deleted, or would be; empty unless that was asked for.
        kept: (path, reason) of each image file that should have been deleted, and was not.
        unknown: what the conditions ask for and no image had, a line each with what there is.
    """

    uris: tuple[str, ...]
    files: tuple[str, ...]
    kept: tuple[tuple[str, str], ...]
    unknown: tuple[str, ...]


def remove_images(
    place: Path, uris: Sequence[str], where: ItemFilter, *, dry_run: bool = False, delete_files: bool = False
) -> Removal:
    """Remove images from a gallery for good: some by their uri or path, or all that a filter lets through.

    Args:
        place: the gallery file, or the folder it follows.
        uris: of the images; paths do as well, and patterns of either with `*`, `?` and `[abc]`.
        where: conditions instead of uris.
        dry_run: change nothing, and only say what would be removed.
        delete_files: delete the image files, too, once their vectors are gone. A file is kept if it is no regular file,
            or if its content is not the one that the gallery knows.

    Raises:
        InputError: an image is not in the gallery, or none fits a pattern (nothing is removed then); or there are both
            images and conditions, or neither.
        SalError: writing failed, or a reader keeps the old bytes in use (see `Gallery.erase`); no file was deleted.
    """
    if bool(uris) == bool(where):
        raise InputError(
            "expected either the names of images to remove, or conditions such as a camera", parameter="conditions"
        )

    def choose(gallery: Gallery) -> list[GalleryItem]:
        return gallery.all_items(where) if where else _named(gallery, uris)

    return _remove(place, choose, where, dry_run, delete_files)


def purge_images(
    place: Path,
    older_than: str,
    where: ItemFilter | None = None,
    *,
    dry_run: bool = False,
    delete_files: bool = False,
) -> Removal:
    """Remove for good what was captured (added, where that is not known) longer ago than an age such as `30d`.

    Args:
        place: the gallery file, or the folder it follows.
        older_than: the age.
        where: only images that this filter lets through.
        dry_run: as for `remove_images`.
        delete_files: as for `remove_images`.

    Raises:
        InputError: the age cannot be understood.
        SalError: as for `remove_images`.
    """
    before = time.time() - parse_age(older_than)
    return _remove(place, lambda gallery: gallery.all_items(where, before), where, dry_run, delete_files)


def _remove(
    place: Path,
    choose: Callable[[Gallery], list[GalleryItem]],
    where: ItemFilter | None,
    dry_run: bool,
    delete_files: bool,
) -> Removal:
    with Gallery.open(locate(place), "r" if dry_run else "w") as gallery:
        items = choose(gallery)
        unknown = gallery.unknown_values(where) if where else []
        if not dry_run:
            gallery.remove(item.uri for item in items)
        files, kept = [], []
        for item in items if delete_files else ():
            path = gallery.image_path(item)
            try:
                reason = _reason_to_keep(path, item)
                if reason is None and not dry_run:
                    path.unlink()
            except FileNotFoundError:
                continue
            except OSError as error:
                reason = error.strerror or str(error)
            if reason is None:
                files.append(str(path))
            else:
                kept.append((str(path), reason))
    return Removal(tuple(item.uri for item in items), tuple(files), tuple(kept), tuple(unknown))


def _reason_to_keep(path: Path, item: GalleryItem) -> str | None:
    """Why the image file of an item must not be deleted; None if it may be."""
    if not stat.S_ISREG(os.lstat(path).st_mode):
        return "is not a regular file"
    if content_hash(str(path)) != item.content_hash:
        return "does not hold the image that the gallery knows"
    return None


def _named(gallery: Gallery, names: Sequence[str]) -> list[GalleryItem]:
    """The items that people name by their uris, by paths, or by patterns of either."""
    root = None if gallery.root is None else os.path.realpath(gallery.root)
    spellings = [[name, os.path.abspath(name)] for name in names]
    if root is not None:
        spellings = [
            [name, os.path.relpath(path, root), os.path.relpath(_real(path), root)] for name, path in spellings
        ]
    known = gallery.find({spelling for tried in spellings for spelling in tried})
    found = [[known[spelling] for spelling in tried if spelling in known][:1] for tried in spellings]
    patterns = [number for number, name in enumerate(names) if not found[number] and set(name) & set("*?[")]
    everything = gallery.all_items() if patterns else []
    for number in patterns:
        found[number] = [item for item in everything if any(fnmatchcase(item.uri, one) for one in spellings[number])]
    missing = [name for name, items in zip(names, found, strict=True) if not items]
    if missing:
        raise InputError(
            f"gallery {gallery.path}: holds no {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}; "
            "nothing was removed; name images as a search shows them"
        )
    return list({item.uri: item for items in found for item in items}.values())


def _real(path: str) -> str:
    """A path behind the links of its folders, but not behind a link that it names itself."""
    return os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
