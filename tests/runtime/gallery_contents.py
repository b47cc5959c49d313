"""What a gallery holds, read back through its own interface."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def stored_vectors(gallery: Any) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """All ids int64 `[N]` and unit vectors float32 `[N, d]` of a gallery, in the order in which it keeps them."""
    chunks = list(gallery.chunks())
    ids = np.concatenate([np.empty(0, np.int64), *(ids for ids, _ in chunks)])
    vectors = np.concatenate([np.empty((0, gallery.embedding_dim), np.float32), *(vectors for _, vectors in chunks)])
    return ids, vectors


def uris(neighbours: Any) -> list[str]:
    """Uris of the items of a `Neighbours`, nearest first."""
    return [item.uri for item in neighbours.items]
