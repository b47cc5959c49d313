"""Searches that learn from marks: which hits were right and which were wrong.

As in J. J. Rocchio, "Relevance feedback in information retrieval", The SMART Retrieval System, 1971, a query moves
towards what was marked right and away from what was marked wrong; here on unit vectors:

    d = RIGHT * mean(right) - WRONG * mean(wrong)

In the match score of an image x, which joins the cosine with the query vector q and the evidence of the words
(sal_runtime/matching/scoring.py), both learn: q becomes q + d, at length 1, and the logit of the evidence grows by
EVIDENCE * d x. Without the second part the likelihood of descriptions with few words, which are ordered by their
evidence, would lag behind what the marks have shown. benchmarks/feedback.py chose the weights and measures the rule;
docs/evaluation.md tells what it brings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from sal_runtime.arrays import Float32Array
from sal_runtime.bundle.bundle import Bundle
from sal_runtime.errors import InputError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem, ItemFilter
from sal_runtime.matching.scoring import query_information
from sal_runtime.query.language import Query

RIGHT, WRONG, EVIDENCE = 1.5, 1.125, 2.0
"""Weights of the mean of the right and of the wrong images beside the description, and what the evidence learns."""


def refine(
    vector: Float32Array,
    right: Float32Array,
    wrong: Float32Array,
    share: float,
    weights: tuple[float, float, float] = (RIGHT, WRONG, EVIDENCE),
) -> Float32Array:
    """The vector float32 `[d]`, of any length, whose match score is that after the marks.

    The match score takes the product with it times `share`, so that what the evidence learns is in it, too.

    Args:
        vector: of the description, unit vector float32 `[d]`.
        right: unit vectors of the images that were marked right, float32 `[n, d]`; n may be 0.
        wrong: likewise of those that were marked wrong.
        share: of the cosine in the match score, 0..1 (`cosine_share`).
        weights: in the place of `RIGHT`, `WRONG` and `EVIDENCE`.
    """
    for_right, for_wrong, for_evidence = weights
    moved = np.zeros(len(vector))
    if len(right):
        moved += for_right * right.mean(axis=0)
    if len(wrong):
        moved -= for_wrong * wrong.mean(axis=0)
    turned = vector + moved
    turned /= np.linalg.norm(turned) or 1.0
    if share > 0:  # otherwise nothing that is asked can be told from marks: everybody fits
        turned = turned + (1.0 - share) / share * for_evidence * moved
    return np.asarray(turned, np.float32)


def cosine_share(bundle: Bundle, query: Query) -> float:
    """Share of the cosine in the match score of a query, 0..1; all of it where the bundle is not calibrated."""
    if bundle.calibration is None:
        return 1.0
    return bundle.calibration.cosine_share(query_information(query, bundle.statistics))


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
