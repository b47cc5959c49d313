"""The numbers docs/scaling.md computes with: bytes of an item, items a second of Parquet, bytes a second of a search.

    python -m benchmarks.speed.scaling

Embeddings are random unit vectors of 128 numbers; the other fields are as long as those of a camera archive.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.speed.measurement import in_turn, seconds, summary, write_result
from sal_runtime.arrays import Float32Array
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.bundle.shipped import default_bundle_path
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.parquet import BATCH_ROWS, Batch, EmbeddingOrigin, read_parquet, write_parquet
from sal_runtime.ranking.exact import top_k

DIM = 128
ITEMS = 100_000
SCANNED = 1_000_000
ROUNDS = 15


def main() -> None:
    """Measure and write the result."""
    vectors = unit_vectors(SCANNED)
    items = [item(number) for number in range(ITEMS)]
    origin = EmbeddingOrigin("f" * 64, DIM, "fp32", "random")

    def batches() -> Iterator[Batch]:
        for start in range(0, ITEMS, BATCH_ROWS):
            part = items[start : start + BATCH_ROWS]
            yield part, vectors[start : start + len(part)]

    with tempfile.TemporaryDirectory() as folder:
        parquet = Path(folder, "items.parquet")
        speed = in_turn(
            {
                "write_parquet": lambda: ITEMS / seconds(lambda: write_parquet(parquet, batches(), origin)),
                "read_parquet": lambda: ITEMS / seconds(lambda: sum(len(part) for part, _ in read_parquet(parquet))),
                "scan": lambda: vectors.nbytes / seconds(lambda: top_k(vectors[:1], vectors, 10)),
            },
            ROUNDS,
        )
        sizes = {"parquet": parquet.stat().st_size / ITEMS, "gallery_file": gallery_bytes(Path(folder), items, vectors)}
    write_result(
        "scaling",
        {
            "embedding_dim": DIM,
            "items": ITEMS,
            "scanned": SCANNED,
            "rounds": ROUNDS,
            "bytes_per_item": {kind: round(size, 1) for kind, size in sizes.items()},
            "items_per_second": {kind: summary(speed[kind]) for kind in ("write_parquet", "read_parquet")},
            "scan_bytes_per_second": summary(speed["scan"]),
        },
    )


def unit_vectors(count: int) -> Float32Array:
    """Random unit vectors, float32 `[count, DIM]`."""
    vectors = np.random.default_rng(0).standard_normal((count, DIM), dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def item(number: int) -> GalleryItem:
    """An item of a site with 100 cameras that record a crop a second."""
    return GalleryItem(
        uri=f"site-04/camera-{number % 100:03}/2026-11-24/{number:012}.jpg",
        content_hash=hashlib.sha256(str(number).encode()).hexdigest(),
        size=4000 + number % 3000,
        mtime_ns=1_800_000_000_000_000_000 + number * 10**9,
        camera=f"camera-{number % 100:03}",
        captured_at=1.8e9 + number,
        track=f"{number // 20}",
        box=(number % 1800, number % 900, 64, 128),
        metadata={"zone": f"zone-{number % 7}"},
    )


def gallery_bytes(folder: Path, items: list[GalleryItem], vectors: Float32Array) -> float:
    """Bytes of a gallery file for each item."""
    path = folder / "items.sal"
    bundle = open_bundle(default_bundle_path())
    with Gallery.create(path, bundle) as gallery:
        for start in range(0, len(items), BATCH_ROWS):
            part = items[start : start + BATCH_ROWS]
            gallery.add(part, vectors[start : start + len(part)])
    return path.stat().st_size / len(items)


if __name__ == "__main__":
    main()
