"""Takes crops of people into a gallery, whoever cut them out, and keeps their pictures beside it.

    with Gallery.open("yard.sal", "w") as gallery, Intake(gallery, ImageEncoder(bundle)) as intake:
        intake.submit(crop, camera="door", track="17", captured_at=time.time())

A crop is acknowledged by its future when the gallery holds it. Until then it is kept and tried again where the disk is
full or the gallery is locked by somebody else.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Literal, get_args

import cv2
import numpy as np

from sal_runtime.arrays import Float32Array, UInt8Array
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.errors import BusyError, InputError, SalError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import SECONDS, GalleryItem
from sal_runtime.gallery.live import LiveEncoder
from sal_runtime.gallery.store.crops import delete_crops, sweep_crops, write_crop
from sal_runtime.gallery.store.file import CROP_SCHEME
from sal_runtime.images.pixels import decode_image
from sal_runtime.images.sources import check_pixels
from sal_service.video.cameras import NAME

Pictures = Literal["full", "thumbnail", "none"]
"""What is kept of a crop beside the gallery: all of it, a small picture that people can still recognise, or nothing."""
THUMBNAIL_HEIGHT = 96
JPEG_QUALITY = 92
TRACK_CHARACTERS = re.compile(r"[^\w.-]")
TRACK_LENGTH = 40
"""Characters of a track in the name of a picture."""
LARGEST_SIDE = 1_000_000
RETRY_SECONDS = 1.0
LAST_TRIES_SECONDS = 5.0
"""How long `close` goes on trying."""

_logger = logging.getLogger(__name__)


class HeldBackError(InputError):
    """A picture was removed from the gallery before, and does not come back."""


@dataclass(frozen=True, slots=True, eq=False)
class KeptCrop:
    """A crop that the gallery holds.

    Attributes:
        item: as the gallery knows it.
        vector: its embedding, unit vector float32 `[d]`.
    """

    item: GalleryItem
    vector: Float32Array


@dataclass(frozen=True, slots=True)
class _Job:
    item: GalleryItem
    content: bytes
    picture: bytes
    answer: Future[KeptCrop]


@dataclass
class IntakeCounts:
    """What became of the crops that were submitted.

    Attributes:
        submitted: all of them.
        kept: the gallery holds them.
        held_back: not added, because their pictures were removed from the gallery before.
        refused: no picture, or not an item that the gallery takes.
        given_up: more were waiting to be tried again than are kept, or the intake was closed.
        retried: tries that failed for a reason that may pass.
        last_problem: the last such reason; empty if there was none.
    """

    submitted: int = 0
    kept: int = 0
    held_back: int = 0
    refused: int = 0
    given_up: int = 0
    retried: int = 0
    last_problem: str = ""

    @property
    def unsettled(self) -> int:
        """Crops that wait to be encoded or to be tried again."""
        return self.submitted - self.kept - self.held_back - self.refused - self.given_up


class Intake:
    """Takes crops from any number of threads; a context manager.

    Args:
        gallery: open for writing, of the bundle of the encoder; it follows no folder. Pictures beside it that no item
            has are deleted: a process was killed before it added them.
        encoder: encodes the crops.
        pictures: what is kept of each crop beside the gallery.
        max_waiting: crops that wait for a full disk or a locked gallery at most; then the oldest is given up.
        on_kept: called with each crop that the gallery holds now, before its future is done, in the thread that
            encodes; it should return at once. If it fails, the crop is kept all the same.

    Attributes:
        gallery: as given.
        counts: what became of the crops so far.
        swept: number of pictures that no item had.

    Raises:
        InputError: an argument is wrong, or the gallery is not one to add to.
    """

    def __init__(
        self,
        gallery: Gallery,
        encoder: ImageEncoder,
        *,
        pictures: Pictures = "full",
        max_waiting: int = 256,
        on_kept: Callable[[KeptCrop], None] | None = None,
    ) -> None:
        if pictures not in get_args(Pictures):
            raise InputError(f"pictures is {pictures!r}, expected one of {', '.join(get_args(Pictures))}")
        self._live = LiveEncoder(encoder, gallery)
        self.gallery, self._encoder = gallery, encoder
        self._pictures, self._max_waiting, self._on_kept = pictures, max_waiting, on_kept
        self.swept = sweep_crops(gallery.path, gallery.find)
        self.counts = IntakeCounts()
        self._waiting: deque[_Job] = deque()
        self._turn = threading.Lock()
        self._gate = threading.RLock()
        self._closing = threading.Event()
        self._retrier = threading.Thread(target=self._retry, name="sal-intake", daemon=True)
        self._retrier.start()

    @property
    def encoded(self) -> tuple[int, float]:
        """Number of crops that were encoded, and the seconds that took."""
        return self._live.encoded, self._live.encode_seconds

    @property
    def num_waiting(self) -> int:
        """Number of crops that wait to be tried again."""
        return len(self._waiting)

    def submit(
        self,
        crop: UInt8Array | bytes,
        *,
        camera: str,
        captured_at: float,
        track: str | None = None,
        box: tuple[int, int, int, int] | None = None,
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> Future[KeptCrop]:
        """Hand a crop over. The same camera, moment and track again replaces it; without a track, the same picture.

        Args:
            crop: a picture of one person: uint8 BGR `[h, w, 3]`, or the bytes of an image file.
            camera: name of the camera.
            captured_at: seconds since 1970, UTC.
            track: name of the person's track within the camera.
            box: place of the person in the camera's picture: left, top, width, height in pixels.
            metadata: anything else that filters may ask for.

        Returns:
            The future of the item and its vector; its result means that the gallery holds them. It fails with
            `HeldBackError` where the crop was removed from the gallery before, with another `InputError` where it
            cannot be used, and with another `SalError` where it was given up.

        Raises:
            InputError: the name or the moment is none, or the intake is closed.
        """
        if self._closing.is_set():
            raise InputError("the intake is closed; make another one")
        check_place(camera, captured_at)
        answer: Future[KeptCrop] = Future()
        with self._turn:
            self.counts.submitted += 1
        try:
            content = crop if isinstance(crop, bytes) else encode_jpeg(crop)
            picture = content if self._pictures != "thumbnail" else _thumbnail(content)
            known = hashlib.sha256(picture).hexdigest()
            _check_box(box)
        except InputError as error:
            self._refuse(answer, error)
            return answer
        if self.gallery.held_back([known]):
            with self._turn:
                self.counts.held_back += 1
            answer.set_exception(HeldBackError(f"a picture of camera {camera} was removed from the gallery before"))
            return answer
        item = GalleryItem(
            crop_uri(camera, captured_at, known[:TRACK_LENGTH] if track is None else track),
            content_hash=known,
            size=len(picture),
            camera=camera,
            captured_at=captured_at,
            track=track,
            box=box,
            metadata=dict(metadata),
        )
        self._try(_Job(item, content, picture, answer))
        return answer

    def exchange(self, change: Callable[[], ImageEncoder]) -> None:
        """Add what was submitted, let `change` work on the gallery while nothing is added, and go on with its encoder.

        Whoever submits meanwhile waits.

        Args:
            change: makes the gallery one of another bundle, and gives that bundle's encoder.

        Raises:
            Exception: what `change` raises; then the encoder stays.
        """
        with self._gate:
            before = self._live
            before.close()
            try:
                self._encoder = change()
            finally:
                self._live = LiveEncoder(self._encoder, self.gallery)
                self._live.encoded, self._live.encode_seconds = before.encoded, before.encode_seconds

    def close(self) -> None:
        """Finish everything that was submitted; what cannot be added within some seconds is given up, and counted."""
        self._closing.set()
        self._retrier.join()
        give_up_at = time.monotonic() + LAST_TRIES_SECONDS
        while self.counts.unsettled and time.monotonic() < give_up_at:
            self._try_again()
            time.sleep(LAST_TRIES_SECONDS / 100)
        self._live.close()
        while self._waiting:
            self._give_up(self._waiting.popleft())

    def __enter__(self) -> Intake:
        """The intake itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def _try(self, job: _Job) -> None:
        try:
            with self._gate:
                if self._pictures != "none":
                    write_crop(self.gallery.path, job.item.uri, job.picture)
                future = self._live.submit(job.content, job.item)
        except (OSError, BusyError) as error:
            self._postpone(job, error)
        else:
            future.add_done_callback(partial(self._finish, job))

    def _finish(self, job: _Job, future: Future[Float32Array]) -> None:
        """Called in the thread that encodes."""
        error = future.exception()
        if error is None:
            with self._turn:
                self.counts.kept += 1
            kept = KeptCrop(job.item, future.result())
            try:
                if self._on_kept is not None:
                    self._on_kept(kept)
            except Exception:
                _logger.exception("%s is kept, but what was to be done then failed", job.item.uri)
            job.answer.set_result(kept)
        elif isinstance(error, InputError):
            self._forget(job)
            self._refuse(job.answer, error)
        else:
            self._postpone(job, error)

    def _refuse(self, answer: Future[KeptCrop], error: InputError) -> None:
        with self._turn:
            self.counts.refused += 1
        answer.set_exception(error)

    def _postpone(self, job: _Job, error: BaseException) -> None:
        with self._turn:
            self.counts.retried += 1
            self.counts.last_problem = str(error)
            self._waiting.append(job)
            oldest = self._waiting.popleft() if len(self._waiting) > self._max_waiting else None
        if oldest is not None:
            self._give_up(oldest)

    def _give_up(self, job: _Job) -> None:
        with self._turn:
            self.counts.given_up += 1
        self._forget(job)
        job.answer.set_exception(SalError(f"{job.item.uri}: was given up; {self.counts.last_problem}"))

    def _forget(self, job: _Job) -> None:
        """Delete the picture of a crop, unless the gallery has it from an earlier time."""
        with suppress(OSError, SalError):
            if not self.gallery.find([job.item.uri]):
                delete_crops(self.gallery.path, [job.item.uri])

    def _retry(self) -> None:
        while not self._closing.wait(RETRY_SECONDS):
            self._try_again()

    def _try_again(self) -> None:
        with self._turn:
            jobs = list(self._waiting)
            self._waiting.clear()
        for job in jobs:
            self._try(job)


def check_place(camera: str, captured_at: float) -> None:
    """Refuse what is no name of a camera, or no moment.

    Raises:
        InputError: it is none.
    """
    if not NAME.fullmatch(camera):
        raise InputError(f"camera name {camera!r}: expected 1 to 64 letters, digits, '.', '_' and '-'")
    try:
        datetime.fromtimestamp(captured_at, UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise InputError(f"captured_at is {captured_at!r}, expected {SECONDS}") from None


def crop_uri(camera: str, captured_at: float, track: str) -> str:
    """Name of the picture of a track of a camera at a moment, seconds since 1970; another one for each track."""
    moment = datetime.fromtimestamp(captured_at, UTC)
    name = TRACK_CHARACTERS.sub("_", track)
    if name != track or len(name) > TRACK_LENGTH:
        name = f"{name[:TRACK_LENGTH]}-{hashlib.sha256(track.encode(errors='surrogatepass')).hexdigest()[:12]}"
    time_of_day = f"{moment:%H%M%S}.{moment.microsecond // 1000:03}"
    return f"{CROP_SCHEME}{camera}/{moment:%Y-%m-%d}/{time_of_day}-{name}.jpg"


def _check_box(box: tuple[int, int, int, int] | None) -> None:
    if box is None:
        return
    is_box = isinstance(box, tuple) and len(box) == 4 and all(isinstance(side, int) for side in box)
    if not is_box or min(box[2:]) < 1 or max(map(abs, box)) > LARGEST_SIDE:
        raise InputError(f"box is {box!r}, expected left, top, width and height in whole pixels, of at least one pixel")


def encode_jpeg(image: UInt8Array) -> bytes:
    """A JPEG file of a picture uint8 BGR `[h, w, 3]`.

    Raises:
        InputError: it is no such picture.
    """
    check_pixels(image)
    done, content = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise InputError(f"a picture of {image.shape[1]} x {image.shape[0]} pixels cannot be written as JPEG")
    return content.tobytes()


def _thumbnail(content: bytes) -> bytes:
    image = np.ascontiguousarray(decode_image(content)[:, :, ::-1])
    height, width = image.shape[:2]
    if height <= THUMBNAIL_HEIGHT:
        return content
    size = (max(1, round(width * THUMBNAIL_HEIGHT / height)), THUMBNAIL_HEIGHT)
    return encode_jpeg(np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8))
