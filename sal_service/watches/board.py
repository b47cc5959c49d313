"""Evaluates watches on each new image of a gallery.

    board = WatchBoard(store, on_fire)
    board.register_gallery("yard", bundle, gallery)      # again after the bundle was swapped
    board.catch_up("yard")                               # what was kept before a crash
    intake.submit(...).add_done_callback(lambda kept: board.see("yard", kept.result()))
    board.tick(time.time())                              # every few seconds

`see` is quick and writes nothing of an image that fits no watch. `tick` goes through what the gallery was given since,
so that nothing is missed, whatever happened to the process. After a crash an image may be evaluated twice, but what was
told of it is known by its id.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sal_runtime.arrays import Float32Array, batched
from sal_runtime.bundle.bundle import Bundle
from sal_runtime.encoding.encoders import AttributeEncoder
from sal_runtime.errors import InputError, SalError, first_line
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.protocol import check_bundle
from sal_service.video.intake import KeptCrop
from sal_service.watches.following import added_since, end_of, read_images
from sal_service.watches.question import Question
from sal_service.watches.store import FittingTrack, TrackKey, WatchStore
from sal_service.watches.watch import Kind, Message, Target, Watch, check_watch, message_id

QUIET_SECONDS = 300.0
"""A track ended when it gave no image for so long; a long track gives its third picture minutes after its second."""
SAME_TRACK_SECONDS = 3600.0
"""An image with the name of a track that has ended is of the same person for so long; then the name is used again."""
LONGEST_SECONDS = 30 * 86400.0
MOST_WATCHES = 200
PAGE = 512
"""Images evaluated at a time when catching up."""

Answer = tuple[float, dict[str, float]]
"""Likelihood and evidence."""
OnFire = Callable[[Message], None]
CropUrl = Callable[[str, str], str | None]
"""Where the service gives the image of a gallery (its name) with a uri."""


@dataclass
class _Served:
    """A gallery with its bundle, and the watches of it that can be evaluated."""

    name: str
    bundle: Bundle
    gallery: Gallery
    encoder: AttributeEncoder
    questions: dict[str, tuple[Watch, Question]] = field(default_factory=dict)
    was_gone_through: bool = False
    seen: set[tuple[str, str | None]] = field(default_factory=set)
    """Uris and contents that were evaluated since the gallery was gone through."""

    @property
    def bundle_text(self) -> str:
        return f"{self.bundle.name}@{self.bundle.fingerprint[:12]}"


class _Changes:
    """What some images change; nothing is changed until the store has it."""

    def __init__(self) -> None:
        self.messages: list[tuple[Message, Sequence[Target]]] = []
        self.stored: dict[TrackKey, FittingTrack] = {}
        self.tracks: dict[TrackKey, FittingTrack] = {}


class WatchBoard:
    """All watches of a service. Safe to use from many threads.

    Args:
        store: what survives.
        on_fire: called with each message when it is on the disk, one after the other; after a crash perhaps once more
            with the last. If it fails, it is called again later.
        crop_url: of an image; None gives none.
        quiet_seconds: a track has ended when it gave no image for so long.
        longest_seconds: how long a watch may last.
        clock: seconds since 1970.

    Attributes:
        problems: why a watch cannot be evaluated with the present bundle, by its id.
    """

    def __init__(
        self,
        store: WatchStore,
        on_fire: OnFire,
        *,
        crop_url: CropUrl = lambda gallery, uri: None,
        quiet_seconds: float = QUIET_SECONDS,
        longest_seconds: float = LONGEST_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.problems: dict[str, str] = {}
        self._on_fire, self._crop_url, self._clock = on_fire, crop_url, clock
        self._quiet_seconds, self._longest_seconds = quiet_seconds, longest_seconds
        self._turn, self._telling = threading.RLock(), threading.Lock()
        self._served: dict[str, _Served] = {}
        self._tracks = store.open_tracks()
        self._seen_at = dict.fromkeys(self._tracks, clock())

    def register_gallery(self, name: str, bundle: Bundle, gallery: Gallery) -> None:
        """Serve a gallery, or serve it with another bundle from now on; `catch_up` then goes through it.

        The watches of a gallery that was never registered before begin with its next image.

        Args:
            name: that watches call it by.
            bundle: the one that made the embeddings of the gallery.
            gallery: open, and left open.

        Raises:
            InputError: the gallery is of another bundle.
            SalError: it cannot be read.
        """
        check_bundle(gallery, bundle)
        with self._turn:
            served = _Served(name, bundle, gallery, AttributeEncoder(bundle))
            if self.store.cursor(name) is None:
                self.store.set_cursor(name, end_of(gallery.path, bundle))
            for watch in self.store.watches():
                if watch.gallery == name:
                    self._prepare(served, watch)
            self._served[name] = served

    def _prepare(self, served: _Served, watch: Watch) -> None:
        self.problems.pop(watch.id, None)
        try:
            served.questions[watch.id] = (watch, Question(watch.description, served.bundle, served.encoder))
        except SalError as error:
            self.problems[watch.id] = first_line(error)

    def add(self, watch: Watch) -> None:
        """Evaluate a watch from the next image on. It is on the disk when this returns.

        Raises:
            InputError: there is no such gallery, there are too many watches, or the watch is not one to take
                (`check_watch`).
            SchemaError: its description cannot be read.
            ConfigError: the bundle of the gallery is not calibrated.
        """
        check_watch(watch, self._longest_seconds)
        with self._turn:
            served = self._of_name(watch.gallery)
            question = Question(watch.description, served.bundle, served.encoder)
            active = sum(other.expires_at > self._clock() for other in self.store.watches())
            if active >= MOST_WATCHES:
                raise InputError(f"{active} watches are active, and at most {MOST_WATCHES} may be; remove some")
            self._catch_up(served)  # what came before is none of its business
            self.store.add(watch)
            served.questions[watch.id] = (watch, question)
        self._tell()

    def remove(self, watch_id: str) -> bool:
        """Forget a watch with its messages; what was not delivered yet never is. Says whether there was one."""
        with self._turn:
            for served in self._served.values():
                served.questions.pop(watch_id, None)
            self.problems.pop(watch_id, None)
            for key in [key for key in self._tracks if key[0] == watch_id]:
                self._forget(key)
            return self.store.remove(watch_id)

    def see(self, gallery_name: str, kept: KeptCrop) -> None:
        """Evaluate an image that a gallery has just been given.

        Raises:
            InputError: there is no such gallery.
            SalError: what it gave could not be kept; `tick` will try again.
        """
        with self._turn:
            served = self._of_name(gallery_name)
            if served.gallery.fingerprint != served.bundle.fingerprint:
                return  # it was encoded anew: `catch_up` does this one when the gallery is registered again
            self._evaluate(served, [kept.item], kept.vector[None])
            served.seen.add((kept.item.uri, kept.item.content_hash))
        self._tell()

    def catch_up(self, gallery_name: str) -> int:
        """Evaluate what a gallery was given since this was done last, and say how many images that were.

        Raises:
            InputError: there is no such gallery, or it was encoded anew and not registered again.
            SalError: the gallery cannot be read, or what it gave could not be kept; nothing is lost.
        """
        with self._turn:
            count = self._catch_up(self._of_name(gallery_name))
        self._tell()
        return count

    def tick(self, now: float) -> list[str]:
        """Catch up with all galleries, end tracks that gave nothing for a while, and watches that have expired.

        Args:
            now: seconds since 1970.

        Returns:
            What went wrong, a line each; it is tried again at the next call.
        """
        problems = []
        with self._turn:
            for served in list(self._served.values()):
                try:
                    self._catch_up(served)
                    self._end_tracks(served, now)
                except SalError as error:
                    problems.append(first_line(error))
        self._tell()
        return problems

    def forget_images(self, gallery_name: str, uris: Sequence[str]) -> None:
        """Images were removed from a gallery: nothing more is told of them, and what was told is deleted."""
        gone = set(uris)
        with self._turn:
            self.store.forget_images(gallery_name, uris)
            ended = {
                key: replace(track, ended=True)
                for key, track in self._tracks.items()
                if track.best.gallery == gallery_name and track.best.uri in gone
            }
            self.store.record([], ended, self._clock())
            for key in ended:
                self._forget(key)
            self.store.erase()

    def _of_name(self, name: str) -> _Served:
        served = self._served.get(name)
        if served is None:
            known = ", ".join(self._served) or "none"
            raise InputError(
                f"got gallery {name!r}, expected one of those that are served: {known}", parameter="gallery"
            )
        return served

    def _catch_up(self, served: _Served) -> int:
        cursor = self.store.cursor(served.name)
        assert cursor is not None
        ids, behind = added_since(served.gallery.path, served.bundle, cursor, thorough=not served.was_gone_through)
        for page in batched(ids if served.questions else [], PAGE):
            items, vectors = read_images(served.gallery.path, served.bundle, page)
            rows = [row for row, item in enumerate(items) if (item.uri, item.content_hash) not in served.seen]
            self._evaluate(served, [items[row] for row in rows], vectors[rows])
        if behind != cursor:
            self.store.set_cursor(served.name, behind)
        served.was_gone_through = True
        served.seen.clear()
        return len(ids)

    def _evaluate(self, served: _Served, items: Sequence[GalleryItem], vectors: Float32Array) -> None:
        now, changes = self._clock(), _Changes()
        for watch, question in served.questions.values():
            rows = [row for row, item in enumerate(items) if not watch.cameras or item.camera in watch.cameras]
            if not rows or watch.expires_at <= now:
                continue
            there = [items[row] for row in rows]
            answers = question.answers(there, vectors[rows], watch.min_likelihood)
            for row, item in enumerate(there):
                self._step(served, watch, item, answers.get(row), changes)
        if changes.messages or changes.stored:
            self.store.record(changes.messages, changes.stored, now)
        self._tracks |= changes.tracks
        self._seen_at |= dict.fromkeys(changes.tracks, now)

    def _step(
        self,
        served: _Served,
        watch: Watch,
        item: GalleryItem,
        answer: Answer | None,
        changes: _Changes,
    ) -> None:
        """What one image changes; it fits if there is an answer."""
        key = (watch.id, item.camera or "", item.track or "")
        track = changes.tracks.get(key) or self._tracks.get(key)
        if item.track is not None and track is not None:
            latest = max(
                (moment for moment in (track.last_captured, item.captured_at) if moment is not None), default=None
            )
            changes.tracks[key] = track = replace(track, last_captured=latest)
            if answer is not None and answer[0] > track.best.likelihood:
                better = self._message(served, watch, item, "update", answer)
                changes.tracks[key] = changes.stored[key] = replace(track, best=better)
                if not watch.once_per_track:
                    changes.messages.append((better, watch.deliver))
        elif answer is not None:
            first = self._message(served, watch, item, "new", answer)
            if self.store.has_message(first.id) or (item.track is not None and self._is_late(key, item)):
                return
            changes.messages.append((first, watch.deliver))
            if item.track is not None:
                changes.tracks[key] = changes.stored[key] = FittingTrack(first, item.captured_at)

    def _is_late(self, key: TrackKey, item: GalleryItem) -> bool:
        """Whether an image is of a track that has ended already."""
        ended = self.store.ended_track(key)
        if ended is None:
            return False
        (last,) = ended
        return last is None or item.captured_at is None or item.captured_at <= last + SAME_TRACK_SECONDS

    def _message(self, served: _Served, watch: Watch, item: GalleryItem, kind: Kind, answer: Answer) -> Message:
        return Message(
            id=message_id(watch.id, kind, item.uri, item.content_hash),
            type=kind,
            watch=watch.id,
            name=watch.name,
            gallery=served.name,
            camera=item.camera,
            track=item.track,
            uri=item.uri,
            captured_at=item.captured_at,
            box=item.box,
            likelihood=answer[0],
            evidence=answer[1],
            crop_url=self._crop_url(served.name, item.uri),
            bundle=served.bundle_text,
        )

    def _end_tracks(self, served: _Served, now: float) -> None:
        """End the tracks of a gallery that gave nothing for a while, or whose watch has expired; forget that watch."""
        watches = {watch.id: watch for watch in self.store.watches() if watch.gallery == served.name}
        over = {watch_id for watch_id, watch in watches.items() if watch.expires_at <= now}
        ended = {
            key: track
            for key, track in self._tracks.items()
            if key[0] in over or (key[0] in watches and self._seen_at[key] + self._quiet_seconds <= now)
        }
        if ended:
            messages = [(track.best.ended(), watches[key[0]].deliver) for key, track in ended.items()]
            self.store.record(messages, {key: replace(track, ended=True) for key, track in ended.items()}, now)
        for key in ended:
            self._forget(key)
        for watch_id in over:
            served.questions.pop(watch_id, None)

    def _forget(self, key: TrackKey) -> None:
        del self._tracks[key], self._seen_at[key]

    def _tell(self) -> None:
        """Tell the service of what is on the disk, in its order."""
        with self._telling:
            for message in self.store.untold():
                self._on_fire(message)
                self.store.mark_told(message.id)
