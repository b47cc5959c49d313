"""Time from the arrival of a crop of live video to its embedding in a gallery, with the shipped bundle on the CPU.

    python -m benchmarks.speed.live_latency

The pictures of demo/gallery arrive at a steady rate, whatever the encoder does: 5 a second, so that each waits alone,
and half as many as the encoder encodes at that moment, a busy yard. Limit: 99 of 100 are embedded, and can be found,
within 100 ms.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import numpy as np

from benchmarks.speed.measurement import seconds, write_result
from sal_runtime.arrays import Float32Array, UInt8Array
from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.bundle.shipped import default_bundle_path
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.live import LiveEncoder
from sal_runtime.images.pixels import decode_image, resize_image

REPOSITORY = Path(__file__).parents[2]
SECONDS = 20
ALONE = 5
LIMIT_MS = 100


def main() -> None:
    """Measure and write the result."""
    pictures = [decode_image(path.read_bytes()) for path in sorted((REPOSITORY / "demo" / "gallery").glob("*.jpg"))]
    bundle = open_bundle(default_bundle_path())
    encoder = ImageEncoder(bundle)
    with LiveEncoder(encoder) as live:
        live.submit(pictures[0]).result()  # the first run allocates memory
    rows = []
    for stored in (False, True):
        for share in (None, 0.5):
            rate = ALONE if share is None else int(share * _capacity(encoder, pictures))
            latency = _measure(bundle, encoder, pictures, rate, stored)
            rows.append({"per_second": rate, "share": share, "into": "a gallery" if stored else "nothing", **latency})
    result = {"bundle": f"{bundle.name} ({bundle.fingerprint[:12]})", "max_delay_ms": 20, "limit_ms": LIMIT_MS}
    write_result("live_latency", {**result, "seconds": SECONDS, "rows": rows})


def _capacity(encoder: ImageEncoder, pictures: Sequence[UInt8Array]) -> float:
    """Crops that the encoder encodes in a second, in full batches."""
    images = np.stack([resize_image(picture, encoder.bundle.image_spec) for picture in pictures])
    return len(images) / seconds(lambda: encoder.encode(images))


def _measure(
    bundle: Bundle, encoder: ImageEncoder, pictures: Sequence[UInt8Array], rate: int, stored: bool
) -> dict[str, float]:
    """Percentiles of the latency in ms of crops that arrive at a rate per second."""
    latencies: list[float] = []

    def submit(live: LiveEncoder, number: int, due: float) -> None:
        def note(answer: Future[Float32Array]) -> None:
            answer.result()
            latencies.append((time.perf_counter() - due) * 1000)

        item = GalleryItem(f"{number}.jpg", camera="yard", captured_at=time.time(), track=str(number // 9))
        live.submit(pictures[number % len(pictures)], item if stored else None).add_done_callback(note)

    with (
        tempfile.TemporaryDirectory() as folder,
        Gallery.create(Path(folder, "live.sal"), bundle) as gallery,
        LiveEncoder(encoder, gallery if stored else None) as live,
    ):
        started = time.perf_counter()
        for number in range(SECONDS * rate):
            due = started + number / rate  # a crop that is handed over late has arrived before
            time.sleep(max(0.0, due - time.perf_counter()))
            submit(live, number, due)
    percentiles = np.percentile(latencies, [50, 95, 99, 100], method="inverted_cdf").round(1).tolist()
    found = dict(zip(("p50_ms", "p95_ms", "p99_ms", "max_ms"), percentiles, strict=True))
    within = float(np.mean(np.array(latencies) <= LIMIT_MS).round(4))
    return {"crops": len(latencies), **found, "within_limit": within}


if __name__ == "__main__":
    main()
