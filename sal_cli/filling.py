"""Galleries that are filled with embeddings from elsewhere, by what people type."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.errors import InputError
from sal_runtime.gallery.choices import choose_bundle_path
from sal_runtime.gallery.folder import refuse_follower
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.places import TOKEN_VARIABLE, split_address
from sal_runtime.gallery.protocol import check_bundle, is_collection
from sal_runtime.gallery.store.whole import delete_gallery

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle
    from sal_runtime.gallery.protocol import SearchableGallery


@contextmanager
def open_to_fill(place: str, bundle_path: Path | None, precision: str) -> Iterator[SearchableGallery]:
    """A gallery, open for adding; made if there is none, and not left behind empty if the body fails.

    Args:
        place: a gallery file, or the address of a collection.
        bundle_path: the bundle that made the embeddings; None takes the default; see `choose_bundle_path`.
        precision: of a new gallery.

    Raises:
        InputError: the gallery is of another bundle, or follows a folder.
    """
    if is_collection(place):
        bundle = open_bundle(choose_bundle_path(bundle_path))
        with _collection_to_fill(place, bundle, precision) as collection:
            check_bundle(collection, bundle)
            yield collection
        return
    path = Path(place)
    is_new = not path.exists()
    with ExitStack() as stack:
        opened = None if is_new else stack.enter_context(Gallery.open(path, "w"))
        bundle = open_bundle(choose_bundle_path(bundle_path, opened))
        if opened is None:
            opened = stack.enter_context(Gallery.create(path, bundle, precision=precision))
        gallery = opened
        refuse_follower(gallery)
        check_bundle(gallery, bundle)
        try:
            yield gallery
        except BaseException:
            if is_new and len(gallery) == 0:
                delete_gallery(path)
            raise


@contextmanager
def _collection_to_fill(place: str, bundle: Bundle, precision: str) -> Iterator[SearchableGallery]:
    from sal_runtime.gallery.milvus.gallery import MilvusGallery

    address, collection = split_address(place)
    token = os.environ.get(TOKEN_VARIABLE)
    try:
        opened = MilvusGallery.open(address, collection, token)
    except InputError:
        opened = MilvusGallery.create(address, collection, bundle, precision, token)
    with opened as gallery:
        yield gallery
