"""Kill a service under load at random moments, and check that nothing it acknowledged is lost, or undone.

    python -m tests.torture.service_torture --kills 50 --seed 1 --out torture.json

Clients add crops (one by one and in batches), remove some, search, create and delete watches, all over HTTP, and note
what was acknowledged; the watches post to a server here that now and then refuses. The service is killed at a random
moment and started again; some are killed once more while they start. Then

* each acknowledged image is there with its picture, unless its removal was asked for;
* of each acknowledged removal nothing is left: no item, no picture, no byte of its vector or of its texts in any file
  but the audit log;
* the audit log is whole, and has a line for each acknowledged search, change and watch;
* each acknowledged watch is there and each deleted one is not, and each track that fits one fired exactly once;
* the server got each message at least once, and none of an image whose removal had been acknowledged.
"""

from __future__ import annotations

import argparse
import json
import random
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from sal_cli.bench.record import command_line, commit
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.doctor.machine import machine
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.store.file import crop_path
from sal_runtime.matching.person_search import PersonSearch
from sal_service.governance.audit import lines_forwards, verify_log
from tests.runtime.calibrated_bundle import make_calibrated_bundle
from tests.runtime.gallery_contents import stored_vectors
from tests.service.api.running import RunningService
from tests.service.watches.receiver import accept, answer_with, receiver
from tests.torture.service_clients import DESCRIPTIONS, Acknowledged, Load, settle, tracks

LONGEST_LOAD, LONGEST_START = 3.0, 3.0
"""Seconds after which a service is killed at the latest, under load and while it starts."""
KILLED_WHILE_STARTING = 0.2
REFUSED = 0.1
"""Share of the messages that the server of the test refuses."""
PATIENCE = 100.0
"""Seconds until bytes that were being read must be erased, and messages that were refused must be delivered."""
MARGIN = 1e-4
"""Likelihoods that are so near to that of a watch are left out."""


class TortureError(AssertionError):
    """The service lost something, or did something twice, or undid something."""


@dataclass
class ServiceTorture:
    """One service, and what it acknowledged; a context manager.

    Attributes:
        folder: of all its files.
        seed: decides what is asked, and the moments of death.
        counts: of what happened.
    """

    folder: Path
    seed: int
    counts: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> ServiceTorture:
        """Start the service, and the server that watches post to."""
        self.known = Acknowledged()
        self.chance = random.Random(self.seed)
        self.received: list[tuple[float, dict[str, Any]]] = []
        self.vectors: dict[str, bytes] = {}
        self.head: str | None = None
        (self.folder / "gallery").mkdir()
        self.path = self.folder / "gallery" / "yard.sal"
        self.bundle = make_calibrated_bundle(self.folder / "tiny.bundle")
        with ExitStack() as stack:
            self.hook = stack.enter_context(receiver(self._receive))
            policy = self.folder / "policy.toml"
            policy.write_text(f'[watches]\nwebhooks = ["{self.hook.host}"]\n')
            self._options = ("--bundle", self.bundle, "--policy", policy)
            self.service = self._start().wait_until_ready()
            stack.callback(lambda: self.service.kill())
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it."""
        self._stack.close()

    def kill(self) -> None:
        """Load, death, and all checks.

        Raises:
            TortureError: says what is wrong.
        """
        load = Load(self.service, self.known, self.hook.url, self.chance.randrange(2**32))
        time.sleep(self.chance.uniform(0.1, LONGEST_LOAD))
        load.kill()
        self.counts["kills under load"] += 1
        if self.chance.random() < KILLED_WHILE_STARTING:
            service = self._start()
            time.sleep(self.chance.uniform(0.1, LONGEST_START))
            service.kill()
            self.counts["kills while starting"] += 1
        self.service = self._start().wait_until_ready()
        _require(not self.known.problems, f"answers: {self.known.problems[:3]}")
        self._check_audit()
        self._check_removed()
        self._check_images()
        self._check_watches()
        self._check_received()

    def finish(self) -> None:
        """Check that all messages arrive."""
        told = {message["id"] for watch in self._standing() for message in self._messages(watch)}
        gone = {uri for uri, image in self.known.images.items() if image.removed_at is not None}
        _wait_until(
            lambda: told <= {message["id"] for _, message in self.received} | self._ids_of(gone),
            "messages did not arrive",
        )
        self._check_received()
        self.counts["messages received"] = len(self.received)
        self.counts["messages received, distinct"] = len({message["id"] for _, message in self.received})
        self.counts.update(self.known.counts)
        _require(self.service.stop() == 0, "the service did not end in order")
        self._check_audit()

    def _start(self) -> RunningService:
        return RunningService(self.folder, [self.path], self._options)

    def _receive(self, handler: BaseHTTPRequestHandler) -> None:
        body = self.hook.received[-1][2]
        message = json.loads(body)
        self.received.append((time.monotonic(), message))
        (answer_with(503) if random.random() < REFUSED else accept)(handler)

    def _check_audit(self) -> None:
        path = self.service.state / "audit.jsonl"
        report = verify_log(path, self.head)
        _require(report.ok, f"audit log: {report.problem}")
        self.head = report.head
        told: set[tuple[str, str]] = set()
        for line in lines_forwards(path):
            abouts = [line.what.get("uri"), *line.what.get("uris", ()), line.what.get("watch"), line.why]
            told |= {(line.action, about) for about in abouts if about is not None}
        missing = self.known.lines - told
        _require(not missing, f"{len(missing)} lines are missing in the audit log, such as {min(missing, default='')}")
        self.counts["audit lines"] = report.lines
        self.counts["audit lines that were cut"] = report.cut

    def _check_removed(self) -> None:
        """Nothing is left of what was removed; what was being read may take until the next housekeeping."""
        removed = [image for image in self.known.images.values() if image.removed_at is not None]
        for image in removed:
            picture = crop_path(self.path, image.uri)
            _require(picture is not None and not picture.exists(), f"the picture of {image.uri} is left")
        needles = {image.note.encode() for image in removed} | {image.uri.encode() for image in removed}
        vectors = {self.vectors[image.uri] for image in removed if image.uri in self.vectors}
        alike = vectors & self._vectors_there()  # two crops of one colour: one pair in millions, and there are millions
        self.counts["vectors of removed images that another image has, too"] = len(alike)
        needles |= vectors - alike
        _wait_until(lambda: not self._left(needles), lambda: f"removed values are left: {self._left(needles)}")

    def _vectors_there(self) -> set[bytes]:
        """The vectors of the gallery."""
        with Gallery.open(self.path) as gallery:
            return {vector.tobytes() for vector in stored_vectors(gallery)[1]}

    def _left(self, needles: set[bytes]) -> list[tuple[str, bytes]]:
        files = [*self.path.parent.iterdir(), *self.service.state.glob("watches.sqlite*")]
        found = []
        for file in files:
            content = file.read_bytes() if file.is_file() else b""
            found += [(file.name, needle) for needle in needles if needle in content]
        return found[:3]

    def _check_images(self) -> None:
        with Gallery.open(self.path) as gallery:
            problems = gallery.verify()
            _require(problems == [], f"the gallery is damaged: {problems}")
            found = {item.uri: item for item in gallery.all_items()}
            ids, vectors = stored_vectors(gallery)
            for item, vector in zip(gallery.items(ids), vectors, strict=True):
                self.vectors[item.uri] = vector.tobytes()
            pictures = [gallery.image_path(item).is_file() for item in found.values()]
        _require(all(pictures), "an item has no picture")
        for image in self.known.images.values():
            _require(image.removed_at is None or image.uri not in found, f"{image.uri} was removed, and is there")
            _require(image.is_removal_asked or image.uri in found, f"{image.uri} is lost")
        self.counts["images in the gallery"] = len(found)
        self.counts["images that were not acknowledged, but are there"] = len(found.keys() - self.known.images.keys())

    def _check_watches(self) -> None:
        watches = self.service.client("admin").get("/v1/watches").json()["watches"]
        wrong = settle(self.known, watches)
        _require(not wrong, f"watches that are missing, or there after all: {wrong}")
        likelihoods = self._likelihoods()
        by_track = tracks(list(self.known.images.values()))
        for watch in self._standing():
            fired = Counter(
                (message["camera"], message["track"]) for message in self._messages(watch) if message["type"] == "new"
            )
            _require(max(fired.values(), default=1) == 1, f"a track fired twice: {fired.most_common(1)}")
            least, told = DESCRIPTIONS[watch.description], likelihoods[watch.description]
            for key, images in by_track.items():
                later = [told.get(image.uri, 0.0) for image in images if image.sent_at > watch.created_at]
                all_there = not any(image.is_removal_asked for image in images)
                if all_there and max(later, default=0.0) > least + MARGIN:
                    self.counts["tracks that had to fire"] += 1
                    _require(key in fired, f"track {key} fits watch {watch.id}, and did not fire")

    def _likelihoods(self) -> dict[str, dict[str, float]]:
        """Of each image for each description, as a search tells them."""
        bundle = open_bundle(self.bundle)
        with Gallery.open(self.path) as gallery:
            search = PersonSearch(bundle, gallery)
            return {
                asked: {hit.uri: hit.likelihood or 0.0 for hit in search.ask(asked, max(1, len(gallery))).hits}
                for asked in (DESCRIPTIONS if len(gallery) else ())
            } or {asked: {} for asked in DESCRIPTIONS}

    def _standing(self) -> list[Any]:
        return [watch for watch in self.known.watches.values() if not watch.is_removed]

    def _messages(self, watch: Any) -> list[dict[str, Any]]:
        """What the outbox holds of a watch."""
        with closing(sqlite3.connect(self.service.state / "watches.sqlite")) as connection:
            query = "SELECT body FROM message WHERE watch = ? AND body != ''"
            return [json.loads(body) for (body,) in connection.execute(query, (watch.id,))]

    def _ids_of(self, uris: set[str]) -> set[str]:
        return {
            message["id"] for watch in self._standing() for message in self._messages(watch) if message["uri"] in uris
        }

    def _check_received(self) -> None:
        first: dict[tuple[str, str, str], str] = {}
        for moment, message in list(self.received):
            image = self.known.images.get(message["uri"])
            removed_at = None if image is None else image.removed_at
            _require(
                removed_at is None or moment < removed_at,
                f"{message['uri']} was told of {moment - (removed_at or 0):.3f} s after its removal was acknowledged",
            )
            if message["type"] == "new":
                key = (message["watch"], message["camera"], message["track"])
                _require(first.setdefault(key, message["id"]) == message["id"], f"{key} was told twice")


def _wait_until(happened: Callable[[], bool], otherwise: str | Callable[[], str]) -> None:
    give_up_at = time.monotonic() + PATIENCE
    while not happened():
        if time.monotonic() > give_up_at:
            raise TortureError(otherwise if isinstance(otherwise, str) else otherwise())
        time.sleep(0.1)


def _require(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise TortureError(otherwise)


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill it as often as asked; 0 if all is well."""
    parser = argparse.ArgumentParser(prog="service_torture", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50, help="how often it is killed under load (default: 50)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default: 1)")
    parser.add_argument("--out", type=Path, help="the JSON file to write")
    options = parser.parse_args(arguments)
    command = command_line(("python", "-m", "tests.torture.service_torture", *sys.argv[1:]))
    document: dict[str, Any] = {"command": command, "commit": commit(), "machine": machine()}
    with (
        tempfile.TemporaryDirectory(prefix="sal-torture-") as folder,
        ServiceTorture(Path(folder), options.seed) as torture,
    ):
        try:
            for _ in range(options.kills):
                torture.kill()
            torture.finish()
        except TortureError as error:
            document["failed"] = f"after {torture.counts['kills under load']} kills: {error}"
            torture.counts.update(torture.known.counts)
    document["counts"] = dict(sorted(torture.counts.items()))
    if options.out is not None:
        options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(document["counts"], indent=2), document.get("failed", "all is well"), sep="\n")
    return "failed" in document


if __name__ == "__main__":
    sys.exit(main())
