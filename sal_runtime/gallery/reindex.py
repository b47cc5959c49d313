"""Encoding a gallery anew with another bundle or in another precision.

The new embeddings are collected in a second gallery file, the generation, while the gallery is searched as before. A
run that was stopped continues where it was. When everything is encoded, one transaction replaces the old embeddings.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sal_runtime.arrays import Encode, Progress, UInt8Array
from sal_runtime.encoding.pipeline import encode_stream
from sal_runtime.errors import InputError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.generations import reserve_ids, take_over
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.store.file import generation_path
from sal_runtime.gallery.store.whole import delete_gallery
from sal_runtime.gallery.update import load_item

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle
    from sal_runtime.ranking.approximate import GalleryVersion


@dataclass(frozen=True)
class ReindexReport:
    """What `reindex` did.

    Attributes:
        encoded: number of images encoded now.
        kept: number of images that an earlier run had encoded already.
        dropped: (path, reason) of each image that was removed from the gallery because it cannot be read.
    """

    encoded: int
    kept: int
    dropped: tuple[tuple[str, str], ...]


def reindex(
    gallery: Gallery,
    bundle: Bundle,
    encode: Encode,
    precision: str,
    *,
    drop_missing: bool = False,
    progress: Progress | None = None,
) -> ReindexReport:
    """Encode all images of a gallery anew, and replace its embeddings; then it belongs to the new bundle.

    Handles that others hold open for reading raise an error at their next use and must be opened again. Arguments and
    errors are those of `encode_generation`.

    Raises:
        InputError: another thread has changed the gallery meanwhile; what was encoded is kept for the next run.
    """
    before, report = encode_generation(gallery, bundle, encode, precision, drop_missing, progress)
    take_over(gallery, generation_path(gallery.path), before)
    delete_gallery(generation_path(gallery.path))
    gallery.erase()
    return report


def encode_generation(
    gallery: Gallery,
    bundle: Bundle,
    encode: Encode,
    precision: str,
    drop_missing: bool = False,
    progress: Progress | None = None,
) -> tuple[GalleryVersion, ReindexReport]:
    """Encode the images of a gallery that its next generation does not have yet; the gallery is not changed.

    Images are read from the paths that the gallery has.

    Args:
        gallery: open for writing.
        bundle: the new bundle.
        encode: uint8 `[n, H, W, 3]` to unit vectors float32 `[n, d]`.
        precision: precision of `encode`.
        drop_missing: leave out images that cannot be read any more; otherwise they are an error.
        progress: called with the number of encoded images, and of all images.

    Raises:
        InputError: images cannot be read and `drop_missing` is not set; what was encoded is kept for the next run.
        SalError: writing failed; the gallery is unchanged.
    """
    path, before = generation_path(gallery.path), gallery.stamp()
    items = {item.uri: item for item in gallery.all_items()}
    with _open_generation(path, gallery, bundle, precision) as generation:
        encoded = {item.uri: item for item in generation.all_items()}
        kept = {uri for uri, item in encoded.items() if uri in items and _is_current(gallery, items[uri], item)}
        generation.remove(encoded.keys() - kept, may_return=True)
        missing = [item for uri, item in items.items() if uri not in kept]
        failed = _encode_items(missing, gallery, generation, bundle, encode, progress)
        if failed and not drop_missing:
            image, reason = failed[0]
            raise InputError(
                f"gallery {gallery.path}: {len(failed):,} of {len(items):,} images cannot be read any more (first: "
                f"{image}: {reason}); bring them back, or set drop_missing to remove them from the gallery"
            )
        generation.erase()  # moves everything from the log into the file
    return before, ReindexReport(len(missing) - len(failed), len(kept), tuple(failed))


def _encode_items(
    items: Sequence[GalleryItem],
    gallery: Gallery,
    generation: Gallery,
    bundle: Bundle,
    encode: Encode,
    progress: Progress | None,
) -> list[tuple[str, str]]:
    """Encode items into the generation; returns (path, reason) of each image that cannot be read."""

    def load(item: GalleryItem) -> tuple[GalleryItem, UInt8Array]:
        read, image = load_item(gallery.image_path(item), item.uri, bundle.image_spec)
        return replace(item, content_hash=read.content_hash, size=read.size, mtime_ns=read.mtime_ns), image

    failed: list[tuple[str, str]] = []
    done = 0
    for batch in encode_stream(items, load, encode):
        if batch.records:
            generation.add(batch.records, batch.embeddings)
        failed += [(str(gallery.image_path(item)), reason) for item, reason in batch.failed]
        done += len(batch.records) + len(batch.failed)
        if progress is not None:
            progress(done, len(items))
    return failed


def _open_generation(path: Path, gallery: Gallery, bundle: Bundle, precision: str) -> Gallery:
    """The generation of this bundle and precision: as an earlier run left it, or empty."""
    if path.exists():
        try:
            generation = Gallery.open(path, "w")
        except InputError:
            delete_gallery(path)  # damaged by a power cut; nothing in it is needed
        else:
            if (generation.fingerprint, generation.precision) == (bundle.fingerprint, precision):
                return generation
            generation.close()
            delete_gallery(path)
    generation = Gallery.create(path, bundle, precision=precision)
    reserve_ids(generation, gallery)
    return generation


def _is_current(gallery: Gallery, item: GalleryItem, encoded: GalleryItem) -> bool:
    """Whether an earlier run encoded the item as the gallery describes it now, from the same image file."""
    try:
        state = os.stat(gallery.image_path(item))
    except OSError:
        return False
    read = replace(item, content_hash=encoded.content_hash, size=state.st_size, mtime_ns=state.st_mtime_ns)
    return read == encoded
