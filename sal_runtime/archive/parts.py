"""An archive of crops in parts, each encoded to one Parquet file by one process.

What a part holds depends on the archive only, never on the number of workers or on who encodes it. A part that is there
and was made of the same files by the same bundle need not be made again. What could not be read is noted in the part.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sal_runtime.arrays import Precision
from sal_runtime.bundle.bundle import open_bundle
from sal_runtime.encoding.encoders import ImageEncoder
from sal_runtime.encoding.pipeline import encode_stream, num_encoders
from sal_runtime.errors import InputError
from sal_runtime.files import sync_directory, write_synced
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.parquet import BATCH_ROWS, Batch, Stamp, read_notes, write_parquet
from sal_runtime.gallery.update import load_item
from sal_runtime.images.folder import Listing

PART_IMAGES = 10_000
"""Images of one part: some minutes of one worker, and what is lost where one is killed."""
FAILED = "failed.jsonl"


@dataclass(frozen=True)
class Part:
    """Images that go into one file.

    Attributes:
        name: of the file.
        root: folder that the uris are relative to.
        uris: of the images.
        inputs: sha256 (hex) over what the file depends on: bundle, precision, and name, size and time of every image.
    """

    name: str
    root: str
    uris: tuple[str, ...]
    inputs: str


@dataclass(frozen=True)
class EncodingJob:
    """What all workers have to know.

    Attributes:
        bundle_path: of the bundle.
        fingerprint: that it must have.
        out: folder of the part files.
        device: where images are encoded.
        precision: of the image encoder.
        cpus: cores of each worker.
    """

    bundle_path: str
    fingerprint: str
    out: str
    device: str
    precision: Precision
    cpus: int


def plan_parts(listing: Listing, root: str, made_by: str) -> list[Part]:
    """Cut an archive up, `PART_IMAGES` images in the order of their uris to a part.

    Args:
        listing: of the archive.
        root: folder that the uris are relative to.
        made_by: says what encodes them.
    """
    uris = sorted(listing.files)
    parts = []
    for number, start in enumerate(range(0, len(uris), PART_IMAGES)):
        some = tuple(uris[start : start + PART_IMAGES])
        files = [(uri, listing.files[uri].size, listing.files[uri].mtime_ns) for uri in some]
        inputs = hashlib.sha256(json.dumps([made_by, files]).encode()).hexdigest()
        parts.append(Part(f"part-{number:06}.parquet", root, some, inputs))
    return parts


def is_complete(file: Path, inputs: str) -> bool:
    """Whether a part is there, whole, and made of these inputs."""
    if not file.is_file():
        return False
    try:
        return read_notes(file).get("inputs") == inputs
    except InputError:
        return False  # it is made again


class PartEncoder:
    """Encodes parts, one after another; Ray keeps one in each worker."""

    def __init__(self, job: EncodingJob) -> None:
        bundle = open_bundle(job.bundle_path)
        if bundle.fingerprint != job.fingerprint:
            raise InputError(
                f"bundle {job.bundle_path}: is {bundle.fingerprint[:12]} on a worker, expected {job.fingerprint[:12]}; "
                "put the same bundle on every machine"
            )
        self._spec = bundle.image_spec
        self._job = job
        self._stamp = Stamp(bundle.fingerprint, bundle.embedding_dim, job.precision, bundle.name)
        # Runs of one size, and cores that are this worker's only: then nothing depends on how many workers there are.
        threads = max(1, job.cpus // num_encoders())
        self._encoder = ImageEncoder(bundle, device=job.device, precision=job.precision, threads=threads)
        self._turn = threading.BoundedSemaphore(job.cpus)

    def encode(self, part: Part) -> None:
        """Write the file of a part."""
        failed: list[tuple[str, str]] = []
        notes = lambda: {"inputs": part.inputs, "failed": json.dumps(failed)}  # noqa: E731
        write_parquet(Path(self._job.out) / part.name, self._batches(part, failed), self._stamp, notes)

    def _batches(self, part: Part, failed: list[tuple[str, str]]) -> Iterator[Batch]:
        """Items and embeddings, as many as make a row group; what cannot be read goes to `failed`."""

        def load(uri: str) -> tuple[GalleryItem, NDArray[np.uint8]]:
            return load_item(Path(part.root, uri), uri, self._spec)

        items: list[GalleryItem] = []
        embeddings: list[NDArray[np.float32]] = []
        for batch in encode_stream(part.uris, load, self._encode, threads=max(1, self._job.cpus // 2)):
            failed += batch.failed
            if batch.records:
                items += batch.records
                embeddings.append(batch.embeddings)
            if len(items) >= BATCH_ROWS:
                yield items, np.concatenate(embeddings)
                items, embeddings = [], []
        if items:
            yield items, np.concatenate(embeddings)

    def _encode(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self._turn:
            return self._encoder.encode(images)


def remove_other_parts(folder: Path, names: set[str]) -> None:
    """What an archive that was larger left behind."""
    for file in folder.glob("part-*.parquet"):
        if file.name not in names:
            file.unlink()


def write_failures(folder: Path, unlisted: Sequence[tuple[str, str]], parts: Sequence[Part]) -> int:
    """Write what is in no part, and why, to `failed.jsonl`.

    Args:
        folder: of the part files.
        unlisted: (path, reason) of what could not be looked at.
        parts: that are there; what could not be read is noted in them.

    Returns:
        How many images could not be read.
    """
    noted = [failure for part in parts for failure in json.loads(read_notes(folder / part.name)["failed"])]
    failures = [{"uri": uri, "reason": reason} for uri, reason in (*unlisted, *noted)]
    temporary = folder / f".{FAILED}.{os.getpid()}.tmp"
    write_synced(temporary, "".join(f"{json.dumps(failure)}\n" for failure in failures).encode())
    temporary.replace(folder / FAILED)
    sync_directory(folder)
    return len(noted)
