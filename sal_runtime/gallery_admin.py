"""What `sal gallery` does to gallery files that people fill and empty themselves."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sal_runtime.bundle import Bundle, open_bundle
from sal_runtime.default_bundle import choose_bundle_path, choose_precision
from sal_runtime.errors import InputError
from sal_runtime.folder_gallery import folder_changes, gallery_path_for, sync_folder
from sal_runtime.gallery import Gallery
from sal_runtime.gallery_items import GalleryItem
from sal_runtime.gallery_update import Encode, Progress, UpdateReport, apply_changes, compare_files
from sal_runtime.image_folder import Listing, list_images, note_file
from sal_runtime.item_filter import ItemFilter
from sal_runtime.person_search import image_encoder

FILE_TIME = "mtime"
"""In place of a moment: the time of the image file."""
_SECONDS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


@dataclass(frozen=True)
class Status:
    """What a gallery is.

    Attributes:
        path: of the gallery file.
        items: number of images in it.
        bytes: on disk, with the log beside it.
        bundle: name of the bundle that made the embeddings.
        fingerprint: of that bundle.
        embedding_dim: of the vectors.
        follows: the folder that the gallery follows, if any.
        pending: images that the next search of that folder will encode or forget; None if it follows none.
    """

    path: Path
    items: int
    bytes: int
    bundle: str
    fingerprint: str
    embedding_dim: int
    follows: Path | None
    pending: dict[str, int] | None

    def to_json(self) -> dict[str, Any]:
        """A JSON-serialisable form."""
        follows = None if self.follows is None else str(self.follows)
        return {**vars(self), "path": str(self.path), "follows": follows}


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


def read_status(place: Path) -> Status:
    """Look at a gallery without changing it.

    Raises:
        InputError: there is none at `place`.
    """
    path = locate(place)
    with Gallery.open(path) as gallery:
        files = (path, path.with_name(f"{path.name}-wal"))
        follows = gallery.root
        pending = None
        if follows is not None and follows.is_dir() and gallery_path_for(follows) == path.resolve():
            changes = folder_changes(follows)
            pending = {name: len(getattr(changes, name)) for name in ("new", "changed", "removed")}
        return Status(
            path=path,
            items=len(gallery),
            bytes=sum(file.stat().st_size for file in files if file.exists()),
            bundle=gallery.meta["bundle_name"],
            fingerprint=gallery.fingerprint,
            embedding_dim=gallery.embedding_dim,
            follows=follows,
            pending=pending,
        )


def add_images(
    path: Path,
    sources: Sequence[Path],
    bundle: Bundle,
    encode: Encode,
    *,
    camera: str | None = None,
    captured_at: str | None = None,
    precision: str = "fp32",
    progress: Progress | None = None,
) -> UpdateReport:
    """Add image files, and all images below folders, to a gallery that follows no folder; makes it if there is none.

    Args:
        path: of the gallery file.
        sources: files and folders. An image is known by its absolute path; adding it again changes what is known of it.
        bundle: the gallery must be of this bundle, or new.
        encode: uint8 `[n, H, W, 3]` to unit vectors float32 `[n, d]`.
        camera: that saw these people.
        captured_at: moment in ISO 8601 (UTC unless it says otherwise), or `mtime` for the times of the files.
        precision: of `encode`, from `choose_precision`.
        progress: told how far encoding is.

    Raises:
        InputError: nothing to add, a source does not exist, or the gallery is not one to add to.
    """
    listing = _list_sources(sources)
    moment = None if captured_at in (None, FILE_TIME) else parse_moment(str(captured_at))

    def describe(item: GalleryItem) -> GalleryItem:
        when = (item.mtime_ns or 0) / 1e9 if captured_at == FILE_TIME else moment
        return replace(
            item,
            camera=item.camera if camera is None else camera,
            captured_at=item.captured_at if when is None else when,
        )

    known: dict[str, GalleryItem] = {}
    if path.exists():
        with Gallery.open(path) as gallery:
            _refuse_follower(gallery)
            gallery.check_bundle(bundle)
            known = {item.uri: item for item in gallery.all_items() if item.uri in listing.files}
    changes = compare_files(known, listing)
    same = {uri: item for uri, item in known.items() if uri not in changes.changed}
    same |= {item.uri: item for item in changes.touched}
    described = [describe(item) for item in same.values()]
    changes = replace(changes, touched=tuple(item for item in described if item != known[item.uri]))

    def open_writer() -> Gallery:
        return Gallery.open(path, "w") if path.exists() else Gallery.create(path, bundle, precision=precision)

    return apply_changes(changes, listing, open_writer, bundle.image_spec, encode, progress, describe)


def update_gallery(
    place: Path,
    sources: Sequence[Path],
    bundle_path: Path | None,
    device: str,
    *,
    precision: str | None = None,
    camera: str | None = None,
    captured_at: str | None = None,
    progress: Progress | None = None,
) -> UpdateReport:
    """Add images to a gallery file, or bring the gallery of a folder up to date.

    Args:
        place: a gallery file, made if there is none; or, without sources, a folder.
        sources: files and folders to add.
        bundle_path: None takes the default; see `choose_bundle_path`.
        device: `cpu`, `cuda`, `trt`, or `auto` for the best that can be had.
        precision: None takes that of the gallery, or fp32 for a new one.
        camera: as for `add_images`.
        captured_at: as for `add_images`.
        progress: told how far encoding is.

    Raises:
        InputError: a folder with sources, a file without, or as `add_images` and `sync_folder` raise.
    """
    if place.is_dir() and (sources or camera or captured_at):
        raise InputError(
            f"{place}: a gallery that follows a folder takes its images from there only; name a gallery file to add "
            "images from elsewhere or to say where they come from"
        )
    if not place.is_dir() and not sources:
        raise InputError(f"{place}: nothing to add; name image files or folders, or give the folder to be followed")
    path = gallery_path_for(place) if place.is_dir() else place
    bundle = open_bundle(choose_bundle_path(bundle_path, path))
    chosen = choose_precision(precision, path)
    encode = image_encoder(bundle, device, chosen)
    if place.is_dir():
        report = sync_folder(place, bundle, encode, progress, chosen)
    else:
        report = add_images(
            path,
            sources,
            bundle,
            encode,
            camera=camera,
            captured_at=captured_at,
            precision=chosen,
            progress=progress,
        )
    return replace(report, device=encode.choice)


def verify_gallery(place: Path) -> list[str]:
    """What is wrong with a gallery file, a line each.

    Raises:
        InputError: there is none at `place`, or it cannot be opened at all.
    """
    with Gallery.open(locate(place)) as gallery:
        return gallery.verify()


def remove_images(place: Path, uris: Sequence[str]) -> int:
    """Remove images from a gallery for good, by their uri or path.

    Returns:
        How many.

    Raises:
        InputError: one of them is not in the gallery (nothing is removed then), or the gallery follows a folder.
    """
    with Gallery.open(locate(place), "w") as gallery:
        _refuse_follower(gallery)
        known = {item.uri for item in gallery.all_items()}
        wanted = [uri if uri in known else os.path.abspath(uri) for uri in uris]
        missing = [uri for uri, resolved in zip(uris, wanted, strict=True) if resolved not in known]
        if missing:
            raise InputError(
                f"gallery {gallery.path}: holds no {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}; "
                "nothing was removed; name images as `sal search` shows them"
            )
        return gallery.remove(wanted)


def purge_images(place: Path, older_than: str, camera: str | None = None) -> int:
    """Remove for good what was captured (added, where that is not known) longer ago than an age such as `30d`.

    Returns:
        How many images.

    Raises:
        InputError: the age cannot be understood, or the gallery follows a folder.
    """
    before = time.time() - parse_age(older_than)
    with Gallery.open(locate(place), "w") as gallery:
        _refuse_follower(gallery)
        return gallery.purge(before, ItemFilter(cameras=[camera]) if camera else None)


def parse_age(text: str) -> float:
    """Seconds of an age: a number and one of m (minutes), h, d, w.

    >>> parse_age("36h") / 3600
    36.0

    Raises:
        InputError: it is none.
    """
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([mhdw])", text.strip().lower())
    if match is None:
        raise InputError(f"got the age {text!r}, expected a number and m, h, d or w, such as 90m, 36h, 30d or 8w")
    return float(match[1]) * _SECONDS[match[2]]


def parse_moment(text: str) -> float:
    """Seconds since 1970 of a moment in ISO 8601; UTC unless it says otherwise.

    >>> parse_moment("1970-01-02T00:00Z")
    86400.0

    Raises:
        InputError: it is none.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"got the moment {text!r}, expected ISO 8601 such as 2026-11-23T14:02:00+01:00, or {FILE_TIME}"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


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


def _refuse_follower(gallery: Gallery) -> None:
    if gallery.root is not None:
        raise InputError(
            f"gallery {gallery.path}: follows the folder {gallery.root}; add or delete images there, and the next "
            "search or `sal gallery add` of the folder notices"
        )
