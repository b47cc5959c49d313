"""What `sal gallery` does to gallery files that people fill and empty themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from sal_runtime.arrays import Precision, Progress
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.encoding.encoders import LazyImageEncoder
from sal_runtime.errors import InputError
from sal_runtime.gallery.adding import NOTHING_KNOWN, Capture, add_images
from sal_runtime.gallery.choices import choose_bundle_path, choose_precision
from sal_runtime.gallery.folder import gallery_path_for, locate, sync_folder
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.index import build_gallery_index
from sal_runtime.gallery.places import is_collection, open_to_fill
from sal_runtime.gallery.reindex import ReindexReport, reindex
from sal_runtime.gallery.update import UpdateReport


def update_gallery(
    place: Path,
    sources: Sequence[Path],
    bundle_path: Path | None,
    device: str,
    *,
    precision: Precision | None = None,
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
    encode = LazyImageEncoder(bundle, device=device, precision=chosen)
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
    precision: Precision | None = None,
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
        chosen = precision or cast(Precision, gallery.precision)
        if (bundle.fingerprint, chosen) == (gallery.fingerprint, gallery.precision):
            raise InputError(f"gallery {gallery.path}: is of bundle {bundle.name} in {chosen} already; nothing to do")
        encode = LazyImageEncoder(bundle, device=device, precision=chosen)
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
    from sal_runtime.gallery.parquet import import_gallery, read_stamp

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
