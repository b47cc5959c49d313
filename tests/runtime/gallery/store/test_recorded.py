"""What a gallery says is recorded of its images, against counts of the items themselves."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem, ItemFilter
from sal_runtime.gallery.store.recorded import MOST_NAMED
from tests.runtime.gallery.test_gallery import fake_bundle, unit_vectors


def drawn_items(random: np.random.Generator, count: int) -> list[GalleryItem]:
    return [
        GalleryItem(
            f"{number}.jpg",
            camera=[None, "door", "yard", "größe"][random.integers(4)],
            track=[None, "1", "2", "3"][random.integers(4)],
            captured_at=None if random.random() < 0.3 else float(random.uniform(0, 1e9)),
            metadata={"zone": str(random.integers(3)), "frame": str(number)} if random.random() < 0.8 else {},
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("count", [1, 40, 1500])
def test_counts_are_those_of_the_items(count: int, tmp_path: Path) -> None:
    items = drawn_items(np.random.default_rng(count), count)
    with Gallery.create(tmp_path / "g.sal", fake_bundle()) as gallery:
        gallery.add(items, unit_vectors(count))
        gallery.remove(item.uri for item in items[: count // 3])
        left = items[count // 3 :]
        recorded = gallery.recorded()
    assert recorded.cameras.counts == Counter(item.camera for item in left if item.camera)
    assert list(recorded.cameras.counts.values()) == sorted(recorded.cameras.counts.values(), reverse=True)
    assert recorded.tracks == len({(item.camera, item.track) for item in left if item.track})
    times = [item.captured_at for item in left if item.captured_at is not None]
    assert recorded.captured == ((min(times), max(times)) if times else None)
    for key in {key for item in left for key in item.metadata}:
        expected = Counter(item.metadata[key] for item in left if key in item.metadata)
        found = recorded.metadata[key]
        assert found.distinct == len(expected)
        assert found.counts.items() <= expected.items()
        assert len(found.counts) == min(MOST_NAMED, len(expected))


def test_an_empty_gallery_records_nothing(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g.sal", fake_bundle()) as gallery:
        recorded = gallery.recorded()
        assert gallery.unknown_values(ItemFilter(cameras=["door"])) == ["no camera 'door'; no image has one"]
    assert (recorded.cameras.distinct, recorded.tracks, recorded.captured, recorded.metadata) == (0, 0, None, {})


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (ItemFilter(), []),
        (ItemFilter(cameras=["door", "yard"], tracks=["7"], metadata={"zone": ["n"]}), []),
        (ItemFilter(cameras=["door", "dor"]), ["no camera 'dor'; there are: door, yard"]),
        (ItemFilter(cameras=["Door", "dor"]), ["no camera 'Door', 'dor'; there are: door, yard"]),
        (ItemFilter(tracks=["8"]), ["no track '8'; there are: 7"]),
        (ItemFilter(metadata={"zon": ["n"]}), ["no metadata 'zon'; there are: zone"]),
        (ItemFilter(metadata={"zone": ["x", "n"]}), ["no zone 'x'; there are: n"]),
        (ItemFilter(without_metadata={"zon": ["n"]}), ["no metadata 'zon'; there are: zone"]),
        (ItemFilter(metadata={"zone": ["n"]}, without_metadata={"zone": ["x"]}), ["no zone 'x'; there are: n"]),
    ],
)
def test_what_no_item_has_is_named_with_what_there_is(where: ItemFilter, expected: list[str], tmp_path: Path) -> None:
    items = [GalleryItem("a", camera="door", track="7", metadata={"zone": "n"}), GalleryItem("b", camera="yard")]
    with Gallery.create(tmp_path / "g.sal", fake_bundle()) as gallery:
        gallery.add(items, unit_vectors(2))
        assert gallery.unknown_values(where) == expected


def test_of_many_values_only_some_are_named(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g.sal", fake_bundle()) as gallery:
        gallery.add([GalleryItem(f"{n}", camera=f"c{n:03}") for n in range(50)], unit_vectors(50))
        (line,) = gallery.unknown_values(ItemFilter(cameras=["d"]))
    assert line.startswith("no camera 'd'; there are: c0")
    assert line.endswith(" and 30 more")
