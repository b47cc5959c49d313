"""Kill an ingest at random moments, and check that no acknowledged picture is lost and none is left over.

    python -m tests.torture.ingest_torture --rounds 50 --seed 1 --out torture.json

A child process ingests a drawn recording and says the name of each picture once it is acknowledged; it is killed at a
random moment. The gallery, opened as always, must be whole and hold all that was acknowledged, each with its picture.
Pictures without an item, which were written just before the child died, must be gone when the next ingest begins.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

import numpy as np

from sal_cli.bench.record import command_line, commit
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.doctor.machine import machine
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.store.crops import sweep_crops
from sal_runtime.gallery.store.file import CROP_SCHEME, crops_folder
from sal_service.video.cameras import Camera
from sal_service.video.intake import KeptCrop
from tests.runtime.tiny_bundle import make_tiny_bundle
from tests.service.video.drawn_scene import BLUE, GREEN, NOON, RED, DrawnDetector, frames, walk, write_folder
from tests.torture.clean_process import CLEAN

MOST_PICTURES = 10
"""An ingest lives until so many pictures are acknowledged at most ..."""
LONGEST_SECONDS = 0.1
"""... and up to so long after."""


class TortureError(AssertionError):
    """The gallery is not as it should be."""


@dataclass
class IngestTorture:
    """One gallery, and what was acknowledged.

    Attributes:
        folder: of the gallery, its bundle and the recording.
        seed: decides the moments of death.
        counts: of what happened.
    """

    folder: Path
    seed: int
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Draw a recording in which somebody new appears every second."""
        colours = (RED, GREEN, BLUE)
        crowd = [
            (walk((10 - 60 * start, 90 + 70 * (start % 3)), (60, 0), (start, start + 5)), colours[start % 3])
            for start in range(20)
        ]
        self.recording = write_folder(self.folder / "recording", frames(crowd, 20))
        self.bundle = make_tiny_bundle(self.folder / "tiny.bundle")
        self.path = self.folder / "people.sal"
        self.acknowledged: set[str] = set()

    def round(self, number: int) -> None:
        """One ingest that is killed, and all checks.

        Raises:
            TortureError: something was lost, or is half there.
        """
        ours, theirs = CLEAN.Pipe(duplex=False)
        child = CLEAN.Process(target=_ingest, args=(self, number, theirs))
        child.start()
        theirs.close()
        random = np.random.default_rng([self.seed, number])
        said = _listen(ours, int(random.integers(MOST_PICTURES + 1)) + 1)
        time.sleep(random.uniform(0, LONGEST_SECONDS))
        child.kill()
        said += _listen(ours, None)
        child.join()
        said.remove("")
        self.acknowledged |= set(said)
        self.counts["rounds"] += 1
        self.counts["acknowledged"] += len(said)
        self._check()

    def _check(self) -> None:
        if not self.path.exists():
            _require(not self.acknowledged, "the gallery is gone")
            return
        with Gallery.open(self.path, "w") as gallery:
            _require(gallery.verify() == [], "the gallery is damaged")
            items = gallery.all_items()
            uris = {item.uri for item in items}
            _require(self.acknowledged <= uris, f"lost: {sorted(self.acknowledged - uris)[:3]}")
            _require(all(gallery.image_path(item).is_file() for item in items), "an item has no picture")
            self.counts["left over, and swept"] += sweep_crops(gallery.path, gallery.find)
            self.counts["not acknowledged, but there"] = len(uris - self.acknowledged)
        files = [path for path in crops_folder(self.path).rglob("*") if path.is_file()]
        pictures = {CROP_SCHEME + path.relative_to(crops_folder(self.path)).as_posix() for path in files}
        _require(pictures == uris, "a picture has no item")


def _listen(connection: Connection, words: int | None) -> list[str]:
    """So many words of the child, or fewer if it has no more to say; None for all that is left."""
    said: list[str] = []
    while words is None or len(said) < words:
        try:
            said.append(connection.recv())
        except EOFError:
            break
    return said


def _require(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise TortureError(otherwise)


def _ingest(torture: IngestTorture, number: int, connection: Connection) -> None:
    """In the child: ingest the recording, as of another time in every round, and say what is acknowledged."""
    from sal_runtime.encoding.encoders import ImageEncoder
    from sal_service.video.ingest import Ingest

    bundle = open_bundle(torture.bundle)
    opened = Gallery.open(torture.path, "w") if torture.path.exists() else Gallery.create(torture.path, bundle)
    with opened as gallery:
        ingest = Ingest(
            [Camera("yard", str(torture.recording), started_at=NOON + 1000 * number)],
            gallery,
            ImageEncoder(bundle),
            lambda _: cast(Any, DrawnDetector()),
        )
        submit = ingest.intake.submit

        def submit_and_tell(*given: Any, **named: Any) -> Future[KeptCrop]:
            answer = submit(*given, **named)
            answer.add_done_callback(lambda done: connection.send(done.result().item.uri))
            return answer

        ingest.intake.submit = submit_and_tell  # type: ignore[method-assign]
        connection.send("")  # the first sign of life
        ingest.run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all rounds; 0 if all is well."""
    parser = argparse.ArgumentParser(prog="ingest_torture", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=50, help="how often the ingest is killed (default: 50)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default: 1)")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    options = parser.parse_args(arguments)
    command = command_line(("python", "-m", "tests.torture.ingest_torture", *sys.argv[1:]))
    document: dict[str, Any] = {"command": command, "commit": commit(), "machine": machine()}
    with tempfile.TemporaryDirectory(prefix="sal-torture-") as folder:
        torture = IngestTorture(Path(folder), options.seed)
        try:
            for number in range(options.rounds):
                torture.round(number)
        except TortureError as error:
            document["failed"] = f"round {torture.counts['rounds']}: {error}"
    document["counts"] = dict(sorted(torture.counts.items()))
    options.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(document["counts"], indent=2), document.get("failed", "all is well"), sep="\n")
    return "failed" in document


if __name__ == "__main__":
    sys.exit(main())
