"""How image files differ from a gallery: what is new, changed or gone.

An image counts as unchanged if its size and time are the same; if only the time differs, its content decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sal_runtime.gallery.items import GalleryItem
from sal_runtime.images.folder import Listing, content_hash

if TYPE_CHECKING:
    from sal_runtime.engines.devices import DeviceChoice
    from sal_runtime.gallery.gallery import Gallery


@dataclass(frozen=True)
class Changes:
    """How image files differ from a gallery, as uris.

    Attributes:
        new: not in the gallery.
        changed: in the gallery with other content.
        removed: in the gallery only.
        touched: same content with another time, as items.
        unchanged: number of images whose content is in the gallery, touched ones included.
        held_back: number of images that were removed from the gallery before and are not added again.
    """

    new: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    touched: tuple[GalleryItem, ...]
    unchanged: int
    held_back: int = 0

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
        held_back: images that were removed from the gallery before, and so were not added.
        passed_over: number of files that are no images by their names, by suffix.
    """

    added: int
    changed: int
    removed: int
    unchanged: int
    failed: tuple[tuple[str, str], ...]
    device: DeviceChoice | None = None
    held_back: int = 0
    passed_over: Mapping[str, int] = field(default_factory=dict)


def compare_files(known: dict[str, GalleryItem], listing: Listing, gallery: Gallery | None = None) -> Changes:
    """Find out what is new, changed or gone; reads a known file only if its time differs and its size does not.

    Args:
        known: the items of the gallery, by uri.
        listing: the image files.
        gallery: holds removed images back, for which new and changed files are read; None holds nothing back.
    """
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
    held_back = _removed_before(listing, (*new, *changed), gallery)
    hidden = tuple(listing.unlisted)
    removed = [uri for uri in known if uri not in listing.files and not (hidden and uri.startswith(hidden))]
    removed += [uri for uri in changed if uri in held_back]
    unchanged = len(listing.files) - len(new) - len(changed)
    new, changed = ([uri for uri in uris if uri not in held_back] for uris in (new, changed))
    return Changes(tuple(new), tuple(changed), tuple(removed), tuple(touched), unchanged, len(held_back))


def _removed_before(listing: Listing, uris: Sequence[str], gallery: Gallery | None) -> set[str]:
    """The uris of files with a content that was removed from the gallery."""
    if gallery is None or not gallery.num_held_back():
        return set()
    contents = {}
    for uri in uris:
        with suppress(OSError):  # encoding it will say why
            contents[uri] = content_hash(listing.files[uri].path)
    removed = gallery.held_back(contents.values())
    return {uri for uri, content in contents.items() if content in removed}


def _has_content(path: str, expected: str | None) -> bool:
    try:
        return content_hash(path) == expected
    except OSError:
        return False  # encoding it will say why
