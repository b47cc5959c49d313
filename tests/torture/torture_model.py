"""What a gallery under torture should hold: the operations on it, their effect on a dict, and what must be gone.

Vectors and texts carry marks, so that one pass over the bytes of a file finds every one that is left in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from sal_runtime.arrays import Float32Array
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem, ItemFilter
from sal_runtime.gallery.reindex import reindex
from sal_runtime.gallery.update import load_item
from sal_runtime.images.spec import ImageSpec
from sal_runtime.ranking.codes import encode
from tests.runtime.filter_oracle import matches

POOL = 1500
"""Images that come and go; more than a block of the gallery file has slots."""
CAMERAS = 5
GROUP = 8
DIM = 4 * GROUP
IMAGE = ImageSpec(4, 4)
MARK = np.array([0.0987654, 0.1234567], np.float32)
"""The first two of every eight numbers of a vector."""
LARGEST = np.float32(0.625)
"""The third number of a vector, and the largest, so that the codes of the marks are always the same."""
CODED_MARK = encode(np.array([[*MARK, LARGEST]]))[0, :2].tobytes()
NEEDLE = re.compile(
    re.escape(MARK.tobytes())
    + rb"([\x00-\xff]{24})|(?:"
    + re.escape(CODED_MARK)
    + rb"[\x00-\xff]{6}){2}|(?:track|note|photo)-[0-9a-z]{12}",
    re.DOTALL,
)


@dataclass(frozen=True)
class Entry:
    """An item as it should be in the gallery."""

    item: GalleryItem
    vector: bytes

    @cached_property
    def needles(self) -> frozenset[bytes]:
        """What is found in a file that holds it."""
        coded = encode(np.frombuffer(self.vector, np.float32)[None]).tobytes()
        parts = (self.vector, coded, repr(self.item).encode())
        return frozenset(match[0] for part in parts for match in NEEDLE.finditer(part))


@dataclass(frozen=True)
class Operation:
    """A change of the gallery: `add` (or replace), `update`, `remove`, `remove_where`, `purge` or `reindex`."""

    kind: str
    items: tuple[GalleryItem, ...] = ()
    vectors: Float32Array | None = None
    uris: tuple[str, ...] = ()
    where: ItemFilter | None = None
    before: float = 0.0
    fingerprint: str = ""


Model = Mapping[str, Entry]


class Pool:
    """The images that a gallery is filled from.

    Args:
        folder: to write them into.
    """

    def __init__(self, folder: Path) -> None:
        self.uris = [str(folder / f"photo-{number:012}.png") for number in range(POOL)]
        self._pixels = np.random.default_rng(0).integers(0, 256, (POOL, 4, 4, 3), np.uint8)
        for uri, image in zip(self.uris, self._pixels, strict=True):
            cv2.imwrite(uri, image)
        self.read = {uri: load_item(Path(uri), uri, IMAGE)[0] for uri in self.uris}
        self._number = {image.tobytes(): number for number, image in enumerate(self._pixels[..., ::-1])}
        self._row = {uri: number for number, uri in enumerate(self.uris)}
        self._encoded: dict[str, Float32Array] = {}

    def encoded(self, fingerprint: str) -> Float32Array:
        """Embeddings float32 `[POOL, DIM]` of all images by one bundle."""
        if fingerprint not in self._encoded:
            self._encoded[fingerprint] = marked_vectors(np.random.default_rng(int(fingerprint, 16)), POOL)
        return self._encoded[fingerprint]

    def vector(self, uri: str, fingerprint: str) -> bytes:
        """The embedding of one image by a bundle."""
        return bytes(self.encoded(fingerprint)[self._row[uri]].tobytes())

    def encode(self, fingerprint: str, images: NDArray[np.uint8]) -> Float32Array:
        """The image encoder of a bundle: uint8 `[n, 4, 4, 3]` to float32 `[n, DIM]`."""
        return self.encoded(fingerprint)[[self._number[image.tobytes()] for image in images]]


def bundle_of(fingerprint: str) -> Any:
    """As much of a bundle as galleries ask for."""
    return SimpleNamespace(fingerprint=fingerprint, embedding_dim=DIM, name="tiny", path=Path("tiny"), image_spec=IMAGE)


def marked_vectors(random: np.random.Generator, count: int) -> Float32Array:
    """Unit vectors float32 `[count, DIM]` that are found in a file."""
    groups = random.standard_normal((count, DIM // GROUP, GROUP))
    groups[..., :2] = groups[:, 0, 2] = 0
    left = 1 - DIM // GROUP * (MARK.astype(float) ** 2).sum() - LARGEST**2
    groups *= np.sqrt(left) / np.linalg.norm(groups, axis=(1, 2))[:, None, None]
    groups[..., :2] = MARK
    groups[:, 0, 2] = LARGEST
    vectors = groups.reshape(count, DIM).astype(np.float32)
    assert (np.abs(vectors).max(axis=1, initial=LARGEST) == LARGEST).all()
    return vectors


def draw_operation(
    random: np.random.Generator, model: Model, pool: Pool, fingerprint: str, with_reindex: bool
) -> Operation:
    """Something to do with the gallery as it is."""
    shares = {
        "add": 0.4,
        "update": 0.1,
        "remove": 0.2,
        "remove_where": 0.1,
        "purge": 0.1,
        "reindex": with_reindex * 0.2,
    }
    chances = np.array(list(shares.values()))
    kind = str(random.choice(list(shares), p=chances / chances.sum()))
    if kind == "add":
        numbers = random.choice(POOL, int(random.choice([1, 20, 300])), replace=False)
        items = tuple(_draw_item(random, pool, number) for number in numbers.tolist())
        return Operation("add", items, marked_vectors(random, len(items)))
    some = tuple(sorted(model)[:: int(random.integers(1, 9))])
    if kind == "update":
        return Operation("update", tuple(replace(model[uri].item, **_details(random)) for uri in some))
    if kind == "remove":
        return Operation("remove", uris=some[: int(random.choice([1, 10, 200]))])
    if kind == "reindex":
        # mostly the one that an earlier run may have begun
        return Operation("reindex", fingerprint=str(random.choice(next_fingerprints(fingerprint), p=[0.8, 0.2])))
    camera = ItemFilter(cameras=[f"c{random.integers(CAMERAS)}"], metadata={"zone": [str(random.integers(3))]})
    return Operation(kind, where=camera, before=float(random.uniform(0, 300)))


def next_fingerprints(fingerprint: str) -> tuple[str, str]:
    """Of the bundles that a gallery may be encoded anew with."""
    number = int(fingerprint, 16)
    return f"{number + 1:064x}", f"{number + 2:064x}"


def perform(gallery: Gallery, operation: Operation, pool: Pool) -> None:
    """Do it to the gallery."""
    if operation.kind == "add":
        assert operation.vectors is not None
        gallery.add(operation.items, operation.vectors)
    elif operation.kind == "update":
        gallery.update(operation.items)
    elif operation.kind == "remove":
        gallery.remove(operation.uris)
    elif operation.kind == "remove_where":
        assert operation.where is not None
        gallery.remove_where(operation.where)
    elif operation.kind == "purge":
        gallery.purge(operation.before)
    else:
        target = operation.fingerprint
        reindex(gallery, bundle_of(target), lambda images: pool.encode(target, images), "fp32")


def applied(operation: Operation, model: Model, pool: Pool) -> dict[str, Entry]:
    """What the gallery holds afterwards."""
    after = dict(model)
    if operation.kind == "add":
        assert operation.vectors is not None
        for item, vector in zip(operation.items, operation.vectors, strict=True):
            after[item.uri] = Entry(item, vector.tobytes())
    elif operation.kind == "update":
        after |= {item.uri: replace(after[item.uri], item=item) for item in operation.items}
    elif operation.kind == "reindex":
        after = {uri: _encoded_anew(entry, operation.fingerprint, pool) for uri, entry in model.items()}
    else:
        after = {uri: entry for uri, entry in model.items() if not _is_removed(entry.item, operation)}
    return after


def tombstones_after(operation: Operation, before: Model, after: Model, tombstones: set[str]) -> set[str]:
    """The content hashes that the gallery holds back after an operation that led from one model to the other."""
    gone = {entry.item.content_hash for uri, entry in before.items() if uri not in after}
    added = {item.content_hash for item in operation.items} if operation.kind == "add" else set()
    return {content for content in tombstones | gone if content is not None} - added


def needles_of(model: Model) -> set[bytes]:
    """All that may be found of these items."""
    return set().union(*(entry.needles for entry in model.values()))


def generation_needles(uris: Iterable[str], fingerprint: str, pool: Pool) -> set[bytes]:
    """What a run of reindex that was stopped may leave of these images."""
    vectors = (pool.vector(uri, later) for uri in uris for later in next_fingerprints(fingerprint))
    joined = b"".join(vectors)
    coded = encode(np.frombuffer(joined, np.float32).reshape(-1, DIM)).tobytes()
    return {match[0] for part in (joined, coded) for match in NEEDLE.finditer(part)}


def needles_in(files: Iterable[Path]) -> set[bytes]:
    """All that is found in files."""
    return {match[0] for file in files for match in NEEDLE.finditer(file.read_bytes())}


def _draw_item(random: np.random.Generator, pool: Pool, number: int) -> GalleryItem:
    content = pool.read[pool.uris[number]].content_hash if random.random() < 0.7 else None
    return GalleryItem(pool.uris[number], content, camera=f"c{number % CAMERAS}", **_details(random))


def _details(random: np.random.Generator) -> dict[str, Any]:
    track, note = (f"{random.integers(36**9):012}" for _ in range(2))
    captured_at = None if random.random() < 0.2 else float(random.uniform(0, 1000))
    metadata = {"zone": str(random.integers(3)), "note": f"note-{note}"}
    return {"track": f"track-{track}", "captured_at": captured_at, "metadata": metadata}


def _is_removed(item: GalleryItem, operation: Operation) -> bool:
    if operation.kind == "remove":
        return item.uri in operation.uris
    if operation.kind == "remove_where":
        return operation.where is not None and matches(operation.where, item)
    return item.captured_at is not None and item.captured_at < operation.before


def _encoded_anew(entry: Entry, fingerprint: str, pool: Pool) -> Entry:
    read = pool.read[entry.item.uri]
    item = replace(entry.item, content_hash=read.content_hash, size=read.size, mtime_ns=read.mtime_ns)
    return Entry(item, pool.vector(entry.item.uri, fingerprint))
