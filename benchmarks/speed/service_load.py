"""`sal serve` under load: clients on loopback that ask as fast as they are answered, against one that asks in turn.

    python -m benchmarks.speed.service_load --items 100000 --clients 32 --seconds 60

The service runs in a process of its own, with its audit log, its log and its limits; [limits] of the policy are set so
high that nobody is refused. One client asks before and after many do, so that a slow minute affects both. Limits: no
error; many clients get at least as many answers a second from searches as one does, and twice as many pictures encoded.

The gallery has derived embeddings: people of demo/gallery with a little noise for each track and for each image. Of
the searches, a quarter is within two cameras and another one within a time.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np

from benchmarks.speed.closed_loop import Load, Served, ask_in_a_loop, post
from benchmarks.speed.measurement import RESULTS, write_result
from sal_runtime.arrays import Float32Array
from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.bundle.shipped import default_bundle_path
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.images.pixels import decode_image, resize_image
from sal_service.governance.audit import lines_forwards, verify_log
from sal_service.video.intake import crop_uri

DEMO = Path(__file__).parents[2] / "demo" / "gallery"
CAMERAS = 40
TRACK = 3
"""Images of a track."""
NOISE = (0.6, 0.25)
"""Length of the noise of a track and of an image, beside a unit vector."""
BATCH = 20_000
BEGIN = 1.8e9
START_SECONDS = 120
WARM_SECONDS = 2.0
REMEMBERED = 16
"""Descriptions that are asked again and again."""
EXCLUDED = 0.3
"""Share of the descriptions that exclude a word."""
POLICY = """
[attributes]
sensitive = "allowed"
[limits]
search = 100000
image-search = 100000
add = 100000
"""
TWICE = 2.0
INTERRUPTED = 130
"""How `sal serve` ends after Ctrl-C."""


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--picture-clients", type=int, nargs="+", default=[8, 16])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    given = parser.parse_args()
    bundle = open_bundle(default_bundle_path())
    pictures = [path.read_bytes() for path in sorted(DEMO.glob("*.jpg"))]
    with tempfile.TemporaryDirectory() as folder:
        gallery = Path(folder, "yard.sal")
        make_gallery(gallery, bundle, pictures, given.items)
        print(f"made a gallery of {given.items:,} items", file=sys.stderr)
        with serving(gallery) as service:
            loads = _loads(service, bundle, pictures, given)
        audit = _audited(gallery.with_name("yard.sal.service") / "audit.jsonl")
    found = {name: _compared(*measured) for name, measured in loads.items()}
    errors = sum(sum(load.errors.values()) for measured in loads.values() for load in measured)
    limits = {"errors": 0, "searches": 1.0, "pictures": TWICE}
    result = {"items": given.items, "errors": errors, "audit": audit, "limits": limits, "loads": found}
    write_result("service_load", result, given.out)
    _show(found, errors)


def _loads(
    service: Served, bundle: Bundle, pictures: Sequence[bytes], given: argparse.Namespace
) -> dict[str, list[Load]]:
    """One client, many, one again: for each kind of requests and number of clients."""
    new = descriptions(bundle)
    known = itertools.cycle([next(new) for _ in range(REMEMBERED)])
    kinds: list[tuple[str, Iterator[bytes], int]] = [
        ("searches, remembered", searches(known), given.clients),
        ("searches, all new", searches(new), given.clients),
    ]
    for clients in given.picture_clients:
        kinds.append((f"pictures to search with, {clients} at once", picture_searches(pictures), clients))
        kinds.append((f"pictures to add, {clients} at once", additions(pictures, clients), clients))
    loads = {}
    for name, requests, clients in kinds:
        ask_in_a_loop(service, requests, clients, WARM_SECONDS)
        share = given.seconds / 4
        spans = ((1, share), (clients, given.seconds), (1, share))
        loads[name] = [ask_in_a_loop(service, requests, count, seconds) for count, seconds in spans]
        print(f"{name}: {', '.join(f'{load.rate:.1f}/s' for load in loads[name])}", file=sys.stderr)
    return loads


def descriptions(bundle: Bundle) -> Iterator[str]:
    """Descriptions of three words, one of which is often excluded; each comes once."""
    words = [
        (group.name, f"{group.name}={state.name}" if group.kind == "exclusive" else state.name)
        for group in bundle.schema.groups
        for state in (group.states if group.kind == "exclusive" else group.states[1:])
        if state.name != "none"
    ]
    random, seen = np.random.default_rng(0), set[frozenset[str]]()
    while True:
        chosen = dict(words[place] for place in random.choice(len(words), 3, replace=False))
        if len(chosen) == 3 and frozenset(chosen.values()) not in seen:
            seen.add(frozenset(chosen.values()))
            first, *others = chosen.values()
            yield ",".join([*others, "!" + first if random.random() < EXCLUDED else first])


def searches(texts: Iterator[str]) -> Iterator[bytes]:
    """Searches for descriptions, by track; some within cameras or within a time."""
    for number, text in enumerate(texts):
        where: dict[str, Any] = {}
        if number % 4 == 2:
            where["cameras"] = [f"cam{number % CAMERAS:02}", f"cam{(number + 1) % CAMERAS:02}"]
        if number % 4 == 3:
            where["captured_from"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(BEGIN + 3600 * (number % 12)))
        asked = {"description": text, "where": where, "reason": "a measurement"}
        yield post("/v1/galleries/yard/search", json.dumps(asked).encode(), "application/json")


def picture_searches(pictures: Sequence[bytes]) -> Iterator[bytes]:
    """Searches for who is like somebody in a picture."""
    for picture in itertools.cycle(pictures):
        yield post("/v1/galleries/yard/search/image", picture, "image/jpeg")


def additions(pictures: Sequence[bytes], day: int) -> Iterator[bytes]:
    """Pictures to add, each another moment of that day of a camera of its own."""
    for number, picture in enumerate(itertools.cycle(pictures)):
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(BEGIN + day * 86400 + number))
        known = urlencode({"camera": "gate", "captured_at": moment, "track": f"{number // TRACK}", "box": "9,9,48,128"})
        yield post(f"/v1/galleries/yard/crops?{known}", picture, "image/jpeg")


def make_gallery(path: Path, bundle: Bundle, pictures: Sequence[bytes], count: int) -> None:
    """A gallery of tracks of people who are like those in pictures."""
    images = np.stack([resize_image(decode_image(picture), bundle.image_spec) for picture in pictures])
    people = ImageEncoder(bundle).encode(images)
    random = np.random.default_rng(0)
    with Gallery.create(path, bundle) as gallery:
        for start in range(0, count, BATCH):
            numbers = range(start, min(start + BATCH, count))
            tracks = _noisy(random, people[random.integers(0, len(people), -(-len(numbers) // TRACK))], NOISE[0])
            vectors = _noisy(random, np.repeat(tracks, TRACK, axis=0)[: len(numbers)], NOISE[1])
            gallery.add([_item(number, start) for number in numbers], vectors)


def _item(number: int, start: int) -> GalleryItem:
    track, image = divmod(number - start, TRACK)
    track += start  # another one in each batch
    camera, captured_at = f"cam{track % CAMERAS:02}", BEGIN + track * 0.5 + image * 0.2
    uri = crop_uri(camera, captured_at, f"{track}-{image}")
    box = (track % 1800, track % 900, 48, 128)
    zone = {"zone": f"zone-{track % 7}"}
    return GalleryItem(uri, f"{number:064x}", 3000, None, camera, captured_at, str(track), box, zone)


def _noisy(random: np.random.Generator, vectors: Float32Array, length: float) -> Float32Array:
    """Unit vectors with noise of a length."""
    noise = random.standard_normal(vectors.shape, dtype=np.float32) * (length / np.sqrt(vectors.shape[1]))
    noisy = vectors + noise
    return np.asarray(noisy / np.linalg.norm(noisy, axis=1, keepdims=True), np.float32)


@contextmanager
def serving(gallery: Path) -> Iterator[Served]:
    """A `sal serve` in a process of its own; it is stopped as an operator would stop it.

    Raises:
        RuntimeError: it did not begin, or did not end well; with the end of its log.
    """
    policy, log = gallery.with_suffix(".toml"), gallery.with_suffix(".log")
    policy.write_text(POLICY)
    command = [sys.executable, "-m", "sal_cli", "serve", str(gallery), "--port", "0", "--policy", str(policy)]
    with log.open("wb") as errors, subprocess.Popen(command, stderr=errors) as process:
        try:
            yield Served(_port(process, log), process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            if process.wait(START_SECONDS) != INTERRUPTED:
                raise RuntimeError(f"the service ended with {process.returncode}: {log.read_text()[-2000:]}")


def _port(process: subprocess.Popen[bytes], log: Path) -> int:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        if found := re.search(r"at http://127\.0\.0\.1:(\d+)/", log.read_text()):
            return int(found.group(1))
        time.sleep(0.2)
    raise RuntimeError(f"the service does not answer: {log.read_text()[-2000:]}")


def _audited(log: Path) -> dict[str, Any]:
    """Whether the audit log is whole, and its lines by action."""
    report = verify_log(log)
    counts: dict[str, int] = {}
    for line in lines_forwards(log):
        counts[line.action] = counts.get(line.action, 0) + 1
    return {"whole": report.ok, "lines": counts}


def _compared(before: Load, many: Load, after: Load) -> dict[str, Any]:
    """Many clients against one, and the answers of each."""
    ones = [before, after]
    one = Load(1, sum(load.seconds for load in ones), sum(load.cpu_seconds for load in ones))
    for load in ones:
        one.latencies += load.latencies
        one.errors += load.errors
    return {"many_to_one": round(many.rate / one.rate, 3), "one": one.to_json(), "many": many.to_json()}


def _show(found: dict[str, dict[str, Any]], errors: int) -> None:
    print(f"{'':34}{'clients':>8}{'a second':>10}{'p50 ms':>9}{'p99 ms':>9}{'cpu ms':>9}{'to one':>8}", file=sys.stderr)
    for name, measured in found.items():
        for kind, ratio in (("one", ""), ("many", f"{measured['many_to_one']:.2f}")):
            load = measured[kind]
            times = "".join(f"{load[key]:9.1f}" for key in ("p50_ms", "p99_ms", "cpu_ms"))
            label = name if kind == "one" else ""
            print(f"{label:34}{load['clients']:8}{load['per_second']:10.1f}{times}{ratio:>8}", file=sys.stderr)
    print(f"errors: {errors}", file=sys.stderr)


if __name__ == "__main__":
    main()
