"""Bringing a gallery up to date with image files: what is new or changed is encoded, the rest is left alone.

An image is taken as unchanged if its size and time are; if only the time differs, its content decides. Every batch is
committed before the next, so that a run that is stopped continues where it was.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sal_runtime.arrays import Encode, Progress
from sal_runtime.encoding.pipeline import encode_stream
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.images.folder import ImageFile, Listing, content_hash
from sal_runtime.images.pixels import ImageSpec, decode_image, read_file, resize_image

if TYPE_CHECKING:
    from sal_runtime.engines.devices import DeviceChoice
    from sal_runtime.images.pixels import ImageSpec

Describe = Callable[[GalleryItem], GalleryItem]
"""Adds to an item what its file does not say, such as the camera."""


@dataclass(frozen=True)
class Changes:
    """How image files differ from a gallery, as uris.

    Attributes:
        new: not in the gallery.
        changed: in the gallery with other content.
        removed: in the gallery only.
        touched: same content with another time, as items.
        unchanged: number of images whose content is in the gallery, touched ones included.
    """

    new: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    touched: tuple[GalleryItem, ...]
    unchanged: int


@dataclass(frozen=True)
class UpdateReport:
    """What bringing a gallery up to date came to.

    Attributes:
        added: images that were new.
        changed: images whose content was not the one in the gallery.
        removed: images that are gone, or that changed and cannot be read any more.
        unchanged: images that were there already.
        failed: (path, reason) of each image that cannot be searched.
        device: where images were encoded, and why there; None if none had to be, or the caller knows.
    """

    added: int
    changed: int
    removed: int
    unchanged: int
    failed: tuple[tuple[str, str], ...]
    device: DeviceChoice | None = None


def compare_files(known: dict[str, GalleryItem], listing: Listing) -> Changes:
    """Find out what is new, changed or gone; reads a file only if its time differs and its size does not."""
    new, changed, touched = [], [], []
    for uri, file in listing.files.items():
        item = known.get(uri)
        if item is None:
            new.append(uri)
        elif (item.size, item.mtime_ns) != (file.size, file.mtime_ns):
            if item.size == file.size and _has_content(file.path, item.content_hash):
                touched.append(replace(item, mtime_ns=file.mtime_ns))
            else:
                changed.append(uri)
    hidden = tuple(listing.unlisted)
    removed = [uri for uri in known if uri not in listing.files and not (hidden and uri.startswith(hidden))]
    unchanged = len(listing.files) - len(new) - len(changed)
    return Changes(tuple(new), tuple(changed), tuple(removed), tuple(touched), unchanged)


def apply_changes(
    changes: Changes,
    listing: Listing,
    open_writer: Callable[[], Gallery],
    image_spec: ImageSpec,
    encode: Encode,
    progress: Progress | None = None,
    describe: Describe = lambda item: item,
) -> UpdateReport:
    """Make a gallery agree with image files.

    Args:
        changes: between the gallery and the files.
        listing: the files.
        open_writer: opens the gallery; called only if there is something to write, so that any number of processes may
            search images that do not change.
        image_spec: of the encoder.
        encode: called only if there is something to encode.
        progress: told how far encoding is.
        describe: applied to every new or changed item.

    Raises:
        InputError: another process writes the gallery.
    """
    with ExitStack() as stack:
        writer = functools.cache(lambda: stack.enter_context(open_writer()))
        if changes.removed:
            writer().remove(changes.removed)
        if changes.touched:
            writer().update(changes.touched)
        files = {uri: listing.files[uri] for uri in sorted((*changes.new, *changes.changed))}
        broken = _encode_files(files, writer, image_spec, encode, progress, describe)
        broken_changed = [uri for uri in changes.changed if uri in broken]
        if broken_changed:
            writer().remove(broken_changed)
        elif changes.changed:
            writer().erase()  # what the changed images looked like before
    return UpdateReport(
        added=len(changes.new) - sum(uri in broken for uri in changes.new),
        changed=len(changes.changed) - len(broken_changed),
        removed=len(changes.removed) + len(broken_changed),
        unchanged=changes.unchanged,
        failed=(*listing.failed, *((files[uri].path, reason) for uri, reason in broken.items())),
    )


def _encode_files(
    files: dict[str, ImageFile],
    writer: Callable[[], Gallery],
    image_spec: ImageSpec,
    encode: Encode,
    progress: Progress | None,
    describe: Describe,
) -> dict[str, str]:
    """Encode and store files; returns why what could not be read could not, by uri."""

    def load(uri: str) -> tuple[GalleryItem, NDArray[np.uint8]]:
        item, image = load_item(files[uri].path, uri, image_spec)
        return describe(item), image

    broken: dict[str, str] = {}
    done = 0
    for batch in encode_stream(files, load, encode):
        if batch.records:
            writer().add(batch.records, batch.embeddings)
        broken |= dict(batch.failed)
        done += len(batch.records) + len(batch.failed)
        if progress is not None:
            progress(done, len(files))
    return broken


def _has_content(path: str, expected: str | None) -> bool:
    try:
        return content_hash(path) == expected
    except OSError:
        return False  # encoding it will say why


def load_item(path: str | os.PathLike[str], uri: str, spec: ImageSpec) -> tuple[GalleryItem, NDArray[np.uint8]]:
    """Read one image file; content hash, time and pixels are of the same bytes.

    Returns:
        The item for the gallery, and the image uint8 `[height, width, 3]` RGB.

    Raises:
        InputError: it is no whole image, or too large.
        OSError: it cannot be read.
    """
    data, state = read_file(path)
    image = resize_image(decode_image(data), spec)
    return GalleryItem(uri, hashlib.sha256(data).hexdigest(), state.st_size, state.st_mtime_ns), image
