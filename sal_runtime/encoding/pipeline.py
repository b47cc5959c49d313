"""Images to embeddings in bulk: every core reads and encodes, results come in order, memory stays bounded.

Each worker takes a batch of sources, reads it and encodes it, so that an image goes through the network while it is in
the cache, and no core waits for another. Few batches are encoded at a time, each with its share of the cores: several
cores on one batch wait for the slowest at every layer. At most `QUEUED_BATCHES` more batches of sources than there are
workers are taken ahead of the caller, so a caller who is slow holds everything back. An image that cannot be used never
stops the others: it comes out as a failure, beside the batch it was to be part of.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from sal_runtime.arrays import Float32Array, UInt8Array, batched
from sal_runtime.errors import InputError

MAX_ENCODERS = 4
"""Batches that are encoded beside each other at most; each holds its own activations in memory."""
MAX_THREADS = 16
"""Workers at most, unless the caller says so; what they read is more than any encoder takes."""
QUEUED_BATCHES = 2
"""Batches beyond those of the workers: one that is done, and one for whoever is ready first."""

Source = TypeVar("Source")
Record = TypeVar("Record")


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


class _Stopped(Exception):  # noqa: N818 - no error
    """The caller has had enough; nobody sees it."""


def encode_stream(
    sources: Iterable[Source],
    load: Callable[[Source], tuple[Record, UInt8Array]],
    encode: Callable[[UInt8Array], Float32Array],
    batch_size: int = 32,
    threads: int | None = None,
    cancel: threading.Event | None = None,
    encoders: int | None = None,
) -> Generator[EncodedBatch[Source, Record], None, None]:
    """Load and encode every source; batches come out in the order of the sources.

    Closing the iterator (`close()`, or Ctrl-C in the loop over it) drops what is still queued and waits for the
    workers: after it, nothing is read or encoded any more. Batches already given are complete. An error of `sources`
    or `encode`, or another one of `load`, is raised once, and ends the stream in the same way.

    Args:
        sources: read lazily, from the calling thread only.
        load: gives a record of the caller's choice and the image, uint8 `[H, W, 3]` RGB, all of one size; runs in
            several threads. What it refuses with InputError or OSError is reported and skipped.
        encode: uint8 `[n, H, W, 3]` to float32 `[n, d]`; runs in up to `encoders` threads at once. Called only if there
            is something to do.
        batch_size: sources per batch; a batch has fewer images where some cannot be read.
        threads: workers; one for each core if None, `MAX_THREADS` at most.
        cancel: once it is set, by any thread, the iterator ends at the next image or batch of each worker.
        encoders: batches that are encoded at the same time; `num_encoders()` if None.

    Raises:
        InputError: `batch_size` or `threads` is not positive.
    """
    count = min(MAX_THREADS, os.cpu_count() or 1) if threads is None else threads
    if batch_size < 1 or count < 1:
        raise InputError(f"got batch_size {batch_size} and threads {count}, expected both to be at least 1")
    work = _Work(load, encode, cancel or threading.Event(), num_encoders() if encoders is None else encoders)
    return _stream(sources, work, batch_size, count)


def _stream(
    sources: Iterable[Source], work: _Work[Source, Record], batch_size: int, threads: int
) -> Generator[EncodedBatch[Source, Record], None, None]:
    workers = ThreadPoolExecutor(threads, "sal-encode")
    waiting: deque[Future[EncodedBatch[Source, Record]]] = deque()
    try:
        for batch in batched(sources, batch_size):
            if work.is_stopped():
                return
            waiting.append(workers.submit(work, batch))
            # what is done goes out at once: the next source may take its time
            if waiting[0].done() or len(waiting) >= threads + QUEUED_BATCHES:
                yield waiting.popleft().result()
        while waiting and not work.is_stopped():
            yield waiting.popleft().result()
    except _Stopped:
        return
    finally:
        work.closed = True
        workers.shutdown(wait=True, cancel_futures=True)


class _Work(Generic[Source, Record]):
    """What a worker does with a batch of sources: load each, encode them together."""

    def __init__(
        self,
        load: Callable[[Source], tuple[Record, UInt8Array]],
        encode: Callable[[UInt8Array], Float32Array],
        cancel: threading.Event,
        encoders: int,
    ) -> None:
        self.closed = False
        self._load = load
        self._encode = encode
        self._cancel = cancel
        self._encoders = threading.BoundedSemaphore(encoders)

    def is_stopped(self) -> bool:
        return self.closed or self._cancel.is_set()

    def __call__(self, sources: list[Source]) -> EncodedBatch[Source, Record]:
        records: list[Record] = []
        images: list[UInt8Array] = []
        failed: list[tuple[Source, str]] = []
        for source in sources:
            if self.is_stopped():
                raise _Stopped
            try:
                record, image = self._load(source)
            except InputError as error:
                failed.append((source, str(error)))
            except OSError as error:
                failed.append((source, error.strerror or str(error)))
            else:
                records.append(record)
                images.append(image)
        if not images:
            return EncodedBatch((), np.empty((0, 0), dtype=np.float32), tuple(failed))
        stacked = np.stack(images)
        with self._encoders:
            if self.is_stopped():
                raise _Stopped
            return EncodedBatch(tuple(records), self._encode(stacked), tuple(failed))
