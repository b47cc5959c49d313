"""Encodes in bulk for programs that embed the runtime: any sources in, embeddings in the same order out.

    encoder = bulk_image_encoder(open_bundle("bundles/edge"))
    for batch in encode_images(encoder, (Crop(frame, box) for frame, box in detections), colour="BGR"):
        store(batch.positions, batch.embeddings)

docs/encoding.md says who owns which array while it runs, and how to stop it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Sized
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sal_runtime.arrays import Float32Array, UInt8Array
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.encoding.pipeline import EncodedBatch, encode_stream
from sal_runtime.images.folder import list_images
from sal_runtime.images.sources import Colour, ImageSource, check_colour, read_source

_Numbered = tuple[int, ImageSource]
ImageProgress = Callable[[int, int | None], None]
"""Called with the number of sources done and the total, which is None if it is unknown, as for a generator."""


@dataclass(frozen=True)
class FailedImage:
    """A source that could not be encoded.

    Attributes:
        position: index of the source, from 0; None for a file of a folder that could not be listed.
        source: the source as the caller passed it.
        reason: one line for people.
    """

    position: int | None
    source: ImageSource
    reason: str


@dataclass(frozen=True)
class EncodedImages:
    """The results for a batch of sources, in their order.

    Attributes:
        positions: indices of the encoded sources among all sources, from 0, `[n]`.
        sources: the encoded sources as the caller passed them, `[n]`.
        embeddings: unit vectors float32 `[n, d]`; `[0, 0]` if no source of the batch could be encoded.
        failed: sources that could not be encoded.
    """

    positions: tuple[int, ...]
    sources: tuple[ImageSource, ...]
    embeddings: Float32Array
    failed: tuple[FailedImage, ...]


def encode_images(
    encoder: ImageEncoder,
    sources: str | os.PathLike[str] | Iterable[ImageSource],
    *,
    colour: Colour = "RGB",
    batch_size: int | None = None,
    threads: int | None = None,
    progress: ImageProgress | None = None,
    cancel: threading.Event | None = None,
) -> Generator[EncodedImages, None, None]:
    """Encode every source; yields batches in the order of the sources.

    A source that cannot be encoded is in `failed` and never stops the others. Close the iterator to stop early: after
    that, or after an error, nothing is read or encoded.

    Args:
        encoder: from `bulk_image_encoder`; any number of calls may share it.
        sources: a folder, whose images are encoded in the order of `list_images`; or any iterable of sources, which is
            read lazily, from the calling thread, at most a few batches ahead of the caller.
        colour: channel order of arrays and frames: RGB, or BGR as OpenCV reads them.
        batch_size: sources per batch; None for the encoder's batch size.
        threads: threads that read and encode; None for one per core.
        progress: called after each batch, from the calling thread.
        cancel: once any thread sets it, the iterator ends without an error.

    Raises:
        InputError: the folder does not exist, or an argument is out of range.
    """
    check_colour(colour)
    unlisted: tuple[FailedImage, ...] = ()
    if isinstance(sources, str | os.PathLike):
        listing = list_images(Path(sources))
        unlisted = tuple(FailedImage(None, path, reason) for path, reason in listing.failed)
        sources = [file.path for file in listing.files.values()]
    spec = encoder.bundle.image_spec

    def load(numbered: _Numbered) -> tuple[_Numbered, UInt8Array]:
        return numbered, read_source(numbered[1], spec, colour)

    size = encoder.batch_size if batch_size is None else batch_size
    stream = encode_stream(enumerate(sources), load, encoder.encode, batch_size=size, threads=threads, cancel=cancel)
    total = len(sources) if isinstance(sources, Sized) else None
    return _encoded(stream, unlisted, total, progress)


def _encoded(
    stream: Generator[EncodedBatch[_Numbered, _Numbered], None, None],
    unlisted: tuple[FailedImage, ...],
    total: int | None,
    progress: ImageProgress | None,
) -> Generator[EncodedImages, None, None]:
    done = 0
    with closing(stream):
        if unlisted:
            yield EncodedImages((), (), np.empty((0, 0), np.float32), unlisted)
        for batch in stream:
            failed = tuple(FailedImage(position, source, reason) for (position, source), reason in batch.failed)
            positions = tuple(position for position, _ in batch.records)
            done += len(positions) + len(failed)
            if progress is not None:
                progress(done, total)
            yield EncodedImages(positions, tuple(source for _, source in batch.records), batch.embeddings, failed)
