"""A second gallery file, the generation, that takes the place of the first when everything is encoded in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sal_runtime.errors import InputError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.store.changes import take_generation
from sal_runtime.gallery.store.file import explained, read_counter, write_counter

if TYPE_CHECKING:
    from sal_runtime.ranking.approximate import GalleryVersion


def reserve_ids(generation: Gallery, gallery: Gallery) -> None:
    """Give coming items of a generation other ids than the gallery has ever given, or will give to its next 2^32."""
    with gallery._reading() as theirs, generation._writing() as ours:
        write_counter(ours, "next_id", read_counter(theirs, "next_id") + (1 << 32))


def take_over(gallery: Gallery, generation: Path, before: GalleryVersion) -> None:
    """Replace all items and embeddings by those of another gallery file, of any bundle, in one transaction.

    Args:
        gallery: open for writing.
        generation: the other file. After `erase`, the old embeddings are gone from the bytes of the gallery.
        before: stamp of the gallery when the other one was made from it.

    Raises:
        InputError: the gallery has changed since then; nothing was replaced.
        SalError: writing failed; nothing was replaced.
    """
    with gallery._turn, explained(gallery.path):
        if gallery.stamp() != before:
            raise InputError(f"gallery {gallery.path}: was changed meanwhile; run it again to go on where it was")
        attached = f"{generation.resolve().as_uri()}?mode=rw"
        gallery._connection.execute("ATTACH DATABASE ? AS generation", (attached,))
        try:
            with gallery._writing() as connection:
                take_generation(connection)
        finally:
            gallery._connection.execute("DETACH DATABASE generation")
        gallery._read_meta()
