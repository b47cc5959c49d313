"""Items, vectors and filters for tests of galleries: random ones, and hypothesis strategies with awkward texts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from sal_runtime.gallery.items import GalleryItem, ItemFilter

TEXTS = ("", "north", "North", 'a"b', "a\\b", "\\", '\\"', "'", "größe 北", "x\ny\r\t", "a][b", "%41", "{}", "\0", "🚶")
"""Whatever a filter language might stumble over."""

texts = st.sampled_from(TEXTS) | st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
seconds = st.sampled_from((-1.5, 0.0, 1e9, 1.7e9, 1.7e9 + 0.1, 1e22)) | st.floats(-1e12, 1e12)
metadata = st.dictionaries(texts, texts, max_size=3)


def item_strategy(uris: st.SearchStrategy[str]) -> st.SearchStrategy[GalleryItem]:
    corner = st.integers(-(2**31), 2**31 - 1)
    return st.builds(
        GalleryItem,
        uri=uris,
        content_hash=st.none() | st.just("ab" * 32),
        size=st.none() | st.integers(0, 2**63 - 1),
        mtime_ns=st.none() | st.integers(-(2**63), 2**63 - 1),
        camera=st.none() | texts,
        captured_at=st.none() | seconds,
        track=st.none() | texts,
        box=st.none() | st.tuples(corner, corner, corner, corner),
        metadata=metadata,
    )


@st.composite
def filters(draw: st.DrawFn) -> ItemFilter:
    """Filters that may or may not let anything through."""
    some = st.lists(texts, max_size=3)
    start, stop = draw(st.none() | seconds), draw(st.none() | seconds)
    if start is not None and stop is not None and not start < stop:
        stop = None
    on_metadata = st.dictionaries(texts, st.lists(texts, min_size=1, max_size=3), max_size=2)
    return ItemFilter(draw(some), draw(some), start, stop, draw(on_metadata), draw(on_metadata))


def fake_bundle(fingerprint: str = "f" * 64, embedding_dim: int = 8, name: str = "tiny") -> Any:
    return SimpleNamespace(fingerprint=fingerprint, embedding_dim=embedding_dim, name=name, path="tiny")


def unit_vectors(count: int, dim: int = 8, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def made_up_items(count: int, seed: int = 0) -> list[GalleryItem]:
    """Different uris; cameras, tracks, times and metadata that repeat, or are missing."""
    rng = np.random.default_rng(seed)

    def text() -> str | None:
        return None if rng.random() < 0.2 else TEXTS[rng.integers(len(TEXTS))]

    return [
        GalleryItem(
            f"camera/{number:05}.jpg",
            camera=text(),
            captured_at=None if rng.random() < 0.2 else float(rng.integers(0, 100)),
            track=text(),
            box=(number, 2, 3, 4),
            metadata={key: value for key in rng.choice(TEXTS, 2) if (value := text()) is not None},
        )
        for number in range(count)
    ]
