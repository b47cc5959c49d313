"""What `sal gallery` does to gallery files that people fill and empty themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sal_runtime.bundle import Bundle, open_bundle
from sal_runtime.default_bundle import choose_bundle_path, choose_precision
from sal_runtime.errors import InputError
from sal_runtime.folder_gallery import folder_changes, gallery_path_for, locate, sync_folder
from sal_runtime.gallery import Gallery
from sal_runtime.gallery_index import build_gallery_index
from sal_runtime.gallery_items import GalleryItem
from sal_runtime.gallery_places import is_collection, open_to_fill
from sal_runtime.gallery_reindex import ReindexReport, reindex
from sal_runtime.gallery_removal import refuse_follower
from sal_runtime.gallery_update import Encode, Progress, UpdateReport, apply_changes, compare_files
from sal_runtime.image_folder import Listing, list_images, note_file
from sal_runtime.moments import FILE_TIME, parse_moment
from sal_runtime.person_search import image_encoder


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


def update_gallery(
    place: Path,
    sources: Sequence[Path],
    bundle_path: Path | None,
    device: str,
    *,
    precision: str | None = None,
    capture: Capture = NOTHING_KNOWN,
    progress: Progress | None = None,
) -> UpdateReport:
    """Add images to a gallery file, or bring the gallery of a folder up to date.

    Args:
        place: a gallery file, made if there is none; or, without sources, a folder.
        sources: files and folders to add.
        bundle_path: None takes the default; see `choose_bundle_path`.
        device: `cpu`, `cuda`, `trt`, or `auto` for the best that can be had.
        precision: None takes that of the gallery, or fp32 for a new one.
        capture: as for `add_images`.
        progress: told how far encoding is.

    Raises:
        InputError: a folder with sources, a file without, or as `add_images` and `sync_folder` raise.
    """
    if place.is_dir() and (sources or capture != NOTHING_KNOWN):
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
            capture=capture,
            precision=chosen,
            progress=progress,
        )
    return replace(report, device=encode.choice)


def reindex_gallery(
    place: Path,
    bundle_path: Path,
    device: str,
    *,
    precision: str | None = None,
    drop_missing: bool = False,
    progress: Progress | None = None,
) -> ReindexReport:
    """Encode a gallery anew with another bundle, or in another precision.

    Args:
        place: of the gallery file, or the folder it follows.
        bundle_path: of the bundle that encodes.
        device: `cpu`, `cuda`, `trt`, or `auto` for the best that can be had.
        precision: None takes that of the gallery.
        drop_missing: remove what cannot be read any more, where otherwise nothing is changed.
        progress: told how far encoding is.

    Raises:
        InputError: there is no gallery, another process writes it, or images cannot be read.
    """
    bundle = open_bundle(bundle_path)
    with Gallery.open(locate(place), "w") as gallery:
        chosen = precision or gallery.precision
        if (bundle.fingerprint, chosen) == (gallery.fingerprint, gallery.precision):
            raise InputError(f"gallery {gallery.path}: is of bundle {bundle.name} in {chosen} already; nothing to do")
        encode = image_encoder(bundle, device, chosen)
        return reindex(gallery, bundle, encode, chosen, drop_missing=drop_missing, progress=progress)


def index_gallery(place: Path, progress: Progress | None = None) -> Path:
    """Build the approximate index of a gallery anew.

    Raises:
        BackendError: usearch is not installed.
        InputError: there is no gallery, or another process writes it.
    """
    with Gallery.open(locate(place), "w") as gallery:
        return build_gallery_index(gallery, progress)


def import_into(place: str, sources: Sequence[Path], bundle_path: Path | None, progress: Progress | None = None) -> int:
    """Add the items of Parquet files to a gallery file or a collection of Milvus, made if there is none.

    Args:
        place: of the gallery.
        sources: Parquet files, and folders of them.
        bundle_path: of the bundle that made the embeddings; None takes the default; see `choose_bundle_path`.
        progress: told how far importing is.

    Returns:
        How many items were read.

    Raises:
        InputError: a file is missing, damaged or of another bundle, or the gallery is.
    """
    from sal_runtime.gallery_parquet import import_gallery, read_stamp

    named = None if is_collection(place) else Path(place)
    bundle = open_bundle(choose_bundle_path(bundle_path, named))
    with open_to_fill(place, bundle, read_stamp(sources).precision) as gallery:
        return import_gallery(sources, gallery, progress)


def verify_gallery(place: Path) -> list[str]:
    """What is wrong with a gallery file, a line each.

    Raises:
        InputError: there is none at `place`, or it cannot be opened at all.
    """
    with Gallery.open(locate(place)) as gallery:
        return gallery.verify()


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
