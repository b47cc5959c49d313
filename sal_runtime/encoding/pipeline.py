"""Encodes images in bulk: every core reads and encodes, results are in order, memory is bounded.

Each worker takes a batch of sources, reads it and encodes it, so that an image goes through the network while it is in
the cache, and no core waits for another. Few batches are encoded at a time, each with its share of the cores: several
cores on one batch wait for the slowest at every layer. A slow caller holds the workers back: they are at most
`QUEUED_BATCHES` more batches ahead of it than there are workers. An unusable image never stops the others; it is
reported as a failure of its batch.
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

from sal_runtime.arrays import Encode, Float32Array, UInt8Array, batched
from sal_runtime.encoding.encoders import num_encoders
from sal_runtime.errors import InputError

MAX_THREADS = 16
"""Most workers by default; they read faster than any encoder encodes."""
QUEUED_BATCHES = 2
"""Batches beyond those of the workers: a finished one, and one for the next idle worker."""

Source = TypeVar("Source")
Record = TypeVar("Record")


@dataclass(frozen=True)
class EncodedBatch(Generic[Source, Record]):
    """The results for up to `batch_size` sources, in their order.

    Attributes:
        records: the records that `load` returned with the images, `[n]`.
        embeddings: unit vectors float32 `[n, d]`; `[0, 0]` if no source of the batch could be read.
        failed: (source, reason) for each source that could not be read.
    """

    records: tuple[Record, ...]
    embeddings: Float32Array
    failed: tuple[tuple[Source, str], ...]


class _Stopped(Exception):  # noqa: N818 - no error
    """The caller has stopped the stream; never leaves this module."""


def encode_stream(
    sources: Iterable[Source],
    load: Callable[[Source], tuple[Record, UInt8Array]],
    encode: Encode,
    *,
    batch_size: int = 32,
    threads: int | None = None,
    encoders: int | None = None,
    cancel: threading.Event | None = None,
) -> Generator[EncodedBatch[Source, Record], None, None]:
    """Load and encode every source; yields batches in the order of the sources.

    Closing the iterator (`close()`, or Ctrl-C in the loop over it) drops queued sources and waits for the workers;
    nothing is read or encoded afterwards. Batches that were yielded are complete. An exception of `sources` or
    `encode`, or one of `load` other than InputError and OSError, is raised once and ends the stream in the same way.

    Args:
        sources: read lazily, from the calling thread only.
        load: returns a record of the caller's choice and the image, uint8 `[H, W, 3]` RGB, all of one size; runs in
            several threads. A source that it refuses with InputError or OSError is reported and skipped.
        encode: encodes a batch; runs in up to `encoders` threads at once, and only if there are images.
        batch_size: sources per batch; a batch has fewer images if some cannot be read.
        threads: workers; None for one per core, at most `MAX_THREADS`.
        encoders: batches that are encoded in parallel; None for `num_encoders()`.
        cancel: once any thread sets it, the iterator ends at the next image or batch of each worker.

    Raises:
        InputError: `batch_size`, `threads` or `encoders` is not positive.
    """
    threads = min(MAX_THREADS, os.cpu_count() or 1) if threads is None else threads
    encoders = num_encoders() if encoders is None else encoders
    if min(batch_size, threads, encoders) < 1:
        raise InputError(
            f"got batch_size {batch_size}, threads {threads} and encoders {encoders}, expected each to be at least 1"
        )
    work = _Work(load, encode, encoders, cancel or threading.Event())
    return _stream(sources, work, batch_size, threads)


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
            # a finished batch is yielded at once: the next source may take long
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
    """The work on a batch of sources: load each, encode them together."""

    def __init__(
        self,
        load: Callable[[Source], tuple[Record, UInt8Array]],
        encode: Encode,
        encoders: int,
        cancel: threading.Event,
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
