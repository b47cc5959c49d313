"""Galleries by what people type: a file, or a collection of Milvus as `http://HOST:19530/COLLECTION`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sal_runtime.errors import InputError
from sal_runtime.gallery.folder import locate
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.store.file import delete_gallery

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle
    from sal_runtime.gallery.protocol import SearchableGallery

TOKEN_VARIABLE = "SAL_MILVUS_TOKEN"
"""`user:password` or an API key; not an option, because others can read the command lines of processes."""
EMBEDDED = ".db/"
"""`FILE.db/COLLECTION` is a file of the embedded edition."""


def is_collection(place: str) -> bool:
    """Whether a place is a collection of Milvus and not a file."""
    return place.startswith(("http://", "https://")) or EMBEDDED in place


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
def open_to_fill(place: str, bundle: Bundle, precision: str) -> Iterator[SearchableGallery]:
    """A gallery of this bundle, open for adding; made if there is none, and not left behind empty if that fails.

    Raises:
        InputError: the gallery is of another bundle, or follows a folder.
    """
    from sal_runtime.gallery.folder import refuse_follower

    if is_collection(place):
        with _collection_to_fill(place, bundle, precision) as gallery:
            gallery.check_bundle(bundle)
            yield gallery
        return
    path = Path(place)
    is_new = not path.exists()
    with Gallery.create(path, bundle, precision=precision) if is_new else Gallery.open(path, "w") as gallery:
        refuse_follower(gallery)
        gallery.check_bundle(bundle)
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
