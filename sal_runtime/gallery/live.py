"""Encodes crops of live video as they arrive, and adds them to a gallery; each is answered by a future.

    with Gallery.open("yard.sal", "w") as gallery, LiveEncoder(ImageEncoder(bundle), gallery) as live:
        for frame, box, item in detections():
            live.submit(Crop(frame, box), item)  # in asyncio: await asyncio.wrap_future(live.submit(...))

Crops that arrive within a short time are encoded together. `encode_images` is for what is there already.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sal_runtime.arrays import Float32Array, UInt8Array
from sal_runtime.errors import BusyError, InputError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.protocol import SearchableGallery, check_bundle
from sal_runtime.images.sources import Colour, ImageSource, check_colour, read_source

if TYPE_CHECKING:
    from sal_runtime.encoding.encoders import ImageEncoder
    from sal_runtime.gallery.items import GalleryItem


@dataclass(frozen=True, slots=True)
class _Job:
    image: UInt8Array
    item: GalleryItem | None
    answer: Future[Float32Array]
    due: float


class LiveEncoder:
    """Encodes crops that any number of threads submit, in one thread of its own; a context manager.

    Waiting crops are encoded together when there are as many as the encoder takes at a time, or when the first of them
    has waited for `max_delay`. While a batch is encoded, the next one gathers.

    Args:
        encoder: an `ImageEncoder`; others may use it, too.
        gallery: open for writing, of the bundle of the encoder; crops are added to it before their futures are done.
            Other threads may search it meanwhile. None only encodes.
        colour: channel order of arrays and frames: RGB, or BGR as OpenCV reads them.
        max_delay: seconds that a crop waits for others at most.
        max_waiting: crops that wait at most; then `submit` waits.

    Attributes:
        encoded: number of crops that were encoded.
        encode_seconds: how long that took.

    Raises:
        InputError: an argument is out of range, or the gallery is not one to add to.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        gallery: SearchableGallery | None = None,
        *,
        colour: Colour = "RGB",
        max_delay: float = 0.02,
        max_waiting: int = 256,
    ) -> None:
        check_colour(colour)
        if not max_delay >= 0 or max_waiting < 1:
            raise InputError(
                f"got max_delay {max_delay} and max_waiting {max_waiting}, expected at least 0 seconds and 1 crop"
            )
        if gallery is not None:
            check_bundle(gallery, encoder.bundle)
        if isinstance(gallery, Gallery) and (not gallery.is_writable or gallery.root is not None):
            raise InputError(
                f"gallery {gallery.path}: follows a folder, or is not open for writing; open it with mode 'w'"
            )
        self._encoder, self._gallery, self._colour = encoder, gallery, colour
        self._max_delay, self._max_waiting = max_delay, max_waiting
        self.encoded, self.encode_seconds = 0, 0.0
        self._waiting: deque[_Job] = deque()
        self._closed = False
        lock = threading.Lock()
        self._arrived, self._has_room = threading.Condition(lock), threading.Condition(lock)
        self._worker = threading.Thread(target=self._run, name="sal-live", daemon=True)
        self._worker.start()
        atexit.register(self.close)

    def submit(
        self, source: ImageSource, item: GalleryItem | None = None, *, timeout: float | None = None
    ) -> Future[Float32Array]:
        """Hand a crop over, and return the future of its unit vector float32 `[d]`.

        The source is read in the calling thread: afterwards its frame may be reused. A source that cannot be read, or
        an item that the gallery refuses, is an error of this future only; nothing else tells of it. A future that is
        cancelled while it waits is neither encoded nor added. Callbacks of futures run in the thread that encodes.

        Args:
            source: as for `encode_images`.
            item: what is known of the crop, for the gallery; None without one.
            timeout: seconds to wait for room where too many crops are waiting; 0 does not wait, None waits until there
                is room.

        Raises:
            BusyError: too many crops are waiting.
            InputError: it is closed, or was made by the parent process; or there is an item without a gallery, or the
                other way round.
        """
        if (item is None) is not (self._gallery is None):
            raise InputError("got an item without a gallery, or a gallery without an item; give both or neither")
        self._check_open()
        answer: Future[Float32Array] = Future()
        try:
            image = np.array(read_source(source, self._encoder.bundle.image_spec, self._colour))
        except OSError as error:
            answer.set_exception(InputError(error.strerror or str(error)))
        except Exception as error:
            answer.set_exception(error)
        else:
            self._enqueue(_Job(image, item, answer, time.monotonic() + self._max_delay), timeout)
        return answer

    def close(self) -> None:
        """Answer everything that was submitted, and end the thread; nothing can be submitted afterwards."""
        if self._worker.is_alive():  # not so in a forked child, where the lock may be held for ever
            with self._arrived:
                self._closed = True
                self._arrived.notify_all()
                self._has_room.notify_all()
            self._worker.join()
        atexit.unregister(self.close)

    def __enter__(self) -> LiveEncoder:
        """The encoder itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _check_open(self) -> None:
        if self._closed or not self._worker.is_alive():
            raise InputError("the live encoder is closed, or was made by the parent process; make another one")

    def _enqueue(self, job: _Job, timeout: float | None) -> None:
        if threading.current_thread() is self._worker:
            timeout = 0  # a callback of a future: nobody else can make room
        with self._has_room:
            self._has_room.wait_for(lambda: self._closed or len(self._waiting) < self._max_waiting, timeout)
            self._check_open()
            if len(self._waiting) >= self._max_waiting:
                raise BusyError(f"{len(self._waiting)} crops are waiting to be encoded; submit fewer, or try again")
            self._waiting.append(job)
            self._arrived.notify()

    def _run(self) -> None:
        while (jobs := self._next_batch()) is not None:
            started = [job for job in jobs if job.answer.set_running_or_notify_cancel()]
            if started:
                self._encode(started)

    def _next_batch(self) -> list[_Job] | None:
        """The jobs to do now, when it is time; None when it is closed and all is done."""
        size = self._encoder.batch_size
        with self._arrived:
            while len(self._waiting) < size and not self._closed:
                wait = self._waiting[0].due - time.monotonic() if self._waiting else None
                if wait is not None and wait <= 0:
                    break
                self._arrived.wait(wait)
            jobs = [self._waiting.popleft() for _ in range(min(size, len(self._waiting)))]
            self._has_room.notify_all()
        return jobs or None

    def _encode(self, jobs: Sequence[_Job]) -> None:
        begun = time.monotonic()
        try:
            embeddings = self._encoder.encode(np.stack([job.image for job in jobs]))
        except Exception as error:
            for job in jobs:
                job.answer.set_exception(error)
        else:
            self.encoded += len(jobs)
            self.encode_seconds += time.monotonic() - begun
            self._keep(jobs, embeddings)

    def _keep(self, jobs: Sequence[_Job], embeddings: Float32Array) -> None:
        try:
            if self._gallery is not None:
                self._gallery.add([job.item for job in jobs if job.item is not None], embeddings)
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].answer.set_exception(error)
                return
            for row, job in enumerate(jobs):
                self._keep([job], embeddings[row : row + 1])
            return
        for job, embedding in zip(jobs, embeddings, strict=True):
            job.answer.set_result(embedding)
