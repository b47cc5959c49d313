"""Searches that learn from marks: which hits were right and which were wrong (Rocchio, 1971, on unit vectors)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sal_runtime.arrays import Float32Array
from sal_runtime.errors import InputError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem, ItemFilter

RIGHT, WRONG = 0.75, 0.25
"""Weights of the mean of the right and of the wrong images beside the description's own vector (docs/service.md)."""


def refine(vector: Float32Array, right: Float32Array, wrong: Float32Array) -> Float32Array:
    """The query vector after marks: `vector + RIGHT mean(right) - WRONG mean(wrong)`, at length 1.

    Args:
        vector: of the description, unit vector float32 `[d]`.
        right: unit vectors of the images that were marked right, float32 `[n, d]`; n may be 0.
        wrong: likewise of those that were marked wrong.
    """
    moved = vector.astype(np.float64)
    if len(right):
        moved = moved + RIGHT * right.mean(axis=0)
    if len(wrong):
        moved = moved - WRONG * wrong.mean(axis=0)
    length = np.linalg.norm(moved)
    return vector if length == 0 else np.asarray(moved / length, np.float32)


def mean_direction(vectors: Float32Array) -> Float32Array:
    """The mean of unit vectors float32 `[n, d]`, n at least 1, at length 1; the first where they cancel out."""
    mean = vectors.astype(np.float64).mean(axis=0)
    length = np.linalg.norm(mean)
    return vectors[0] if length == 0 else np.asarray(mean / length, np.float32)


def vectors_of(gallery: Gallery, uris: Sequence[str]) -> Float32Array:
    """The embeddings of images by their names, unit vectors float32 `[n, d]`, in their order.

    Raises:
        InputError: there is no such image (any more).
    """
    items = gallery.find(uris)
    for uri in uris:
        if uri not in items:
            raise InputError(f"there is no image {uri} (any more); search again", parameter="uri")
    found: dict[str, Float32Array] = {}
    for item in items.values():
        if item.uri not in found:
            for ids, vectors in gallery.chunks(_around(item)):
                beside = [other.uri for other in gallery.items(ids.tolist())]
                found.update(pair for pair in zip(beside, vectors, strict=True) if pair[0] in items)
    if len(found) < len(items):
        raise InputError("an image was removed meanwhile; search again", parameter="uri")
    return np.array([found[uri] for uri in uris], np.float32).reshape(len(uris), gallery.embedding_dim)


def _around(item: GalleryItem) -> ItemFilter | None:
    """The narrowest filter that an item passes; None for an item of which nothing is known."""
    moment = item.captured_at
    where = ItemFilter(
        cameras=() if item.camera is None else (item.camera,),
        tracks=() if item.track is None else (item.track,),
        captured_from=moment,
        captured_until=None if moment is None else math.nextafter(moment, math.inf),
    )
    return where or None
