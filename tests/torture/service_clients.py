"""Clients of a service under torture, and what it acknowledged to them."""

from __future__ import annotations

import http.client
import json
import random
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import cv2
import numpy as np

from tests.service.api.running import Answer, RunningService

GALLERY = "/v1/galleries/yard"
DESCRIPTIONS = {"hat": 0.5, "!backpack": 0.5}
"""What watches ask for, and the likelihood at which they fire."""
MOST_WATCHES = 4
BATCH = 4
TRACK_LENGTH = 3
"""Images of each track."""
BUSY = (429, 503)


@dataclass
class Image:
    """An image that was acknowledged; moments are of `time.monotonic`."""

    uri: str
    camera: str
    track: str
    note: str
    sent_at: float
    is_removal_asked: bool = False
    removed_at: float | None = None


@dataclass
class Standing:
    """A watch that was acknowledged."""

    id: str
    description: str
    created_at: float
    is_removal_asked: bool = False
    is_removed: bool = False


@dataclass
class Acknowledged:
    """What the service acknowledged so far, and what it was asked for when it died.

    Attributes:
        images: by uri.
        watches: by id.
        lines: action and what identifies it, of each line that the audit log must have.
        counts: of acknowledgements and refusals.
        problems: answers that should not be.
        turn: for all of it.
    """

    images: dict[str, Image] = field(default_factory=dict)
    watches: dict[str, Standing] = field(default_factory=dict)
    lines: set[tuple[str, str]] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def note(self, action: str, about: str) -> None:
        """Something was acknowledged that the audit log must tell of."""
        self.lines.add((action, about))
        self.counts[f"acknowledged {action}"] += 1


class Load:
    """Clients of a running service, until it is killed.

    Args:
        service: that is asked.
        known: gets what it acknowledges.
        hook: address that watches post to.
        seed: decides what is asked.
    """

    def __init__(self, service: RunningService, known: Acknowledged, hook: str, seed: int) -> None:
        self._service, self._known, self._hook, self._seed = service, known, hook, seed
        self._over = threading.Event()
        work: list[Callable[[random.Random], None]] = [self._add, self._add, self._add_batch, self._remove]
        work += [self._search, self._search, self._watch]
        self._threads = [
            threading.Thread(target=self._go_on, args=(one, number), daemon=True) for number, one in enumerate(work)
        ]
        for thread in self._threads:
            thread.start()

    def kill(self) -> None:
        """Kill the service, and wait for the clients."""
        self._over.set()
        self._service.kill()
        for thread in self._threads:
            thread.join()

    def _go_on(self, work: Callable[[random.Random], None], number: int) -> None:
        chance = random.Random(f"{self._seed} {number}")
        try:
            while not self._over.is_set():
                work(chance)
        except (OSError, http.client.HTTPException) as error:
            if not self._over.is_set():
                self._problem(f"{work.__name__}: {error!r}")
        except Exception as error:
            self._problem(f"{work.__name__}: {error!r}")

    def _problem(self, text: str) -> None:
        with self._known.turn:
            self._known.problems.append(text)

    def _answered(self, answer: Answer, what: str) -> Any:
        """The JSON of an answer; None where the service is busy, which is counted."""
        if answer.ok:
            return json.loads(answer.body or b"true")
        with self._known.turn:
            self._known.counts[f"refused {what}: {answer.status}"] += 1
        if answer.status in BUSY:
            time.sleep(0.05)
        else:
            self._problem(f"{what}: {answer.status} {answer.body.decode(errors='replace')}")
        return None

    def _crops(self, chance: random.Random, count: int) -> list[tuple[Image, bytes]]:
        """New crops of one track."""
        camera, track = f"c{chance.randrange(3)}", f"track-{secrets.token_hex(6)}"
        crops = []
        for _ in range(count):
            colour = [chance.randrange(256) for _ in range(3)]
            note = f"note-{secrets.token_hex(6)}"
            content = cv2.imencode(".jpg", np.full((32, 16, 3), colour, np.uint8))[1].tobytes()
            crops.append((Image("", camera, track, note, time.monotonic()), content + note.encode()))
        return crops

    def _keep(self, image: Image, answer: Any) -> None:
        image.uri = answer["uri"]
        with self._known.turn:
            self._known.images[image.uri] = image
            self._known.note("add", image.uri)

    def _add(self, chance: random.Random) -> None:
        for image, content in self._crops(chance, TRACK_LENGTH):
            place = f"camera={image.camera}&track={image.track}&meta=note={image.note}&captured_at={_now()}"
            client = self._service.client("ingest")
            answer = self._answered(client.post_picture(f"{GALLERY}/crops?{place}", content), "add")
            if answer is not None:
                self._keep(image, answer["image"])

    def _add_batch(self, chance: random.Random) -> None:
        crops = {f"{number}.jpg": crop for number, crop in enumerate(self._crops(chance, BATCH))}
        items = [
            {
                "file": name,
                "camera": image.camera,
                "track": image.track,
                "captured_at": _now(),
                "metadata": {"note": image.note},
            }
            for name, (image, _) in crops.items()
        ]
        files = {name: content for name, (_, content) in crops.items()}
        answer = self._answered(
            self._service.client("ingest").post_batch(f"{GALLERY}/crops/batch", items, files), "batch"
        )
        for told in answer["files"] if answer is not None else ():
            if told["image"] is None:
                self._problem(f"batch: {told['problem']}")
            else:
                self._keep(crops[told["file"]][0], told["image"])

    def _remove(self, chance: random.Random) -> None:
        with self._known.turn:
            there = [image for image in self._known.images.values() if image.removed_at is None]
            unsure = [image for image in there if image.is_removal_asked]
            chosen = unsure[:20] + chance.sample(there, min(len(there), chance.randrange(1, 4)))
            for image in chosen:
                image.is_removal_asked = True
        if chosen:
            reason = f"remove-{secrets.token_hex(6)}"
            asked = {"uris": sorted({image.uri for image in chosen}), "reason": reason}
            answer = self._answered(self._service.client("admin").post(f"{GALLERY}/remove", asked), "remove")
            now = time.monotonic()
            if answer is not None:
                with self._known.turn:
                    self._known.note("remove", reason)
                    for image in chosen:
                        image.removed_at = now if image.removed_at is None else image.removed_at
        self._over.wait(chance.uniform(0, 0.6))

    def _search(self, chance: random.Random) -> None:
        reason = f"search-{secrets.token_hex(6)}"
        asked = {"description": chance.choice([*DESCRIPTIONS]), "reason": reason, "by_track": chance.random() < 0.5}
        answer = self._answered(self._service.client("search").post(f"{GALLERY}/search", asked), "search")
        if answer is not None:
            with self._known.turn:
                self._known.note("search", reason)
        self._over.wait(chance.uniform(0, 0.1))

    def _watch(self, chance: random.Random) -> None:
        """Create a watch, or delete one."""
        with self._known.turn:
            there = [watch for watch in self._known.watches.values() if not watch.is_removed]
        client = self._service.client("admin")
        if len(there) < MOST_WATCHES:
            description = chance.choice([*DESCRIPTIONS])
            answer = self._answered(client.post("/v1/watches", self._standing(description)), "watch")
            if answer is not None:
                with self._known.turn:
                    watch = Standing(answer["id"], description, time.monotonic())
                    self._known.watches[watch.id] = watch
                    self._known.note("watch.create", watch.id)
        elif chance.random() < 0.3:
            watch = chance.choice(there)
            watch.is_removal_asked = True
            if self._answered(client.delete(f"/v1/watches/{watch.id}"), "watch") is not None:
                with self._known.turn:
                    watch.is_removed = True
                    self._known.note("watch.delete", watch.id)
        self._over.wait(chance.uniform(0, 0.5))

    def _standing(self, description: str) -> dict[str, Any]:
        return {
            "name": "somebody",
            "gallery": "yard",
            "description": description,
            "min_likelihood": DESCRIPTIONS[description],
            "reason": "torture",
            "expires_at": (datetime.now(UTC) + timedelta(days=1)).isoformat(),
            "deliver": [{"kind": "webhook", "url": self._hook}],
        }


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def settle(known: Acknowledged, watches: list[dict[str, Any]]) -> list[str]:
    """Compare the watches of a service that was started again, and take over those whose fate was not told.

    Returns:
        The ids of acknowledged watches that are missing, and of deleted ones that are there.
    """
    there = {watch["id"]: watch for watch in watches}
    wrong = []
    for watch in known.watches.values():
        if watch.id not in there and watch.is_removal_asked:
            watch.is_removed = True
        elif (watch.id in there) is watch.is_removed:
            wrong.append(watch.id)
        watch.is_removal_asked = watch.is_removed
    for watch_id in there.keys() - known.watches.keys():
        known.watches[watch_id] = Standing(watch_id, there[watch_id]["description"], time.monotonic())
    return wrong


def tracks(images: list[Image]) -> dict[tuple[str, str], list[Image]]:
    """Images by camera and track."""
    found: dict[tuple[str, str], list[Image]] = {}
    for image in images:
        found.setdefault((image.camera, image.track), []).append(image)
    return found
