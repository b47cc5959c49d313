"""Bringing a gallery up to date with image files: what is new or changed is encoded, the rest is left alone.

Every batch is committed before the next, so that a run that is stopped continues where it was.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sal_runtime.arrays import Encode, Progress, UInt8Array
from sal_runtime.encoding.pipeline import encode_stream
from sal_runtime.errors import InputError
from sal_runtime.gallery.comparing import Changes, UpdateReport
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.moments import FILE_TIME, parse_moment
from sal_runtime.gallery.store.file import explained
from sal_runtime.images.folder import Listing
from sal_runtime.images.pixels import decode_image, read_file, resize_image
from sal_runtime.images.spec import ImageSpec

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle


@dataclass(frozen=True)
class Capture:
    """What you know about images that their files do not say.

    Attributes:
        camera: name of the camera.
        captured_at: a moment as `parse_moment` reads it (local time unless it names an offset), or `mtime` for the
            times of the files.
        metadata: anything else that filters may ask for; it is added to what is known already.
        track: name of the person's track within the camera.
        box: place of the person in the camera's image: left, top, width, height in pixels.
    """

    camera: str | None = None
    captured_at: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    track: str | None = None
    box: tuple[int, int, int, int] | None = None

    @cached_property
    def _moment(self) -> float | None:
        if self.captured_at is None or self.captured_at == FILE_TIME:
            return None
        try:
            return parse_moment(self.captured_at)
        except InputError as error:
            raise InputError(f"{error}; or {FILE_TIME}, the time of the image file") from None

    def __post_init__(self) -> None:
        """Refuse a moment that cannot be understood.

        Raises:
            InputError: it cannot.
        """
        _ = self._moment

    def describe(self, item: GalleryItem) -> GalleryItem:
        """The item with these facts added."""
        moment = (item.mtime_ns or 0) / 1e9 if self.captured_at == FILE_TIME else self._moment
        return replace(
            item,
            camera=item.camera if self.camera is None else self.camera,
            captured_at=item.captured_at if moment is None else moment,
            metadata={**item.metadata, **self.metadata},
            track=item.track if self.track is None else self.track,
            box=item.box if self.box is None else self.box,
        )


NOTHING_KNOWN = Capture()


class GalleryWriter:
    """The gallery file that an update writes; it is opened, or made, when there is something to write.

    So any number of processes may search images that do not change.

    Args:
        path: the gallery file.
        bundle: stamps a new gallery, and encodes.
        precision: of a new gallery.
        root: the folder that a new gallery follows, if any.
    """

    def __init__(self, path: Path, bundle: Bundle, precision: str, root: Path | None = None) -> None:
        self.bundle = bundle
        self._path, self._precision, self._root = path, precision, root

    @cached_property
    def gallery(self) -> Gallery:
        """The gallery, open for writing.

        Raises:
            InputError: another process writes it.
            SalError: it cannot be written there.
        """
        if self._path.exists():
            return Gallery.open(self._path, "w")
        with explained(self._path):
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Gallery.create(self._path, self.bundle, self._root, self._precision)

    def __enter__(self) -> GalleryWriter:
        """The writer itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the gallery if it was opened."""
        if "gallery" in vars(self):
            self.gallery.close()


def apply_changes(
    changes: Changes,
    listing: Listing,
    writer: GalleryWriter,
    encode: Encode,
    describe: Callable[[GalleryItem], GalleryItem] = NOTHING_KNOWN.describe,
    progress: Progress | None = None,
) -> UpdateReport:
    """Make a gallery agree with image files.

    Args:
        changes: between the gallery and the files.
        listing: the files.
        writer: of the gallery.
        encode: called only if there is something to encode.
        describe: adds what is known of a new or changed image beside its file.
        progress: called with the number of images done and of all that are to be encoded.

    Raises:
        InputError: another process writes the gallery.
    """
    if changes.removed:
        writer.gallery.remove(changes.removed, may_return=True)
    if changes.touched:
        writer.gallery.update(changes.touched)
    files = {uri: listing.files[uri] for uri in sorted((*changes.new, *changes.changed))}

    def load(uri: str) -> tuple[GalleryItem, UInt8Array]:
        item, image = load_item(files[uri].path, uri, writer.bundle.image_spec)
        return describe(item), image

    broken: dict[str, str] = {}
    done = 0
    for batch in encode_stream(files, load, encode):
        if batch.records:
            writer.gallery.add(batch.records, batch.embeddings)
        broken |= dict(batch.failed)
        done += len(batch.records) + len(batch.failed)
        if progress is not None:
            progress(done, len(files))
    broken_changed = [uri for uri in changes.changed if uri in broken]
    if broken_changed:
        writer.gallery.remove(broken_changed, may_return=True)
    elif changes.changed:
        writer.gallery.erase()  # what the changed images looked like before
    return UpdateReport(
        added=len(changes.new) - sum(uri in broken for uri in changes.new),
        changed=len(changes.changed) - len(broken_changed),
        removed=len(changes.removed) + len(broken_changed),
        unchanged=changes.unchanged,
        held_back=changes.held_back,
        failed=(*listing.failed, *((files[uri].path, reason) for uri, reason in broken.items())),
    )


def load_item(path: str | os.PathLike[str], uri: str, spec: ImageSpec) -> tuple[GalleryItem, UInt8Array]:
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
