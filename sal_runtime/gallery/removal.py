"""Removing images from gallery files, for good."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from sal_runtime.errors import InputError
from sal_runtime.gallery.folder import locate, refuse_follower
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import ItemFilter
from sal_runtime.gallery.moments import parse_age


def remove_images(place: Path, uris: Sequence[str], where: ItemFilter) -> int:
    """Remove images from a gallery for good: some by their uri or path, or all that a filter lets through.

    Returns:
        How many.

    Raises:
        InputError: an image is not in the gallery (nothing is removed then), the gallery follows a folder, or there are
            both images and conditions, or neither.
    """
    if bool(uris) == bool(where):
        raise InputError(
            "expected either the names of images to remove, or conditions such as a camera", parameter="conditions"
        )
    with Gallery.open(locate(place), "w") as gallery:
        refuse_follower(gallery)
        if where:
            return gallery.remove_where(where)
        known = gallery.find(uris)
        wanted = [uri if uri in known else os.path.abspath(uri) for uri in uris]
        known |= gallery.find(wanted)
        missing = [uri for uri, resolved in zip(uris, wanted, strict=True) if resolved not in known]
        if missing:
            raise InputError(
                f"gallery {gallery.path}: holds no {', '.join(missing[:5])}{' ...' if len(missing) > 5 else ''}; "
                "nothing was removed; name images as a search shows them"
            )
        return gallery.remove(wanted)


def purge_images(place: Path, older_than: str, where: ItemFilter | None = None) -> int:
    """Remove for good what was captured (added, where that is not known) longer ago than an age such as `30d`.

    Args:
        place: of the gallery.
        older_than: the age.
        where: only images that this filter lets through.

    Returns:
        How many images.

    Raises:
        InputError: the age cannot be understood, or the gallery follows a folder.
    """
    before = time.time() - parse_age(older_than)
    with Gallery.open(locate(place), "w") as gallery:
        refuse_follower(gallery)
        return gallery.purge(before, where)
