"""Watches on a gallery of the tiny bundle, whose likelihoods are spread over 0..1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.bundle.calibration import Calibration
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.matching.person_search import PersonSearch
from sal_service.video.intake import KeptCrop
from sal_service.watches.board import WatchBoard
from sal_service.watches.store import WatchStore
from sal_service.watches.watch import Message, Watch, new_id
from tests.runtime.made_up_items import unit_vectors
from tests.runtime.tiny_bundle import DIM, SCHEMA, make_tiny_bundle

NOON = 1_764_331_200.0
LONG = 60.0
DAY = 86400.0
SECRET = b"a secret of thirty-two bytes or more"


def calibrated_bundle(folder: Path, seed: int = 0) -> Bundle:
    """The tiny bundle with a calibration; another `seed` gives another fingerprint."""
    bundle = open_bundle(make_tiny_bundle(folder, f"tiny{seed}", seed))
    ones = np.ones(SCHEMA.num_bits, np.float32)
    return replace(bundle, calibration=Calibration(ones, 0 * ones, 0.6, 1.0, 0.4, -0.1, 0.1, 0.0))


def watch_for(description: str = "hat", min_likelihood: float = 0.5, **changes: Any) -> Watch:
    watch = Watch(
        id=new_id(),
        name="somebody",
        gallery="yard",
        description=description,
        cameras=(),
        min_likelihood=min_likelihood,
        once_per_track=True,
        reason="case 17",
        expires_at=NOON + 10 * DAY,
        deliver=(),
        created_by="anna",
        created_at=NOON - 1,
    )
    return replace(watch, **changes)


def likelihoods(bundle: Bundle, description: str, vectors: NDArray[np.float32], folder: Path) -> NDArray[np.float64]:
    """What a search tells of each of some vectors; independent of watches."""
    with Gallery.create(folder / f"{new_id()}.sal", bundle) as gallery:
        gallery.add([GalleryItem(str(row)) for row in range(len(vectors))], vectors)
        hits = PersonSearch(bundle, gallery).ask(description, len(vectors)).hits
    told = np.zeros(len(vectors))
    for hit in hits:
        told[int(hit.uri)] = hit.likelihood
    return told


def keep(gallery: Gallery, number: int, vector: NDArray[np.float32], **known: Any) -> KeptCrop:
    """Add an image of the camera at the door, which was captured `number` seconds after noon."""
    known = {"camera": "door", "track": "1", "captured_at": NOON + number, "content_hash": f"{number:064}"} | known
    item = GalleryItem(f"crop:door/{number}.jpg", **known)
    gallery.add([item], vector[None])
    return KeptCrop(item, vector)


class Yard:
    """A gallery with a board, a clock that stands still, and a list of what was told.

    Attributes:
        good: vectors that fit `hat` with more than 0.6, better and better.
        bad: vectors that do not.
    """

    def __init__(self, folder: Path, bundle: Bundle, **settings: Any) -> None:
        self.folder, self.bundle, self.now = folder, bundle, NOON
        path = folder / "yard.sal"
        self.gallery = Gallery.open(path, "w") if path.exists() else Gallery.create(path, bundle)
        self.store = WatchStore(folder / "watches.db")
        self.told: list[Message] = []
        self.settings = settings
        vectors = unit_vectors(300, DIM, seed=5)
        told = likelihoods(bundle, "hat", vectors, folder)
        order = np.argsort(told)
        self.bad = vectors[order][told[order] < 0.3]
        self.good = vectors[order][told[order] > 0.6]
        assert min(len(self.good), len(self.bad)) > 20
        self.begin()

    def begin(self) -> None:
        """Make the board, as when the service starts."""
        self.board = WatchBoard(self.store, self.told.append, clock=lambda: self.now, **self.settings)
        self.board.register_gallery("yard", self.bundle, self.gallery)

    def add(self, number: int, vector: NDArray[np.float32], **known: Any) -> KeptCrop:
        """Keep an image without evaluating it."""
        return keep(self.gallery, number, vector, **known)

    def see(self, number: int, vector: NDArray[np.float32], **known: Any) -> None:
        """Keep an image, and evaluate it."""
        self.board.see("yard", self.add(number, vector, **known))

    def kinds(self) -> Sequence[str]:
        return [message.type for message in self.told]

    def close(self) -> None:
        self.gallery.close()
        self.store.close()
