"""How fast bundles encode images on a CPU, in one run: images a second on all cores, and the time of one image.

    python -m benchmarks.speed.bundle_speed BUNDLE BUNDLE ...

Every image encoder takes turns with the others. Batches are in memory and encoded as the pipeline does it, one on each
core. `to_first` compares an encoder with that of the first bundle in the same precision.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.speed.measurement import in_turn, ratio, seconds, summary, write_result
from sal_cli.bench.drawn import draw_crops
from sal_runtime.arrays import Precision, UInt8Array
from sal_runtime.bundle.bundle import IMAGE_ROLE, Bundle, open_bundle
from sal_runtime.encoding.encoders import ImageEncoder, bulk_image_encoder, num_encoders
from sal_runtime.images.sources import read_source

IMAGES = 256
SINGLE = 16
"""Single images in a turn."""
ROUNDS = 9


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "bundles", type=Path, nargs="+", help="folders of bundles; the others are compared to the first"
    )
    opened = [(str(path), open_bundle(path)) for path in parser.parse_args().bundles]
    sources = draw_crops(IMAGES)
    encoders = {
        (path, artefact.precision): bulk_image_encoder(bundle, precision=artefact.precision)
        for path, bundle in opened
        for artefact in bundle.artefacts
        if artefact.role == IMAGE_ROLE and "cpu" in artefact.devices
    }
    pixels = {path: np.stack([read_source(source, bundle.image_spec) for source in sources]) for path, bundle in opened}
    tasks = {}
    for (path, precision), encoder in encoders.items():
        tasks[f"{path} {precision} all"] = _all_cores(encoder, pixels[path])
        tasks[f"{path} {precision} one"] = _one_by_one(encoder, pixels[path][:SINGLE])
    times = in_turn(tasks, ROUNDS)
    rows = []
    for path, precision in encoders:
        first = opened[0][0] if (opened[0][0], precision) in encoders else path
        all_cores, all_first = times[f"{path} {precision} all"], times[f"{first} {precision} all"]
        rows.append(
            _identity(path, dict(opened)[path], precision)
            | {
                "images_per_second": summary([IMAGES / value for value in all_cores]),
                "latency_ms": summary([1e3 * value / SINGLE for value in times[f"{path} {precision} one"]]),
                "compared_to": first,
                "to_first": ratio(all_first, all_cores),
            }
        )
    write_result("bundle_speed", {"images": IMAGES, "cores": num_encoders(), "rows": rows})


def _identity(path: str, bundle: Bundle, precision: Precision) -> dict[str, object]:
    artefact = bundle.artefact(IMAGE_ROLE, device="cpu", precision=precision)
    return {
        "bundle": path,
        "name": bundle.name,
        "fingerprint": bundle.fingerprint,
        "precision": precision,
        "height": bundle.image_spec.height,
        "width": bundle.image_spec.width,
        "megabytes": round(len(bundle.read_bytes(artefact.file)) / 1e6, 2),
    }


def _all_cores(encoder: ImageEncoder, pixels: UInt8Array) -> Callable[[], float]:
    """A function that measures the seconds for all images, a batch on each core."""
    batches = [pixels[start : start + encoder.batch_size] for start in range(0, len(pixels), encoder.batch_size)]

    def run() -> None:
        with ThreadPoolExecutor(num_encoders()) as pool:
            deque(pool.map(encoder.encode, batches), maxlen=0)

    return lambda: seconds(run)


def _one_by_one(encoder: ImageEncoder, pixels: UInt8Array) -> Callable[[], float]:
    """A function that measures the seconds for some single images on one core."""
    return lambda: seconds(lambda: [encoder.encode(pixels[place : place + 1]) for place in range(len(pixels))])


if __name__ == "__main__":
    main()
