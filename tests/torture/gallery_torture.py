"""Kill the writer of a gallery at random moments, and check that nothing is lost and nothing comes back.

    python -m tests.torture.gallery_torture --rounds 2000 --seed 1 --out torture.json

A child process changes one gallery file and says before and after each change what it does; it is killed at a random
moment. The file, opened as always, must hold all that was acknowledged, of the change in flight all or nothing, and in
no byte what was removed: no vector, no code, no text. The next round goes on with the same file. In every fourth round
a second process searches meanwhile. Half of the searches are by vectors in memory, half by codes. This proves what a
killed process does to a file, not what a power cut does: the kernel lives on.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from sal_cli.bench.record import command_line, commit
from sal_runtime.doctor.machine import machine
from sal_runtime.errors import InputError, SalError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import ItemFilter
from sal_runtime.gallery.store.memory import VECTOR_MEMORY
from tests.runtime.filter_oracle import matches
from tests.runtime.gallery_contents import stored_vectors, uris
from tests.torture.clean_process import CLEAN
from tests.torture.torture_model import (
    CAMERAS,
    Entry,
    Operation,
    Pool,
    applied,
    bundle_of,
    draw_operation,
    generation_needles,
    marked_vectors,
    needles_in,
    needles_of,
    perform,
    tombstones_after,
)

LONGEST_SECONDS = 0.2
"""A writer lives between nothing and this, every other one after its first change has begun."""
ERASING = ("remove", "remove_where", "purge", "reindex")
FIRST_FINGERPRINT = f"{1:064x}"
MEANWHILE = ("removed meanwhile", "encoded anew")
"""What a reader may be told."""
ANSWER_SECONDS = 30.0


class TortureError(AssertionError):
    """The gallery is not as it should be."""


@dataclass
class Torture:
    """One gallery file, and what should be in it.

    Attributes:
        folder: of the file; images are in a folder beside.
        seed: decides every change, but not the moment when a process is killed.
        with_reindex: whether some changes are a reindex.
        counts: of what happened.
    """

    folder: Path
    seed: int
    with_reindex: bool = True
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Make an empty gallery."""
        (self.folder / "images").mkdir()
        (self.folder / "gallery").mkdir()
        self.pool = Pool(self.folder / "images")
        self.path = self.folder / "gallery" / "g.sal"
        self.model: dict[str, Entry] = {}
        self.fingerprint = FIRST_FINGERPRINT
        self.tombstones: set[str] = set()  # contents that may not come back by themselves
        self.removed: set[bytes] = set()  # and must be in no file
        self.overwritten: set[bytes] = set()  # will be gone after the next removal
        self.replaced: dict[str, set[bytes]] = {}  # of items that are there; a stopped reindex may know it still
        Gallery.create(self.path, bundle_of(self.fingerprint)).close()

    def round(self, number: int) -> None:
        """One writer that is killed, and all checks.

        Raises:
            TortureError: something was lost, came back, or is half there.
        """
        random = np.random.default_rng([self.seed, number])
        reader = Process(_read_on, self.path, VECTOR_MEMORY if number % 8 == 3 else 0) if number % 4 == 3 else None
        writer = Process(_change_on, self, random)
        messages = [writer.receive(time.monotonic() + ANSWER_SECONDS)] if number % 2 else []
        deadline = time.monotonic() + random.uniform(0, LONGEST_SECONDS)
        while time.monotonic() < deadline and (message := writer.receive(deadline)) is not None:
            messages.append(message)
        writer.process.kill()
        while (message := writer.receive(time.monotonic() + ANSWER_SECONDS)) is not None:
            messages.append(message)
        writer.process.join()
        in_flight: Operation | None = None
        for message in messages:
            in_flight = self._note(message, in_flight)
        if reader is not None:
            self._finish(reader, kill=number % 8 == 7)
        self._check(in_flight)
        self.counts["rounds"] += 1

    def _note(self, message: Any, in_flight: Operation | None) -> Operation | None:
        """What the writer says; returns the operation that is now in flight."""
        if isinstance(message, Operation):
            return message
        if message != "done" or in_flight is None:
            raise TortureError(f"the writer failed: {message}")
        self.counts[f"acknowledged {in_flight.kind}"] += 1
        self._adopt(in_flight, erased=in_flight.kind in ERASING)
        return None

    def _adopt(self, operation: Operation, erased: bool) -> None:
        before, self.model = self.model, applied(operation, self.model, self.pool)
        self.tombstones = tombstones_after(operation, before, self.model, self.tombstones)
        gone = before.keys() - self.model.keys()
        different = {uri: entry for uri, entry in before.items() if self.model.get(uri) is not entry}
        self.overwritten |= needles_of(different)
        there = needles_of({uri: entry for uri, entry in self.model.items() if before.get(uri) is not entry})
        self.overwritten -= there
        self.removed -= there
        self.overwritten |= generation_needles(gone, self.fingerprint, self.pool)
        for uri in gone:
            self.replaced.pop(uri, None)
        for uri in different.keys() - gone:
            self.replaced.setdefault(uri, set()).update(before[uri].needles)
        if operation.kind == "reindex":
            self.fingerprint = operation.fingerprint
        if erased:
            self.removed |= self.overwritten
            self.overwritten = set()

    def _check(self, in_flight: Operation | None) -> None:
        self._check_bytes(self.removed - self.overwritten, in_flight)
        with Gallery.open(self.path, vector_memory=self._vector_memory()) as gallery:
            problems = gallery.verify()
            if problems:
                raise TortureError(f"verify: {problems}")
            found = _contents(gallery)
            if in_flight is not None:
                self._settle(in_flight, found, gallery.fingerprint)
            if found != self.model:
                wrong = [uri for uri in found.keys() | self.model.keys() if found.get(uri) != self.model.get(uri)]
                raise TortureError(f"{len(wrong)} items differ, first {wrong[0]}, in flight {in_flight}")
            if gallery.fingerprint != self.fingerprint or len(gallery) != len(self.model):
                raise TortureError(f"{len(gallery)} items of {gallery.fingerprint}")
            held_back = gallery.held_back(item.content_hash for item in self.pool.read.values())
            if held_back != self.tombstones:
                raise TortureError(f"{len(held_back ^ self.tombstones)} tombstones differ, in flight {in_flight}")
            self._check_filters(gallery)
        self._check_bytes(self.removed - self.overwritten, None)

    def _vector_memory(self) -> int:
        """Room for vectors; every other round there is none, and codes are searched."""
        return VECTOR_MEMORY if self.counts["rounds"] % 2 else 0

    def _settle(self, in_flight: Operation, found: dict[str, Entry], fingerprint: str) -> None:
        """Decide whether the operation in flight happened."""
        after = applied(in_flight, self.model, self.pool)
        happened = fingerprint == in_flight.fingerprint if in_flight.kind == "reindex" else found == after
        self.counts[f"killed in {in_flight.kind}, {'done' if happened else 'undone'}"] += 1
        if happened:
            self._adopt(in_flight, erased=False)

    def _check_filters(self, gallery: Gallery) -> None:
        for number in range(CAMERAS):
            where = ItemFilter(cameras=[f"c{number}"], metadata={"zone": ["0", "1"]})
            expected = {uri for uri, entry in self.model.items() if matches(where, entry.item)}
            query = marked_vectors(np.random.default_rng(number), 1)
            (found,) = gallery.nearest(query, len(self.model) + 1, where)
            if set(uris(found)) != expected:
                raise TortureError(f"camera c{number}: a filter finds other items than it should")

    def _check_bytes(self, gone: set[bytes], in_flight: Operation | None) -> None:
        """What is gone is in no file, unless it is there again."""
        allowed = needles_of(self.model) | generation_needles(self.model, self.fingerprint, self.pool)
        if in_flight is not None:
            after = applied(in_flight, self.model, self.pool)
            allowed |= needles_of(after) | generation_needles(after, self.fingerprint, self.pool)
            if in_flight.kind == "reindex":
                allowed |= generation_needles(after, in_flight.fingerprint, self.pool)
        for file in sorted(self.path.parent.iterdir()):
            left = needles_in([file]) & (gone - allowed)
            if ".reindex" in file.name:
                left = left.difference(*self.replaced.values())
            if left:
                raise TortureError(f"{len(left)} removed values are still in {file.name}, such as {min(left)!r}")

    def _finish(self, reader: Process, kill: bool) -> None:
        if kill:
            reader.process.kill()
        else:
            reader.connection.send("stop")
        last = None
        while (message := reader.receive(time.monotonic() + ANSWER_SECONDS)) is not None:
            last = message
        reader.process.join(ANSWER_SECONDS)
        if isinstance(last, str) or (last is None and not kill):
            raise TortureError(f"a reader failed: {last}")
        self.counts["searches beside a writer"] += last or 0


class Process:
    """A process and a connection to it.

    Args:
        work: called there with the connection and the arguments.
        arguments: of `work`.
    """

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        self.connection, theirs = CLEAN.Pipe()
        self.process = CLEAN.Process(target=_report, args=(work, theirs, *arguments), daemon=True)
        self.process.start()
        theirs.close()

    def receive(self, deadline: float) -> Any:
        """The next message; None when there is none until then, or will never be one."""
        if not self.connection.poll(max(0.0, deadline - time.monotonic())):
            return None
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            return None


def _report(work: Callable[..., None], connection: Connection, *arguments: Any) -> None:
    try:
        work(connection, *arguments)
    except BaseException as error:
        connection.send(f"{type(error).__name__}: {error}")


def _change_on(connection: Connection, torture: Torture, random: np.random.Generator) -> None:
    """The writer."""
    model, fingerprint, pool = torture.model, torture.fingerprint, torture.pool
    with Gallery.open(torture.path, "w") as gallery:
        while True:
            operation = draw_operation(random, model, pool, fingerprint, torture.with_reindex)
            connection.send(operation)
            perform(gallery, operation, pool)
            connection.send("done")
            model, fingerprint = applied(operation, model, pool), operation.fingerprint or fingerprint


def _read_on(connection: Connection, path: Path, vector_memory: int) -> None:
    """The reader: searches until it is told to stop; sends how often it searched."""
    random = np.random.default_rng(0)
    searches = 0
    gallery = Gallery.open(path, vector_memory=vector_memory)
    while not connection.poll(0.001):
        try:
            _search(gallery, marked_vectors(random, 1), f"c{random.integers(CAMERAS)}")
            searches += 1
        except InputError as error:
            if not any(text in str(error) for text in MEANWHILE):
                raise
            gallery.close()
            gallery = Gallery.open(path, vector_memory=vector_memory)
    try:
        ids, vectors = stored_vectors(gallery)
    except InputError:
        ids, vectors = np.empty(0, np.int64), np.empty(0, np.float32)  # encoded anew meanwhile
    else:
        with Gallery.open(path) as fresh:
            if not (
                np.array_equal(stored_vectors(fresh)[0], ids) and np.array_equal(stored_vectors(fresh)[1], vectors)
            ):
                raise TortureError("a reader remembers something else than is in the file")
    gallery.close()
    connection.send(searches)


def _search(gallery: Gallery, query: Any, camera: str) -> None:
    problems = gallery.verify()
    (found,) = gallery.nearest(query, 10, ItemFilter(cameras=[camera]))
    wrong = [item for item in found.items if item.camera != camera]
    if problems or wrong or len(set(uris(found))) != len(found) or (np.diff(found.scores) > 0).any():
        raise TortureError(f"a reader sees {problems or wrong or found}")


def _contents(gallery: Gallery) -> dict[str, Entry]:
    ids, vectors = stored_vectors(gallery)
    return {item.uri: Entry(item, vector.tobytes()) for item, vector in zip(gallery.items(ids), vectors, strict=True)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all rounds; 0 if all is well."""
    parser = argparse.ArgumentParser(
        prog="gallery_torture", description=__doc__.partition("\n")[0] if __doc__ else None
    )
    parser.add_argument("--rounds", type=int, default=2000, help="how often the writer is killed (default: 2000)")
    parser.add_argument("--seed", type=int, default=1, help="of the changes (default: 1)")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    options = parser.parse_args(arguments)
    command = command_line(("python", "-m", "tests.torture.gallery_torture", *sys.argv[1:]))
    document: dict[str, Any] = {"command": command, "commit": commit(), "machine": machine()}
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sal-torture-") as folder:
        torture = Torture(Path(folder), options.seed)
        try:
            for number in range(options.rounds):
                torture.round(number)
        except (TortureError, SalError) as error:
            document["failed"] = f"round {torture.counts['rounds']}: {error}"
    document |= {"seconds": round(time.monotonic() - started, 1), "counts": dict(sorted(torture.counts.items()))}
    options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(document["counts"], indent=2), document.get("failed", "all is well"), sep="\n")
    return "failed" in document


if __name__ == "__main__":
    sys.exit(main())
