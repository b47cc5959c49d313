"""Any sequence of changes to a gallery gives what a dict gives: its items, its vectors, and what its filters find."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from numpy.typing import NDArray

from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.generations import reserve_ids, take_over
from sal_runtime.gallery.items import GalleryItem, ItemFilter
from tests.runtime.filter_oracle import matches
from tests.runtime.gallery.test_gallery import fake_bundle, small_blocks, unit_vectors
from tests.runtime.gallery_contents import stored_vectors, uris

Entry = tuple[GalleryItem, bytes, int]
"""An item, its vector and its id."""

items = st.builds(
    GalleryItem,
    st.integers(0, 25).map("{}.jpg".format),
    camera=st.sampled_from([None, "a", "b"]),
    captured_at=st.sampled_from([None, 10.0, 20.0, 30.0]),
    track=st.sampled_from([None, "t"]),
    metadata=st.dictionaries(st.sampled_from(["zone", "plate"]), st.sampled_from(["1", "2"]), max_size=2),
)
times = st.sampled_from([10.0, 15.0, 20.0, 30.0])
filters = st.builds(
    lambda cameras, tracks, window, *metadata: ItemFilter(cameras, tracks, *window, *metadata),
    st.sampled_from([(), ("a",), ("a", "b"), ("nobody",)]),
    st.sampled_from([(), ("t",)]),
    st.sampled_from([(None, None), (10.0, None), (None, 25.0), (15.0, 30.0)]),
    *2
    * [st.dictionaries(st.sampled_from(["zone", "plate", "never"]), st.sampled_from([("1",), ("1", "2")]), max_size=2)],
)
EVERYTHING_ASKED = [
    ItemFilter(cameras=["a"]),
    ItemFilter(tracks=["t"]),
    ItemFilter(captured_from=15.0),
    ItemFilter(metadata={"zone": ["1"]}),
    ItemFilter(without_metadata={"plate": ["2"]}),
    ItemFilter(metadata={"plate": ["2"], "zone": ["1", "2"]}),
]


class GalleryMachine(RuleBasedStateMachine):
    """A writer, and a reader that stays open all the time, beside a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        small_blocks(self.patch)
        self.folder = Path(tempfile.mkdtemp(prefix="sal-gallery-"))
        self.path = self.folder / "g.sal"
        self.expected: dict[str, Entry] = {}
        self.ids_given = 0
        self.turn = 0
        self.bundle = "0" * 64

    @initialize()
    def create(self) -> None:
        self.writer = Gallery.create(self.path, fake_bundle(self.bundle))
        self.reader = Gallery.open(self.path)

    @rule(added=st.lists(items, min_size=1, max_size=12))
    def add(self, added: list[GalleryItem]) -> None:
        vectors = self.new_vectors(len(added))
        self.writer.add(added, vectors)
        last = {item.uri: (item, vector) for item, vector in zip(added, vectors, strict=True)}
        for uri, (item, vector) in last.items():
            if uri not in self.expected:
                self.ids_given += 1
            known_id = self.expected[uri][2] if uri in self.expected else self.ids_given
            self.expected[uri] = (item, vector.tobytes(), known_id)

    @rule(changed=st.lists(items, max_size=6))
    def update(self, changed: list[GalleryItem]) -> None:
        self.writer.update(changed)
        for item in changed:
            if item.uri in self.expected:
                self.expected[item.uri] = (item, *self.expected[item.uri][1:])

    @rule(numbers=st.sets(st.integers(0, 25), max_size=12))
    def remove(self, numbers: set[int]) -> None:
        uris = {f"{number}.jpg" for number in numbers}
        self.forget(uris & self.expected.keys(), self.writer.remove(uris))

    @rule(where=filters.filter(bool))
    def remove_where(self, where: ItemFilter) -> None:
        fitting = {uri for uri, (item, _, _) in self.expected.items() if matches(where, item)}
        self.forget(fitting, self.writer.remove_where(where))

    @rule(before=times, where=st.none() | filters)
    def purge(self, before: float, where: ItemFilter | None) -> None:
        fitting = {
            uri
            for uri, (item, _, _) in self.expected.items()
            if item.captured_at is not None and item.captured_at < before and matches(where, item)
        }
        self.forget(fitting, self.writer.purge(before, where))

    @rule(another_bundle=st.booleans())
    def encode_anew(self, another_bundle: bool) -> None:
        """What `reindex` does, without the images."""
        self.bundle = f"{self.turn:064}" if another_bundle else self.bundle
        order = sorted(self.expected)
        with Gallery.create(self.folder / "next", fake_bundle(self.bundle)) as generation:
            reserve_ids(generation, self.writer)
            vectors = self.new_vectors(len(order))
            generation.add([self.expected[uri][0] for uri in order], vectors)
            ids = dict(zip(order, stored_vectors(generation)[0].tolist(), strict=True))
        take_over(self.writer, self.folder / "next", self.writer.stamp())
        self.writer.erase()
        for file in self.folder.glob("next*"):
            file.unlink()
        assert not set(ids.values()) & {item_id for _, _, item_id in self.expected.values()}
        for uri, vector in zip(order, vectors, strict=True):
            self.expected[uri] = (self.expected[uri][0], vector.tobytes(), ids[uri])
        self.ids_given += (1 << 32) + len(order)
        if another_bundle:
            self.reader.close()
            self.reader = Gallery.open(self.path)

    @rule()
    def reopen(self) -> None:
        self.writer.close()
        self.writer = Gallery.open(self.path, "w")

    @rule(k=st.integers(1, 9), where=st.none() | filters)
    def search(self, k: int, where: ItemFilter | None) -> None:
        query = self.new_vectors(1)
        for gallery in (self.reader, self.writer):
            (found,) = gallery.nearest(query, k, where)
            assert uris(found) == self.nearest_uris(query[0], k, where)
            np.testing.assert_allclose(found.scores, found.embeddings @ query[0], atol=1e-6)

    @invariant()
    def holds_what_was_added(self) -> None:
        for gallery in (self.reader, self.writer):
            ids, vectors = stored_vectors(gallery)
            found = {
                item.uri: (item, vector.tobytes(), item_id)
                for item, vector, item_id in zip(gallery.items(ids), vectors, ids.tolist(), strict=True)
            }
            assert found == self.expected
            assert len(gallery) == len(self.expected)
            for where in EVERYTHING_ASKED:
                self.check_filter(gallery, where)
        assert self.reader.verify() == []

    def check_filter(self, gallery: Gallery, where: ItemFilter) -> None:
        fitting = {item_id for item, _, item_id in self.expected.values() if matches(where, item)}
        ranked = {item.uri for item, _, item_id in self.expected.values() if item_id in fitting}
        assert set(uris(gallery.nearest(unit_vectors(1), 100, where)[0])) == ranked
        assert {item_id for ids, _ in gallery.chunks(where) for item_id in ids.tolist()} == fitting
        assert gallery.count(where) == len(fitting)

    def new_vectors(self, count: int) -> NDArray[np.float32]:
        self.turn += 1
        return unit_vectors(count, seed=self.turn)

    def nearest_uris(self, query: NDArray[np.float32], k: int, where: ItemFilter | None) -> Sequence[str]:
        scored = {
            uri: float(np.frombuffer(vector, np.float32) @ query)
            for uri, (item, vector, _) in self.expected.items()
            if matches(where, item)
        }
        return sorted(scored, key=lambda uri: -scored[uri])[:k]

    def forget(self, uris: set[str], count: int) -> None:
        assert count == len(uris)
        for uri in uris:
            del self.expected[uri]

    def teardown(self) -> None:
        self.writer.close()
        self.reader.close()
        assert [file.name for file in self.folder.iterdir()] == ["g.sal"]
        shutil.rmtree(self.folder)
        self.patch.undo()


GalleryMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestAnySequenceOfChanges = GalleryMachine.TestCase


def test_a_block_of_values_that_was_removed_is_not_remembered(tmp_path: Path) -> None:
    """Found by the above: items without a camera came where a whole block of cameras was removed."""
    vectors = unit_vectors(2048)
    with Gallery.create(tmp_path / "g.sal", fake_bundle()) as gallery:
        gallery.add([GalleryItem(f"{number}.jpg", camera="a") for number in range(2048)], vectors)
        where = ItemFilter(cameras=["a"])
        assert gallery.nearest(vectors[:1], 4096, where)[0].scores.shape == (2048,)
        gallery.remove(f"{number}.jpg" for number in range(1024, 2048))
        gallery.add([GalleryItem(f"new {number}.jpg") for number in range(1024)], vectors[1024:])
        assert gallery.nearest(vectors[:1], 4096, where)[0].scores.shape == (1024,)
