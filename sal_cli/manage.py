"""One call for each thing that is done to a gallery by name: update, reindex, import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from sal_cli.filling import open_to_fill
from sal_runtime.arrays import Precision, Progress
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.encoding.encoders import LazyImageEncoder
from sal_runtime.errors import InputError
from sal_runtime.gallery.adding import add_images
from sal_runtime.gallery.choices import choose_bundle_path, choose_precision
from sal_runtime.gallery.comparing import UpdateReport
from sal_runtime.gallery.folder import gallery_path_for, locate, sync_folder
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.reindex import ReindexReport, reindex
from sal_runtime.gallery.update import NOTHING_KNOWN, Capture


def update_gallery(  # noqa: PLR0913 - all but four have defaults that fit
    place: Path,
    sources: Sequence[Path],
    bundle_path: Path | None,
    device: str,
    *,
    precision: Precision | None = None,
    capture: Capture = NOTHING_KNOWN,
    captures: Mapping[str, Capture] = MappingProxyType({}),
    forget: bool = False,
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
        captures: as for `add_images`; these images are added, too.
        forget: add images again that were removed from the gallery.
        progress: called with the number of images done and of all that are to be encoded.

    Raises:
        InputError: a folder with sources, a file without, or as `add_images` and `sync_folder` raise.
    """
    is_folder = place.is_dir()
    sources = [*sources, *map(Path, captures)]
    if is_folder and (sources or capture != NOTHING_KNOWN):
        raise InputError(
            f"{place}: a gallery that follows a folder takes its images from there only; name a gallery file to add "
            "images from elsewhere or to say where they come from"
        )
    if not is_folder and not sources:
        raise InputError(f"{place}: nothing to add; name image files or folders, or give the folder to be followed")
    path = gallery_path_for(place) if is_folder else place
    with Gallery.open(path) if path.is_file() else nullcontext() as gallery:
        bundle = open_bundle(choose_bundle_path(bundle_path, gallery))
        chosen = choose_precision(precision, gallery)
        encode = LazyImageEncoder(bundle, device=device, precision=chosen)
        if is_folder:
            report = sync_folder(
                place, bundle, encode, gallery=gallery, precision=chosen, forget=forget, progress=progress
            )
        else:
            report = add_images(
                path,
                sources,
                bundle,
                encode,
                gallery=gallery,
                capture=capture,
                captures=captures,
                precision=chosen,
                forget=forget,
                progress=progress,
            )
    return replace(report, device=encode.choice)


def reindex_gallery(
    place: Path,
    bundle_path: Path | None,
    device: str,
    *,
    precision: Precision | None = None,
    drop_missing: bool = False,
    progress: Progress | None = None,
) -> ReindexReport:
    """Encode a gallery anew with another bundle, or in another precision.

    Args:
        place: the gallery file, or the folder it follows.
        bundle_path: the bundle that encodes; None takes the default; see `choose_bundle_path`.
        device: `cpu`, `cuda`, `trt`, or `auto` for the best that can be had.
        precision: None takes that of the gallery.
        drop_missing: remove what cannot be read any more, where otherwise nothing is changed.
        progress: called with the number of images done and of all that are to be encoded.

    Raises:
        InputError: there is no gallery, another process writes it, or images cannot be read.
    """
    with Gallery.open(locate(place), "w") as gallery:
        bundle = open_bundle(choose_bundle_path(bundle_path, gallery))
        chosen = precision or gallery.precision
        if (bundle.fingerprint, chosen) == (gallery.fingerprint, gallery.precision):
            raise InputError(f"gallery {gallery.path}: is of bundle {bundle.name} in {chosen} already; nothing to do")
        encode = LazyImageEncoder(bundle, device=device, precision=chosen)
        return reindex(gallery, bundle, encode, chosen, drop_missing=drop_missing, progress=progress)


def import_into(place: str, sources: Sequence[Path], bundle_path: Path | None, progress: Progress | None = None) -> int:
    """Add the items of Parquet files to a gallery file or a collection of Milvus, made if there is none.

    Args:
        place: the gallery.
        sources: Parquet files, and folders of them.
        bundle_path: the bundle that made the embeddings; None takes the default; see `choose_bundle_path`.
        progress: called with the number of items read and of all.

    Returns:
        Number of items read.

    Raises:
        InputError: a file is missing, damaged or of another bundle, or the gallery is.
    """
    from sal_runtime.gallery.parquet import import_gallery, read_origin

    with open_to_fill(place, bundle_path, read_origin(sources).precision) as gallery:
        return import_gallery(sources, gallery, progress)
