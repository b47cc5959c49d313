"""Adding image files to a gallery that follows no folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sal_runtime.arrays import Encode, Progress
from sal_runtime.bundle.bundle import Bundle
from sal_runtime.errors import InputError
from sal_runtime.gallery.folder import refuse_follower
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.moments import FILE_TIME, parse_moment
from sal_runtime.gallery.update import UpdateReport, apply_changes, compare_files
from sal_runtime.images.folder import Listing, list_images, note_file


@dataclass(frozen=True)
class Capture:
    """What is known of images that are added, beside what their files say.

    Attributes:
        camera: that saw these people.
        captured_at: moment in ISO 8601 (UTC unless it says otherwise), or `mtime` for the times of the files.
        metadata: anything else that filters may ask for; comes to what is known already.
    """

    camera: str | None = None
    captured_at: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


NOTHING_KNOWN = Capture()


def add_images(
    path: Path,
    sources: Sequence[Path],
    bundle: Bundle,
    encode: Encode,
    *,
    capture: Capture = NOTHING_KNOWN,
    precision: str = "fp32",
    progress: Progress | None = None,
) -> UpdateReport:
    """Add image files, and all images below folders, to a gallery that follows no folder; makes it if there is none.

    Args:
        path: of the gallery file.
        sources: files and folders. An image is known by its absolute path; adding it again changes what is known of it.
        bundle: the gallery must be of this bundle, or new.
        encode: uint8 `[n, H, W, 3]` to unit vectors float32 `[n, d]`.
        capture: what is known of the images.
        precision: of `encode`, from `choose_precision`.
        progress: told how far encoding is.

    Raises:
        InputError: nothing to add, a source does not exist, or the gallery is not one to add to.
    """
    listing = _list_sources(sources)
    captured_at = capture.captured_at
    moment = None if captured_at in (None, FILE_TIME) else parse_moment(str(captured_at))

    def describe(item: GalleryItem) -> GalleryItem:
        when = (item.mtime_ns or 0) / 1e9 if captured_at == FILE_TIME else moment
        return replace(
            item,
            camera=item.camera if capture.camera is None else capture.camera,
            captured_at=item.captured_at if when is None else when,
            metadata={**item.metadata, **capture.metadata},
        )

    known: dict[str, GalleryItem] = {}
    if path.exists():
        with Gallery.open(path) as gallery:
            refuse_follower(gallery)
            gallery.check_bundle(bundle)
            known = gallery.find(listing.files)
    changes = compare_files(known, listing)
    same = {uri: item for uri, item in known.items() if uri not in changes.changed}
    same |= {item.uri: item for item in changes.touched}
    described = [describe(item) for item in same.values()]
    changes = replace(changes, touched=tuple(item for item in described if item != known[item.uri]))

    def open_writer() -> Gallery:
        return Gallery.open(path, "w") if path.exists() else Gallery.create(path, bundle, precision=precision)

    return apply_changes(changes, listing, open_writer, bundle.image_spec, encode, progress, describe)


def _list_sources(sources: Sequence[Path]) -> Listing:
    """Files and the images below folders, known by their absolute paths."""
    listing = Listing()
    for source in sources:
        if source.is_dir():
            found = list_images(source)
            listing.files |= {os.path.abspath(file.path): file for file in found.files.values()}
            listing.failed += found.failed
        elif source.exists():
            note_file(listing, str(source), os.path.abspath(source))
        else:
            raise InputError(f"{source}: there is no such file or folder to add")
    if not listing.files and not listing.failed:
        raise InputError("nothing to add: the folders hold no image (JPEG, PNG, WebP or BMP)")
    return listing
