"""Encoding a gallery anew with another bundle or in another precision.

The new generation grows in a file beside the gallery, which is searched as before meanwhile; a run that is stopped
continues where it was. When everything is encoded, one transaction puts the new generation in the place of the old.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sal_runtime.arrays import Encode, Progress
from sal_runtime.encoding.pipeline import encode_stream
from sal_runtime.errors import InputError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.store.file import delete_gallery
from sal_runtime.gallery.update import load_item

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle


@dataclass(frozen=True)
class ReindexReport:
    """What encoding a gallery anew came to.

    Attributes:
        encoded: images encoded now.
        kept: images that an earlier run had encoded already.
        dropped: (path, reason) of each image that is in the gallery no more because it cannot be read.
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
    """Encode all images of a gallery anew, and swap the new embeddings in.

    Images are read from where the gallery knows them to be. Handles that are open for reading say so when they are
    next asked, and have to be opened again.

    Args:
        gallery: open for writing; it is of the new bundle afterwards.
        bundle: that encodes.
        encode: uint8 `[n, H, W, 3]` to unit vectors float32 `[n, d]`.
        precision: of `encode`.
        drop_missing: remove from the gallery what cannot be read any more, where otherwise nothing is swapped.
        progress: told how many of how many images are encoded.

    Raises:
        InputError: images cannot be read and `drop_missing` is not set, or another thread has changed the gallery
            meanwhile; what was encoded is kept for the next try.
        SalError: writing failed; the gallery is as it was.
    """
    beside, before = gallery.generation_path, gallery.stamp()
    items = {item.uri: item for item in gallery.all_items()}
    with _open_generation(beside, gallery, bundle, precision) as generation:
        encoded = {item.uri: item for item in generation.all_items()}
        kept = {uri for uri, item in encoded.items() if uri in items and _is_current(gallery, items[uri], item)}
        generation.remove(encoded.keys() - kept)
        missing = [item for uri, item in items.items() if uri not in kept]
        failed = _encode_items(missing, gallery, generation, bundle, encode, progress)
        if failed and not drop_missing:
            path, reason = failed[0]
            raise InputError(
                f"gallery {gallery.path}: {len(failed):,} of {len(items):,} images cannot be read any more (first: "
                f"{path}: {reason}); bring them back, or drop them from the gallery with --drop-missing"
            )
        generation.erase()  # so that all of it is in the file, and nothing in a log beside it
    gallery.take_over(beside, before)
    delete_gallery(beside)
    gallery.erase()
    return ReindexReport(len(missing) - len(failed), len(kept), tuple(failed))


def _encode_items(
    items: Sequence[GalleryItem],
    gallery: Gallery,
    generation: Gallery,
    bundle: Bundle,
    encode: Encode,
    progress: Progress | None,
) -> list[tuple[str, str]]:
    """Encode items into the new generation; returns (path, reason) of what cannot be read."""

    def load(item: GalleryItem) -> tuple[GalleryItem, NDArray[np.uint8]]:
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
    """The new generation, of this bundle: as an earlier run left it, or empty."""
    if path.exists():
        try:
            generation = Gallery.open(path, "w")
        except InputError:
            delete_gallery(path)  # of a killed machine; nothing in it is needed
        else:
            if (generation.fingerprint, generation.precision) == (bundle.fingerprint, precision):
                return generation
            generation.close()
            delete_gallery(path)
    generation = Gallery.create(path, bundle, precision=precision)
    generation.reserve_ids(gallery)
    return generation


def _is_current(gallery: Gallery, item: GalleryItem, encoded: GalleryItem) -> bool:
    """Whether what an earlier run encoded is still what the gallery and the file of an item say."""
    try:
        state = os.stat(gallery.image_path(item))
    except OSError:
        return False
    read = replace(item, content_hash=encoded.content_hash, size=state.st_size, mtime_ns=state.st_mtime_ns)
    return read == encoded
