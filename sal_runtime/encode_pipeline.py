"""Images to embeddings in bulk: decoding overlaps with the encoder, in order, within a bounded memory.

Decode threads work ahead of a few encoder threads, which work ahead of the caller, who stores what comes out. At most
`BATCHES_AHEAD` batches wait anywhere, so a caller who is slow to store holds everything back. Batches are encoded
beside each other, each with a share of the cores: several cores on one batch wait for the slowest at every layer. An
image that cannot be used never stops the others: it comes out as a failure, beside the batch it was to be part of.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from sal_runtime.errors import InputError

MAX_ENCODERS = 4
"""Batches that are encoded beside each other at most; each holds its own activations in memory."""
BATCHES_AHEAD = MAX_ENCODERS + 2
"""Batches decoded or encoded before the caller asks for them: those in the encoders, and two that feed them."""
DECODE_CHUNK = 8
"""Images per decode task: few enough to spread a batch over the threads, many enough to hide the cost of a task."""

UInt8Array = NDArray[np.uint8]
Float32Array = NDArray[np.float32]
Source = TypeVar("Source")
Record = TypeVar("Record")
Item = TypeVar("Item")


def num_encoders() -> int:
    """How many batches are encoded beside each other: one for each core, `MAX_ENCODERS` at most."""
    return min(MAX_ENCODERS, os.cpu_count() or 1)


@dataclass(frozen=True)
class EncodedBatch(Generic[Source, Record]):
    """What became of up to `batch_size` sources, in their order.

    Attributes:
        records: what `load` returned beside each image, `[n]`.
        embeddings: unit vectors float32 `[n, d]`; `[0, 0]` where nothing of the batch could be read.
        failed: each source that could not be read, with the reason.
    """

    records: tuple[Record, ...]
    embeddings: Float32Array
    failed: tuple[tuple[Source, str], ...]


@dataclass(frozen=True)
class _Loaded(Generic[Source, Record]):
    """One source after decoding: a record and an image, or the reason why not."""

    source: Source
    loaded: tuple[Record, UInt8Array] | None
    reason: str = ""


def encode_stream(
    sources: Iterable[Source],
    load: Callable[[Source], tuple[Record, UInt8Array]],
    encode: Callable[[UInt8Array], Float32Array],
    batch_size: int = 32,
    threads: int | None = None,
) -> Generator[EncodedBatch[Source, Record], None, None]:
    """Load and encode every source; batches come out in the order of the sources.

    Closing the iterator (leaving its loop, Ctrl-C) drops what is still queued; batches already given are complete.

    Args:
        sources: read lazily, from the calling thread only.
        load: gives a record of the caller's choice and the image, uint8 `[H, W, 3]` RGB, all of one size; runs in
            several threads. What it refuses with InputError or OSError is reported and skipped.
        encode: uint8 `[n, H, W, 3]` to float32 `[n, d]`; runs in up to `num_encoders()` threads at once. Called only if
            there is something to do.
        batch_size: sources per batch; a batch has fewer images where some cannot be read.
        threads: decode threads; one for every two CPUs if None, more would take the encoders' time.

    Raises:
        InputError: `batch_size` or `threads` is not positive.
    """
    count = max(1, (os.cpu_count() or 1) // 2) if threads is None else threads
    if batch_size < 1 or count < 1:
        raise InputError(f"got batch_size {batch_size} and threads {count}, expected both to be at least 1")
    return _stream(sources, load, encode, batch_size, count)


def _stream(
    sources: Iterable[Source],
    load: Callable[[Source], tuple[Record, UInt8Array]],
    encode: Callable[[UInt8Array], Float32Array],
    batch_size: int,
    threads: int,
) -> Generator[EncodedBatch[Source, Record], None, None]:
    decoders = ThreadPoolExecutor(threads, "sal-decode")
    encoders = ThreadPoolExecutor(num_encoders(), "sal-encode")
    waiting: deque[Future[EncodedBatch[Source, Record]]] = deque()
    try:
        for batch in _batched(sources, batch_size):
            chunks = [decoders.submit(_load_chunk, load, chunk) for chunk in _batched(batch, DECODE_CHUNK)]
            waiting.append(encoders.submit(_encode_batch, encode, chunks))
            if len(waiting) > BATCHES_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # The encoders go first: a batch of theirs may be waiting for a chunk that is about to be cancelled.
        encoders.shutdown(wait=False, cancel_futures=True)
        decoders.shutdown(wait=True, cancel_futures=True)
        encoders.shutdown(wait=True)


def _batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items (itertools.batched needs Python 3.12)."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _load_chunk(
    load: Callable[[Source], tuple[Record, UInt8Array]], sources: list[Source]
) -> list[_Loaded[Source, Record]]:
    return [_load_one(load, source) for source in sources]


def _load_one(load: Callable[[Source], tuple[Record, UInt8Array]], source: Source) -> _Loaded[Source, Record]:
    try:
        return _Loaded(source, load(source))
    except InputError as error:
        return _Loaded(source, None, str(error))
    except OSError as error:
        return _Loaded(source, None, error.strerror or str(error))


def _encode_batch(
    encode: Callable[[UInt8Array], Float32Array], chunks: list[Future[list[_Loaded[Source, Record]]]]
) -> EncodedBatch[Source, Record]:
    everything = [one for chunk in chunks for one in chunk.result()]
    good = [one.loaded for one in everything if one.loaded is not None]
    failed = tuple((one.source, one.reason) for one in everything if one.loaded is None)
    if not good:
        return EncodedBatch((), np.empty((0, 0), dtype=np.float32), failed)
    embeddings = encode(np.stack([image for _, image in good]))
    return EncodedBatch(tuple(record for record, _ in good), embeddings, failed)
