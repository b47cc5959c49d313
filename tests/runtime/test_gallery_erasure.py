"""What is removed from a gallery is in no file any more: vectors, texts, their hashes, and keys of metadata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sal_runtime.gallery import Gallery
from scripts.torture_model import (
    Entry,
    Pool,
    applied,
    bundle_of,
    draw_operation,
    needles_in,
    needles_of,
    perform,
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
    with Gallery.create(tmp_path / "g.sal", bundle_of(fingerprint)) as gallery:
        for _ in range(150):
            operation = draw_operation(random, model, pool, fingerprint, True)
            perform(gallery, operation, pool)
            before, model = model, applied(operation, model, pool)
            fingerprint = operation.fingerprint or fingerprint
            ever |= needles_of(model)
            if before.keys() - model.keys() or operation.kind == "reindex":
                assert not needles_in(tmp_path.iterdir()) & (ever - needles_of(model))
