"""How image files differ from a gallery: what is new, changed or gone.

An image counts as unchanged if its size and time are the same; if only the time differs, its content decides.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sal_runtime.gallery.items import GalleryItem
from sal_runtime.images.folder import Listing, content_hash

if TYPE_CHECKING:
    from sal_runtime.engines.devices import DeviceChoice


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

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.new or self.changed or self.removed or self.touched)


@dataclass(frozen=True)
class UpdateReport:
    """The outcome of bringing a gallery up to date.

    Attributes:
        added: images that were new.
        changed: images whose content was not the one in the gallery.
        removed: images that are gone, or that changed and cannot be read any more.
        unchanged: images that were there already.
        failed: (path, reason) of each image that cannot be searched.
        device: where images were encoded, and why there; None if none had to be.
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


def _has_content(path: str, expected: str | None) -> bool:
    try:
        return content_hash(path) == expected
    except OSError:
        return False  # encoding it will say why
