"""An archive of crops in parts, each encoded to one Parquet file by one process.

The content of a part depends on the archive and the bundle only, never on the number of workers. A part that exists and
was made from the same files by the same bundle is kept. Each part notes the images that could not be read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sal_runtime.arrays import Float32Array, Precision, UInt8Array, batched
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.encoding.pipeline import encode_stream
from sal_runtime.errors import InputError
from sal_runtime.files import whole_file
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.parquet import BATCH_ROWS, Batch, EmbeddingOrigin, read_notes, write_parquet
from sal_runtime.gallery.update import load_item
from sal_runtime.images.folder import Listing

PART_IMAGES = 10_000
"""Images of one part: some minutes of work, which is lost if a worker is killed."""
FAILED = "failed.jsonl"


@dataclass(frozen=True)
class Part:
    """Images that go into one file.

    Attributes:
        name: name of the file.
        root: folder that the uris are relative to.
        uris: the images.
        inputs: sha256 (hex) of what the file depends on: bundle, precision, and name, size and time of each image.
    """

    name: str
    root: str
    uris: tuple[str, ...]
    inputs: str


@dataclass(frozen=True)
class EncodingJob:
    """Settings that all workers share.

    Attributes:
        bundle_path: path of the bundle on every worker.
        fingerprint: fingerprint that the bundle must have.
        out: folder of the part files.
        device: device that encodes images.
        precision: precision of the image encoder.
        cpus: cores of each worker.
    """

    bundle_path: str
    fingerprint: str
    out: str
    device: str
    precision: Precision
    cpus: int


def plan_parts(listing: Listing, root: str, encoder: str, part_images: int = PART_IMAGES) -> list[Part]:
    """Cut an archive into parts of consecutive uris, relative to `root`; `encoder` names bundle and precision."""
    parts = []
    for number, uris in enumerate(batched(sorted(listing.files), part_images)):
        files = [(uri, listing.files[uri].size, listing.files[uri].mtime_ns) for uri in uris]
        inputs = hashlib.sha256(json.dumps([encoder, files]).encode()).hexdigest()
        parts.append(Part(f"part-{number:06}.parquet", root, tuple(uris), inputs))
    return parts


def is_complete(file: Path, inputs: str) -> bool:
    """Whether a part exists, is whole, and was made from these inputs."""
    if not file.is_file():
        return False
    try:
        return read_notes(file).get("inputs") == inputs
    except InputError:
        return False


class PartEncoder:
    """Encodes parts one after another. Ray keeps one encoder in each worker.

    Raises:
        BackendError: the device cannot be had.
        BundleError: the bundle is missing, damaged, or lacks the encoder.
        InputError: the bundle is not the one of the job.
    """

    def __init__(self, job: EncodingJob) -> None:
        bundle = open_bundle(job.bundle_path)
        if bundle.fingerprint != job.fingerprint:
            raise InputError(
                f"bundle {job.bundle_path}: is {bundle.fingerprint[:12]} on a worker, expected {job.fingerprint[:12]}; "
                "put the same bundle on every machine"
            )
        self._spec = bundle.image_spec
        self._job = job
        self._origin = EmbeddingOrigin(bundle.fingerprint, bundle.embedding_dim, job.precision, bundle.name)
        # Batches of one size, each on one core: then nothing depends on the number of workers or cores.
        self._encoder = ImageEncoder(bundle, device=job.device, precision=job.precision, threads=1)

    def encode(self, part: Part, batch_rows: int = BATCH_ROWS) -> None:
        """Write the file of a part, with row groups of about `batch_rows` items.

        Raises:
            SalError: the file cannot be written.
        """
        failed: list[tuple[str, str]] = []

        def notes() -> dict[str, str]:
            return {"inputs": part.inputs, "failed": json.dumps(failed)}

        write_parquet(Path(self._job.out) / part.name, self._batches(part, failed, batch_rows), self._origin, notes)

    def _batches(self, part: Part, failed: list[tuple[str, str]], batch_rows: int) -> Iterator[Batch]:
        """Items and embeddings in row groups; the uri and reason of each image that cannot be read goes to `failed`."""

        def load(uri: str) -> tuple[GalleryItem, UInt8Array]:
            return load_item(Path(part.root, uri), uri, self._spec)

        cpus = self._job.cpus
        items: list[GalleryItem] = []
        embeddings: list[Float32Array] = []
        for batch in encode_stream(part.uris, load, self._encoder.encode, threads=cpus, encoders=cpus):
            failed += batch.failed
            if batch.records:
                items += batch.records
                embeddings.append(batch.embeddings)
            if len(items) >= batch_rows:
                yield items, np.concatenate(embeddings)
                items, embeddings = [], []
        if items:
            yield items, np.concatenate(embeddings)


def remove_other_parts(folder: Path, names: set[str]) -> None:
    """Delete the part files with other names, which an archive that was larger left behind."""
    for file in folder.glob("part-*.parquet"):
        if file.name not in names:
            file.unlink()


def write_failures(folder: Path, unlisted: Sequence[tuple[str, str]], parts: Sequence[Part]) -> int:
    """Write which images are in no part, and why, to `failed.jsonl`; returns how many images could not be read.

    Args:
        folder: folder of the part files.
        unlisted: (path, reason) of each file that could not be listed.
        parts: all parts; each notes its images that could not be read.
    """
    noted = [failure for part in parts for failure in json.loads(read_notes(folder / part.name)["failed"])]
    failures = [{"uri": uri, "reason": reason} for uri, reason in (*unlisted, *noted)]
    with whole_file(folder / FAILED) as temporary:
        temporary.write_text("".join(f"{json.dumps(failure)}\n" for failure in failures), encoding="utf-8")
    return len(noted)
