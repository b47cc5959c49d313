"""The interface of a gallery, whether it keeps its vectors in a file or in a cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from sal_runtime.arrays import Float32Array, Int64Array
from sal_runtime.errors import InputError

if TYPE_CHECKING:
    from sal_runtime.bundle.bundle import Bundle
    from sal_runtime.gallery.items import GalleryItem, ItemFilter, Neighbours
    from sal_runtime.ranking.scoring import Queries

EMBEDDED = ".db/"
"""`FILE.db/COLLECTION` is a file of the embedded edition."""


class SearchableGallery(Protocol):
    """Items with their embeddings, all made by one bundle. Safe to use from many threads."""

    @property
    def title(self) -> str:
        """Its file or address, for messages."""

    @property
    def fingerprint(self) -> str:
        """Identifies the bundle that made the embeddings."""

    @property
    def bundle_name(self) -> str:
        """Name of that bundle."""

    @property
    def embedding_dim(self) -> int:
        """Length of an embedding."""

    @property
    def precision(self) -> str:
        """Precision of the image encoder that makes the embeddings: fp32, fp16 or int8."""

    def __len__(self) -> int:
        """Number of items."""

    def count(self, where: ItemFilter) -> int:
        """Number of items that a filter lets through."""

    def add(self, items: Sequence[GalleryItem], embeddings: Float32Array) -> None:
        """Add n items with unit vectors float32 `[n, d]`; an item whose uri is known replaces it (last one wins).

        Raises:
            InputError: the embeddings do not fit the items or the gallery, or are not finite unit vectors.
            SalError: writing failed.
        """

    def held_back(self, content_hashes: Iterable[str | None]) -> set[str]:
        """Those of some content hashes whose images were removed and must not come back with an import."""

    def remove(self, uris: Iterable[str]) -> int:
        """Remove items for good, and say how many there were; unknown uris are passed over.

        Raises:
            SalError: writing failed.
        """

    def remove_where(self, where: ItemFilter) -> int:
        """Remove the items that a filter lets through for good, and say how many there were.

        Raises:
            InputError: the filter has no condition.
            SalError: writing failed.
        """

    def nearest(self, queries: Queries, k: int, where: ItemFilter | None = None) -> list[Neighbours]:
        """The items whose embeddings answer each query best, among those that a filter lets through.

        Args:
            queries: unit vectors float32 `[Q, d]`, ranked by the cosine; or the scoring of each, at most 256.
            k: at least 1; fewer come where there are fewer items.
            where: applied before ranking, so that k of the fitting items come; None for all.

        Returns:
            For each query up to k items, best first.
        """

    def items(self, ids: Iterable[int]) -> tuple[GalleryItem, ...]:
        """The items with these ids, in their order.

        Raises:
            InputError: there is no such item (any more).
        """

    def chunks(self, where: ItemFilter | None = None) -> Iterator[tuple[Int64Array, Float32Array]]:
        """All ids int64 `[n]` and embeddings float32 `[n, d]` that a filter lets through, a part at a time."""

    def image_path(self, item: GalleryItem) -> Path:
        """Path of the image of an item; the image may be gone."""


def check_bundle(gallery: SearchableGallery, bundle: Bundle) -> None:
    """Refuse a bundle other than the one that made the embeddings of a gallery.

    Raises:
        InputError: it is another one.
    """
    if bundle.fingerprint != gallery.fingerprint:
        raise InputError(
            f"gallery {gallery.title}: was made by bundle {gallery.bundle_name} ({gallery.fingerprint[:12]}), got "
            f"bundle {bundle.name} ({bundle.fingerprint[:12]}); use the bundle that made it, or encode the images anew",
            parameter="gallery_bundle",
        )


def is_collection(place: str) -> bool:
    """Whether a place is a collection of Milvus and not a file."""
    return place.startswith(("http://", "https://")) or EMBEDDED in place
