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
from sal_runtime.gallery.protocol import is_collection

if TYPE_CHECKING:
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

            address, collection = split_address(place)
            yield stack.enter_context(MilvusGallery.open(address, collection, os.environ.get(TOKEN_VARIABLE)))
        else:
            yield stack.enter_context(Gallery.open(locate(Path(place))))


def split_address(place: str) -> tuple[str, str]:
    """The address of a server and the name of a collection there; an InputError if a place names no collection."""
    address, _, collection = place.rpartition("/")
    if not collection or address in ("http:/", "https:/"):
        raise InputError(f"{place}: names no collection; expected http://HOST:19530/COLLECTION")
    return address, collection
