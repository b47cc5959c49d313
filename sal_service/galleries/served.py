"""A gallery that is served: searched and filled at once, and taken over by another bundle while it is searched."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from sal_runtime.arrays import Encode, Float32Array, Precision, UInt8Array
from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.encoding.encoders import ImageEncoder, bulk_image_encoder
from sal_runtime.errors import BusyError, InputError, ReindexedError, SalError
from sal_runtime.files import temporaries, whole_file, write_synced
from sal_runtime.gallery.choices import choose_bundle_path, choose_precision
from sal_runtime.gallery.folder import refuse_follower
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import ItemFilter
from sal_runtime.gallery.live import LiveEncoder
from sal_runtime.gallery.protocol import check_bundle
from sal_runtime.gallery.reindex import encode_generation, reindex
from sal_service.galleries.answering import Answering
from sal_service.galleries.answers import Page, PictureError, Question
from sal_service.galleries.remembered import RememberingSearch
from sal_service.video.cameras import Camera
from sal_service.video.detector.detector import Detector
from sal_service.video.ingest import Ingest
from sal_service.video.intake import KeptCrop, Pictures

SWAP_TRIES = 3
"""So often a swap tries to keep up with what is added; then what is added waits for the rest."""
SWAP_SECONDS = 60.0
"""How long a search waits at most while another bundle takes over."""
FEW_VALUES = 12
"""Of a filter; to look for more of them one by one takes longer than to read the file."""

Value = TypeVar("Value")


class _GiveWay(Exception):  # noqa: N818 - no error
    """Images are to be removed while all are encoded anew; never leaves this module."""


@dataclass(frozen=True, eq=False)
class Generation:
    """What answers, from one swap of the bundle to the next.

    Attributes:
        number: counts them from 1.
        bundle: of the embeddings.
        gallery: open for reading.
        search: by descriptions.
        encoder: of images.
        answering: answers questions.
        pictures: encodes pictures to search with; those that come while it works, together.
    """

    number: int
    bundle: Bundle
    gallery: Gallery
    search: RememberingSearch
    answering: Answering
    encoder: ImageEncoder
    pictures: LiveEncoder

    def encode(self, content: bytes) -> Float32Array:
        """The embedding of a picture to search with, unit vector float32 `[d]`.

        Raises:
            PictureError: it is no picture that can be read.
            BusyError: too many are waiting.
        """
        encoded = self.pictures.submit(content, timeout=0)
        try:
            return encoded.result()
        except InputError as error:
            raise PictureError(str(error)) from error

    def close(self) -> None:
        """Free what it holds."""
        self.answering.close()
        self.pictures.close()
        self.gallery.close()


class ServedGallery:
    """A gallery file that a service holds. Threads may share it.

    Args:
        name: of the gallery in the service.
        path: of the file; it is made if there is none.
        bundle: where the bundle is; None takes the default, see `choose_bundle_path`.
        device: of the image encoder.
        precision: of the image encoder; None takes that of the gallery, or fp32 for a new one.
        detector_for: the detector of a camera.
        pictures: what is kept of each picture beside the gallery.
        on_kept: called with the name of the gallery and each picture that it holds now.

    Attributes:
        name: as given.
        gallery: open for writing.
        ingest: takes cameras in.
        swapping: name of the bundle that is about to take over; None if none is.

    Raises:
        InputError: the gallery is of another bundle, follows a folder, or is written by another process.
        BundleError: the bundle is missing or damaged.
        BackendError: the device cannot be had.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        bundle: Path | None = None,
        device: str = "cpu",
        precision: Precision | None = None,
        detector_for: Callable[[Camera], Detector],
        pictures: Pictures = "full",
        on_kept: Callable[[str, KeptCrop], None] | None = None,
    ) -> None:
        self.name = name
        self.swapping: str | None = None
        self._device = device
        self._erase_due = True  # a process may have been killed before it came to that
        self._begun = path.with_name(f".{path.name}.removing")
        self._past: list[tuple[float, Generation]] = []
        self._changed = threading.Condition()
        self._swap_turn = threading.Lock()
        self._removals = 0
        self._removal_turn = threading.Lock()  # images are not removed while they are encoded anew
        is_new = not path.exists()
        opened = None if is_new else Gallery.open(path, "w")
        try:
            loaded = open_bundle(choose_bundle_path(bundle, opened))
            if opened is not None:
                refuse_follower(opened)
                check_bundle(opened, loaded)
            precision = choose_precision(precision, opened)
            encoder = ImageEncoder(loaded, device=device, precision=precision, threads=1)
            if opened is None:
                opened = Gallery.create(path, loaded, precision=precision)
            self.gallery = opened
            self._finish_removal()
            self._generation = self._open_generation(1, loaded, encoder)
        except BaseException:
            if opened is not None:
                opened.close()
            raise
        tell = None if on_kept is None else (lambda kept: on_kept(name, kept))
        self.ingest = Ingest((), self.gallery, encoder, detector_for, pictures=pictures, on_kept=tell)
        self._ingesting = threading.Thread(
            target=self.ingest.run, kwargs={"stay": True}, name=f"sal-ingest-{name}", daemon=True
        )
        self._ingesting.start()

    def close(self) -> None:
        """Stop taking in, add what is left, and close the file."""
        self.ingest.stop()
        self._ingesting.join()
        for _, past in self._past:
            past.close()
        self._generation.close()
        self.gallery.close()

    @property
    def is_ingesting(self) -> bool:
        """Whether it takes cameras and images in."""
        return self._ingesting.is_alive()

    @property
    def generation(self) -> Generation:
        """What answers now; after a swap it is another one, so do not keep it."""
        return self._generation

    def ask(self, question: Question) -> Page:
        """Answer a question; errors are those of `answer`, and those of `Generation.encode`.

        A picture is encoded by the bundle whose embeddings it is compared with, also while another one takes over.
        """

        def ask(now: Generation) -> Page:
            picture = None if question.picture is None else now.encode(question.picture)
            return now.answering.ask(question, picture)

        return self._with_generation(ask)

    def unknown_values(self, where: ItemFilter) -> list[str]:
        """The cameras, tracks and metadata of a filter that no image has, a line each; nothing in an empty gallery.

        A few are looked up in memory, where a search needs them anyway; otherwise the file is read.
        """
        singles = [ItemFilter(cameras=[name]) for name in where.cameras]
        singles += [ItemFilter(tracks=[name]) for name in where.tracks]
        singles += [ItemFilter(metadata={key: [text]}) for key, texts in where.metadata.items() for text in texts]
        if not singles:
            return []
        gallery = self._generation.gallery
        if len(gallery) == 0 or (len(singles) <= FEW_VALUES and all(gallery.count(single) for single in singles)):
            return []
        return gallery.unknown_values(where)

    def remove(self, uris: Iterable[str]) -> list[str]:
        """Remove images for good, and give the uris of those that there were.

        Raises:
            SalError: writing failed; nothing was removed.
        """
        names = sorted(self.gallery.find(uris))
        if names:
            self.removing(lambda: self.gallery.remove(names), names)
        return names

    def purge(self, where: ItemFilter, before: float | None, *, dry_run: bool) -> list[str]:
        """Remove what a filter lets through and, with `before`, what was captured earlier; gives the uris.

        Args:
            where: conditions; may be empty if `before` is given.
            before: seconds since 1970, UTC.
            dry_run: only say what would be removed.

        Raises:
            InputError: there is no condition at all.
            SalError: writing failed; nothing was removed.
        """
        if not where and before is None:
            raise InputError("got no condition for what to remove, expected at least one", parameter="where")
        names = [item.uri for item in self.gallery.all_items(where, before)]
        if names and not dry_run:
            self.removing(lambda: self.gallery.remove(names), names)
        return names

    def tidy(self) -> None:
        """Erase from the file what was removed while it was read, and free past generations; call it every minute."""
        while self._past and time.monotonic() - self._past[0][0] > SWAP_SECONDS:
            self._past.pop(0)[1].close()
        if self._erase_due:
            self._erase_due = False
            try:
                self.gallery.erase()
            except SalError:
                self._erase_due = True

    def removing(self, remove: Callable[[], object], names: Sequence[str]) -> None:
        """Run what removes images; where their bytes are being read, `tidy` erases those later.

        A swap that is under way gives way at its next batch and goes on afterwards.

        Raises:
            SalError: what `remove` raises, if the images are still there.
        """
        with self._changed:
            self._removals += 1
        try:
            with self._removal_turn:
                self._remove(remove, names)
        finally:
            with self._changed:
                self._removals -= 1
                self._changed.notify_all()

    def _remove(self, remove: Callable[[], object], names: Sequence[str]) -> None:
        """Pictures go before items do, so who is killed in between leaves a note, and the next process finishes it."""
        with whole_file(self._begun) as temporary:
            write_synced(temporary, json.dumps([*names]).encode(), 0o600)
        try:
            remove()
        except SalError:
            if self.gallery.find(names):
                self._begun.unlink()
                raise
            self._erase_due = True  # they are gone, but somebody was reading their bytes
        self._begun.unlink()

    def _finish_removal(self) -> None:
        """Do what a killed process had written down, and forget what it was about to write down."""
        for left in temporaries(self._begun):
            left.unlink()
        if self._begun.exists():
            names = json.loads(self._begun.read_bytes())
            self._remove(lambda: self.gallery.remove(names), names)

    def claim_swap(self, bundle: Path) -> None:
        """Keep the next swap for this bundle; `swap` with `is_claimed` carries it out, and must follow.

        Raises:
            BusyError: a swap is under way.
        """
        if not self._swap_turn.acquire(blocking=False):
            raise BusyError(f"gallery {self.name}: bundle {self.swapping} is about to take over; wait for it")
        self.swapping = bundle.name

    def swap(self, bundle: Path, then: Callable[[], None] = lambda: None, *, is_claimed: bool = False) -> Generation:
        """Encode all images anew with another bundle, and let it take over; searches are answered all the while.

        Images are read from their files, so all of them must be there. Who adds images waits for the end of it.

        Args:
            bundle: where the new bundle is.
            then: called when it has taken over, before anything is added again.
            is_claimed: `claim_swap` was called for it.

        Raises:
            BundleError: it is missing or damaged.
            BackendError: it cannot run on the device.
            BusyError: a swap is under way.
            InputError: an image cannot be read.
            SalError: writing failed. After any error the gallery is as before.
        """
        if not is_claimed:
            self.claim_swap(bundle)
        try:
            loaded = open_bundle(bundle)
            precision = self.gallery.precision
            encoder = ImageEncoder(loaded, device=self._device, precision=precision, threads=1)
            encode = bulk_image_encoder(loaded, device=self._device, precision=precision).encode

            def change() -> ImageEncoder:
                try:
                    with self._removal_turn:
                        reindex(self.gallery, loaded, encode, precision)
                except SalError:
                    if self.gallery.fingerprint != loaded.fingerprint:
                        raise
                    self._erase_due = True  # it took over, but somebody was reading the old bytes
                self._take_over(self._open_generation(self._generation.number + 1, loaded, encoder))
                then()
                return encoder

            for _ in range(SWAP_TRIES):  # so that little is left for the moment in which nothing can be added
                if self._encode_anew(loaded, encode, precision) == 0:
                    break
            self.ingest.intake.exchange(change)
            return self._generation
        finally:
            self.swapping = None
            self._swap_turn.release()

    def _encode_anew(self, bundle: Bundle, encode: Encode, precision: Precision) -> int:
        """Encode what the next generation does not have; gives the number of images, 0 where nothing was left to do."""

        def encode_or_give_way(images: UInt8Array) -> Float32Array:
            if self._removals:
                raise _GiveWay
            return encode(images)

        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._removals)
            try:
                with self._removal_turn:
                    return encode_generation(self.gallery, bundle, encode_or_give_way, precision)[1].encoded
            except _GiveWay:
                continue  # what was encoded is kept

    def _open_generation(self, number: int, bundle: Bundle, encoder: ImageEncoder) -> Generation:
        gallery = Gallery.open(self.gallery.path)
        search = RememberingSearch(bundle, gallery)
        pictures = LiveEncoder(encoder, max_delay=0)
        return Generation(number, bundle, gallery, search, Answering(search, gallery), encoder, pictures)

    def _take_over(self, generation: Generation) -> None:
        with self._changed:
            self._past.append((time.monotonic(), self._generation))
            self._generation = generation
            self._changed.notify_all()

    def _with_generation(self, ask: Callable[[Generation], Value]) -> Value:
        """Ask what answers now, and again where another generation took over meanwhile."""
        while True:
            now = self._generation
            try:
                return ask(now)
            except ReindexedError:
                with self._changed:
                    if not self._changed.wait_for(partial(self._is_past, now), SWAP_SECONDS):
                        raise

    def _is_past(self, generation: Generation) -> bool:
        return self._generation is not generation
