"""Galleries by what people type: a file, or a collection of Milvus as `http://HOST:19530/COLLECTION`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.errors import InputError
from sal_runtime.gallery.choices import choose_bundle_path
from sal_runtime.gallery.folder import locate, refuse_follower
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.protocol import check_bundle, is_collection
from sal_runtime.gallery.store.whole import delete_gallery

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle
    from sal_runtime.gallery.protocol import SearchableGallery

TOKEN_VARIABLE = "SAL_MILVUS_TOKEN"
"""`user:password` or an API key; not an option, because others can read the command lines of processes."""


@contextmanager
def open_place(place: str) -> Iterator[SearchableGallery]:
    """A gallery, open for searching.

    Raises:
        InputError: there is none.
    """
    with ExitStack() as stack:
        if is_collection(place):
            from sal_runtime.gallery.milvus.gallery import MilvusGallery

            address, collection = _split(place)
            yield stack.enter_context(MilvusGallery.open(address, collection, os.environ.get(TOKEN_VARIABLE)))
        else:
            yield stack.enter_context(Gallery.open(locate(Path(place))))


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

    address, collection = _split(place)
    token = os.environ.get(TOKEN_VARIABLE)
    try:
        opened = MilvusGallery.open(address, collection, token)
    except InputError:
        opened = MilvusGallery.create(address, collection, bundle, precision, token)
    with opened as gallery:
        yield gallery


def _split(place: str) -> tuple[str, str]:
    """Address and collection."""
    address, _, collection = place.rpartition("/")
    if not collection or address in ("http:/", "https:/"):
        raise InputError(f"{place}: names no collection; expected http://HOST:19530/COLLECTION")
    return address, collection
