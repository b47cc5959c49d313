"""A gallery of a million items: first answer and memory of a new process, and the cost of adding.

    python -m benchmarks.speed.gallery_million [ITEMS]

The first answer covers a whole process: imports, bundle, vectors, ranking. Limits: 2 s of process time, a peak memory
of 1.2 times the float32 matrix, 1.5 times as long to add 1,000 items as to an empty gallery, 1,040 bytes an item on
disk.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.measurement import ratio, seconds, summary, write_result
from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.bundle.shipped import default_bundle_path
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem

ITEMS = 1_000_000
ADDED = 1_000
ROUNDS = 9
CAMERAS = 40
BATCH = 20_000

FIRST_ANSWER = """
import json, resource, sys
from sal_runtime import search
from sal_runtime.gallery.items import ItemFilter
where = ItemFilter(cameras=sys.argv[3:]) if sys.argv[3:] else None
hits = search(sys.argv[2], "male,backpack,!hat,upper=red", 10, bundle=sys.argv[1], where=where).hits
usage = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, len(hits)]))
"""


def main() -> None:
    """Measure and write the result."""
    items = int(sys.argv[1]) if len(sys.argv) > 1 else ITEMS
    bundle = open_bundle(default_bundle_path())
    with tempfile.TemporaryDirectory() as folder:
        large = Path(folder, "large.sal")
        with Gallery.create(large, bundle) as gallery:
            for start in range(0, items, BATCH):
                count = min(BATCH, items - start)
                gallery.add(list(_items("2026-11-23", start, count)), _vectors(bundle, count, seed=start))
        size = large.stat().st_size
        answers = _first_answers(bundle, large)
        adding = _adding(bundle, large, Path(folder))
    matrix = items * bundle.embedding_dim * 4
    write_result(
        "gallery_million",
        {
            "items": items,
            "bytes_per_item": size / items,
            "first_answer_process_seconds": {
                name: summary([process for process, _ in found]) for name, found in answers.items()
            },
            "peak_memory_to_matrix": {
                name: summary([memory / matrix for _, memory in found]) for name, found in answers.items()
            },
            "adding_1000": adding,
            "limits": {"process_seconds": 2.0, "memory_to_matrix": 1.2, "adding": 1.5, "bytes_per_item": 1040},
        },
    )


def _first_answers(bundle: Bundle, gallery: Path) -> dict[str, list[tuple[float, float]]]:
    """Process seconds and peak bytes of processes that answer one query, without the first process of each kind."""
    found: dict[str, list[tuple[float, float]]] = {"unfiltered": [], "one camera of 40": []}
    for _ in range(ROUNDS + 1):
        found["unfiltered"].append(_first_answer(bundle, gallery))
        found["one camera of 40"].append(_first_answer(bundle, gallery, "cam07"))
    return {name: values[1:] for name, values in found.items()}


def _first_answer(bundle: Bundle, gallery: Path, *cameras: str) -> tuple[float, float]:
    command = [sys.executable, "-c", FIRST_ANSWER, str(bundle.path), str(gallery), *cameras]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    process, memory, hits = json.loads(done.stdout)
    assert hits == 10
    return process, memory


def _adding(bundle: Bundle, large: Path, folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Seconds of adding to the large gallery and to an empty one, with names in order and with random names."""
    found = {}
    for kind, make_items in (("names in order", _items), ("random names", _randomly_named_items)):
        measured: dict[str, list[float]] = {"large": [], "empty": []}
        for number in range(ROUNDS + 1):
            items = list(make_items(f"2026-11-24-{number}", 0, ADDED))
            vectors = _vectors(bundle, ADDED, number)
            with Gallery.open(large, "w") as gallery:
                measured["large"].append(seconds(lambda: gallery.add(items, vectors)))  # noqa: B023 - called at once
                gallery.remove(item.uri for item in items)
            with Gallery.create(folder / f"{kind}-{number}.sal", bundle) as gallery:
                measured["empty"].append(seconds(lambda: gallery.add(items, vectors)))  # noqa: B023 - called at once
        found[kind] = {name: summary(values[1:]) for name, values in measured.items()}
        found[kind]["large_to_empty"] = ratio(measured["large"][1:], measured["empty"][1:])
    return found


def _randomly_named_items(day: str, start: int, count: int) -> Iterator[GalleryItem]:
    for item in _items(day, start, count):
        yield replace(item, uri=f"{uuid5(NAMESPACE_URL, item.uri)}.jpg")


def _items(day: str, start: int, count: int) -> Iterator[GalleryItem]:
    for number in range(start, start + count):
        camera = f"cam{number % CAMERAS:02}"
        uri = f"{camera}/{day}/{number:08}.jpg"
        yield GalleryItem(uri, f"{number:064x}", 3000, 10**18 + number, camera, 1.7e9 + number)


def _vectors(bundle: Bundle, count: int, seed: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((count, bundle.embedding_dim), dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


if __name__ == "__main__":
    main()
