"""Which items of a gallery a search or a removal is about: by camera, time, track and metadata."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sal_runtime.arrays import Float32Array
from sal_runtime.errors import InputError
from sal_runtime.gallery.moments import moment_text

SECONDS = "seconds since 1970, UTC, such as time.time() or datetime.timestamp() gives"
"""What a moment is, for messages."""
NORM_TOLERANCE = 1e-2
"""How far the length of an embedding may be from 1 (fp16 encoders are good to about 1e-3)."""
COLOURLESS, YES = "colourless", "yes"
"""Metadata key and value of images without colours (infrared, black and white), which no search for a colour finds."""


@dataclass(frozen=True)
class ItemFilter:
    """Conditions on items, all of which must hold; an empty filter lets everything through.

    An item with a missing field never matches a condition on that field: an item without a capture time is in no time
    window. It passes `without_metadata`.

    Attributes:
        cameras: the camera must be one of these; empty for any.
        tracks: the track must be one of these; empty for any.
        captured_from: first moment of the time window, in seconds since 1970, UTC; None for no limit.
        captured_until: first moment after the time window, in seconds since 1970, UTC; None for no limit.
        metadata: each of these keys must have one of its values.
        without_metadata: none of these keys may have one of its values.
    """

    cameras: Sequence[str] = ()
    tracks: Sequence[str] = ()
    captured_from: float | None = None
    captured_until: float | None = None
    metadata: Mapping[str, Sequence[str]] = field(default_factory=dict)
    without_metadata: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what can be no condition.

        Raises:
            InputError: a window that ends before it begins, a metadata key without a value to match, one text where
                several are wanted, or a moment that is no number.
        """
        on_metadata = [*self.metadata.items(), *self.without_metadata.items()]
        for name, texts in [("cameras", self.cameras), ("tracks", self.tracks), *on_metadata]:
            is_several = isinstance(texts, Collection) and not isinstance(texts, str)
            if not (is_several and all(isinstance(text, str) for text in texts)):
                raise InputError(f"got {texts!r} for {name}, expected several texts, such as ['door', 'yard']")
        start, stop = self.captured_from, self.captured_until
        for bound in (start, stop):
            if bound is not None and not hasattr(bound, "__float__"):
                raise InputError(f"got {bound!r} in a time window, expected {SECONDS}")
        if start is not None and stop is not None and not start < stop:
            window = f"from {moment_text(start)} until {moment_text(stop)}"
            raise InputError(f"got a time window {window}, expected it to end after it begins")
        empty = [key for key, values in on_metadata if not values]
        if empty:
            raise InputError(f"got no value for the metadata {', '.join(empty)}, expected at least one each")

    def __bool__(self) -> bool:
        """Whether there is any condition."""
        bounds = (self.captured_from, self.captured_until)
        texts = (self.cameras, self.tracks, self.metadata, self.without_metadata)
        return any(texts) or any(bound is not None for bound in bounds)

    def words(self) -> tuple[str, ...]:
        """The conditions for people, one each."""
        texts = {"camera": self.cameras, "track": self.tracks, **self.metadata}
        conditions = [f"{name} {' or '.join(values)}" for name, values in texts.items() if values]
        conditions += [f"not {name} {' or '.join(values)}" for name, values in self.without_metadata.items()]
        for word, bound in (("from", self.captured_from), ("until", self.captured_until)):
            if bound is not None:
                conditions.append(f"{word} {moment_text(bound)}")
        return tuple(conditions)


@dataclass(frozen=True)
class GalleryItem:
    """One image of a person, as the gallery knows it.

    Attributes:
        uri: name or path of the image, unique in the gallery; relative to the folder if the gallery follows one.
        content_hash: sha256 (hex) of the image file.
        size: size of the image file in bytes.
        mtime_ns: modification time of the image file in nanoseconds since 1970.
        camera: name of the camera.
        captured_at: moment of capture in seconds since 1970, UTC.
        track: name of the person's track within the camera.
        box: place of the person in the camera's image: left, top, width, height in pixels.
        metadata: anything else that filters may ask for, such as `{"zone": "north"}`.
    """

    uri: str
    content_hash: str | None = None
    size: int | None = None
    mtime_ns: int | None = None
    camera: str | None = None
    captured_at: float | None = None
    track: str | None = None
    box: tuple[int, int, int, int] | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


def check_embeddings(vectors: NDArray[np.float32], uris: Sequence[str], embedding_dim: int) -> None:
    """Refuse embeddings that do not fit their items or the gallery.

    Args:
        vectors: expected to be float32 `[len(uris), embedding_dim]`, of length 1 each.
        uris: of the items, for the message.
        embedding_dim: of the gallery.

    Raises:
        InputError: they do not.
    """
    if vectors.shape != (len(uris), embedding_dim):
        raise InputError(
            f"got embeddings of shape {vectors.shape} for a gallery, expected ({len(uris)}, {embedding_dim}); "
            "encode the items with the bundle of the gallery"
        )
    lengths = np.linalg.norm(vectors, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1.0) <= NORM_TOLERANCE))  # the form that NaN cannot pass
    if len(wrong):
        raise InputError(
            f"got an embedding of length {lengths[wrong[0]]:.4g} for {uris[wrong[0]]}, expected 1; "
            "was it made by an ImageEncoder?"
        )


@dataclass(frozen=True)
class Neighbours:
    """The items of a gallery that answer a query best.

    Attributes:
        items: n items, best first.
        scores: float32 `[n]`; for a query vector the cosine, -1..1, else what the scoring gives.
        embeddings: unit vectors of the items, float32 `[n, d]`.
    """

    items: tuple[GalleryItem, ...]
    scores: Float32Array
    embeddings: Float32Array

    def __len__(self) -> int:
        """Number of items."""
        return len(self.items)
