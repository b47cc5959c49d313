"""A gallery that follows a folder of images: kept in a file beside it, brought up to date when it is searched."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from sal_runtime.arrays import Encode, Progress
from sal_runtime.errors import InputError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.update import Changes, UpdateReport, apply_changes, compare_files
from sal_runtime.images.folder import list_images

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle

GALLERY_SUFFIX = ".sal"


def gallery_path_for(folder: Path) -> Path:
    """Where the gallery of a folder is kept: `crops.sal` beside `crops`; in the user's cache where that is read-only.

    The cache is `$XDG_CACHE_HOME/sal`, or `~/.cache/sal`.
    """
    folder = folder.resolve()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sal"
    key = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    cached = cache / f"{folder.name}-{key}{GALLERY_SUFFIX}"
    if not folder.name:  # the root of a file system has nothing beside it
        return cached
    beside = folder.with_name(folder.name + GALLERY_SUFFIX)
    return beside if os.access(folder.parent, os.W_OK) or (beside.exists() and not cached.exists()) else cached


def locate(place: Path) -> Path:
    """The gallery file that a person means by a file or by the folder it follows.

    Raises:
        InputError: there is none.
    """
    path = gallery_path_for(place) if place.is_dir() else place
    if not path.is_file():
        hint = "search the folder once to make it" if place.is_dir() else "`sal gallery add` makes one"
        raise InputError(f"{path}: there is no such gallery file; {hint}")
    return path


def sync_folder(
    folder: Path, bundle: Bundle, encode: Encode, progress: Progress | None = None, precision: str = "fp32"
) -> UpdateReport:
    """Bring the gallery of a folder up to date; makes it if there is none.

    Args:
        folder: searched recursively.
        bundle: the gallery must be of this bundle, or new.
        encode: uint8 `[n, H, W, 3]` to unit vectors float32 `[n, d]`; called only if there is something to encode.
        progress: told how far encoding is.
        precision: of `encode`, from `choose_precision`.

    Raises:
        InputError: the folder holds no image that can be read, its gallery is of another bundle, or another process
            writes it.
    """
    path = gallery_path_for(folder)
    listing = list_images(folder)
    known = known_items(path, folder, bundle)

    def open_writer() -> Gallery:
        if path.exists():
            return Gallery.open(path, "w")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Gallery.create(path, bundle, folder, precision)

    changes = compare_files(known, listing)
    report = apply_changes(changes, listing, open_writer, bundle.image_spec, encode, progress)
    if report.added + report.changed + report.unchanged == 0:
        raise InputError(_nothing_to_search(folder, report.failed))
    return report


def folder_changes(folder: Path) -> Changes:
    """How a folder differs from its gallery; changes nothing.

    Raises:
        InputError: there is no such folder, or its gallery cannot be read.
    """
    return compare_files(known_items(gallery_path_for(folder), folder), list_images(folder))


def known_items(path: Path, folder: Path, bundle: Bundle | None = None) -> dict[str, GalleryItem]:
    """What the gallery of a folder holds, by uri; nothing if there is no gallery yet.

    Raises:
        InputError: it does not follow the folder, or is of another bundle than `bundle`.
    """
    if not path.exists():
        return {}
    with Gallery.open(path) as gallery:
        if gallery.root is None:
            raise InputError(
                f"{path}: is a gallery of its own and does not follow the folder {folder}; give the file to search it, "
                "or rename it to search the folder"
            )
        if bundle is not None:
            gallery.check_bundle(bundle)
        return {item.uri: item for item in gallery.all_items()}


def _nothing_to_search(folder: Path, failed: Iterable[tuple[str, str]]) -> str:
    reasons = [f"{path}: {reason}" for path, reason in failed]
    if not reasons:
        return f"{folder}: holds no image (JPEG, PNG, WebP or BMP), in no folder below it either"
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
            "search or `sal gallery add` of the folder notices"
        )
