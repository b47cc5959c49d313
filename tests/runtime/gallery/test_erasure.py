"""What is removed from a gallery is in no file any more: vectors, texts, their hashes, and keys of metadata."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem, ItemFilter
from sal_runtime.gallery.store.columns import text_hash
from tests.runtime.gallery.test_gallery import fake_bundle, unit_vectors
from tests.torture.torture_model import (
    Entry,
    Pool,
    applied,
    bundle_of,
    draw_operation,
    needles_in,
    needles_of,
    perform,
    tombstones_after,
)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return Pool(tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize("seed", [1, 2])
def test_nothing_of_what_random_changes_removed_is_left(seed: int, pool: Pool, tmp_path: Path) -> None:
    """SQLite moves rows between pages, and leaves copies where they were."""
    random = np.random.default_rng(seed)
    fingerprint = f"{1:064x}"
    model: dict[str, Entry] = {}
    ever: set[bytes] = set()
    tombstones: set[str] = set()
    with Gallery.create(tmp_path / "g.sal", bundle_of(fingerprint)) as gallery:
        for _ in range(150):
            operation = draw_operation(random, model, pool, fingerprint, True)
            perform(gallery, operation, pool)
            before, model = model, applied(operation, model, pool)
            fingerprint = operation.fingerprint or fingerprint
            ever |= needles_of(model)
            tombstones = tombstones_after(operation, before, model, tombstones)
            assert gallery.held_back(item.content_hash for item in pool.read.values()) == tombstones
            if before.keys() - model.keys() or operation.kind == "reindex":
                assert not needles_in(tmp_path.iterdir()) & (ever - needles_of(model))


def test_hashes_and_metadata_keys_go_with_the_last_item(tmp_path: Path) -> None:
    secrets = {"camera": "camera-x", "track": "track-x", "value": "plate-x"}
    codes = [text_hash(text).to_bytes(8, "little", signed=True) for text in secrets.values()]
    needles = [*codes, b"secret-key", *(text.encode() for text in secrets.values())]
    metadata = {"secret-key": secrets["value"]}
    with Gallery.create(tmp_path / "g.sal", fake_bundle()) as gallery:
        kept = [GalleryItem(f"{number}.jpg", camera="c", metadata={"zone": "n"}) for number in range(5)]
        gone = [
            replace(kept[0], uri=f"gone {n}.jpg", camera="camera-x", track="track-x", metadata=metadata) for n in "ab"
        ]
        gallery.add([gone[0], *kept, gone[1]], unit_vectors(7))
        gallery.erase()
        assert all(needle in (tmp_path / "g.sal").read_bytes() for needle in needles)
        gallery.remove(item.uri for item in gone)
        assert not any(needle in file.read_bytes() for file in tmp_path.iterdir() for needle in needles)
        assert gallery.nearest(unit_vectors(1), 9, ItemFilter(metadata={"zone": ["n"]}))[0].scores.shape == (5,)
        gallery.add(gone, unit_vectors(2, seed=1))
        assert gallery.nearest(unit_vectors(1), 9, ItemFilter(metadata={"secret-key": ["plate-x"]}))[
            0
        ].scores.shape == (2,)
        assert gallery.verify() == []
