"""Galleries in Milvus, in its embedded edition: what they give is what a brute-force search in memory gives."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sal_runtime.errors import BackendError, InputError, SalError
from sal_runtime.gallery.items import GalleryItem, ItemFilter
from sal_runtime.gallery.milvus import collection as milvus_collection
from sal_runtime.gallery.milvus import gallery as milvus_gallery
from sal_runtime.gallery.milvus.collection import item_id, without_credentials
from sal_runtime.gallery.milvus.expression import filter_expression, restore_metadata, store_metadata
from sal_runtime.gallery.milvus.gallery import MilvusGallery
from sal_runtime.gallery.protocol import SearchableGallery, check_bundle
from tests.runtime.filter_oracle import matches
from tests.runtime.lesser_product import lesser_of_two
from tests.runtime.made_up_items import (
    fake_bundle,
    filters,
    item_strategy,
    made_up_items,
    metadata,
    texts,
    unit_vectors,
)
from tests.runtime.memory_gallery import MemoryGallery, contents

COUNT = 300


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("milvus") / "galleries.db"


@pytest.fixture(scope="module")
def shared(address: Path) -> Iterator[MilvusGallery]:
    """For tests that begin with `emptied`: making a collection takes seconds."""
    with MilvusGallery.create(address, "shared", fake_bundle()) as created:
        yield created


def emptied(shared: MilvusGallery) -> MilvusGallery:
    shared.remove(list(contents(shared)))
    assert len(shared) == 0
    return shared


@pytest.fixture
def gallery(shared: MilvusGallery) -> MilvusGallery:
    """An empty one."""
    return emptied(shared)


@pytest.fixture(scope="module")
def filled(address: Path) -> Iterator[tuple[MilvusGallery, MemoryGallery]]:
    """The same items in both; not to be changed."""
    memory = MemoryGallery("f" * 64, 8)
    memory.add(made_up_items(COUNT), unit_vectors(COUNT))
    with MilvusGallery.create(address, "filled", fake_bundle()) as created:
        created.add(made_up_items(COUNT), unit_vectors(COUNT))
        yield created, memory


def test_it_is_a_searchable_gallery(gallery: MilvusGallery) -> None:
    found: SearchableGallery = gallery  # mypy compares the signatures
    assert found.title == f"{gallery.title}"
    assert (found.fingerprint, found.embedding_dim, found.precision) == ("f" * 64, 8, "fp32")
    assert len(found) == 0
    assert [neighbours.embeddings.shape for neighbours in found.nearest(unit_vectors(2), 5)] == [(0, 8), (0, 8)]
    assert list(found.chunks()) == []
    assert found.image_path(GalleryItem("a/b.jpg")) == Path("a/b.jpg")


def test_items_come_back_as_they_were_added(address: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milvus_gallery, "CHUNK_ROWS", 7)
    monkeypatch.setattr(milvus_gallery, "ROWS_PER_CALL", 11)
    items = [*made_up_items(50), GalleryItem("größe ä.jpg", "ab" * 32, 2**62, -(2**62), "c", 1.5e9, "t", (1, 2, 3, 4))]
    vectors = unit_vectors(51)
    with MilvusGallery.create(address, "kept", fake_bundle(), precision="int8") as created:
        created.add(items, vectors)
    with MilvusGallery.open(address, "kept") as opened:
        assert opened.precision == "int8"
        assert opened.bundle_name == "tiny"
        assert len(opened) == 51
        assert contents(opened) == {
            item.uri: (item, vector.tobytes()) for item, vector in zip(items, vectors, strict=True)
        }
        sizes = [len(ids) for ids, _ in opened.chunks()]
        assert sizes == [7] * 7 + [2]
        ids = np.concatenate([ids for ids, _ in opened.chunks()])[::-1]
        assert [item_id(item.uri) for item in opened.items(ids)] == ids.tolist()
        with pytest.raises(InputError, match="removed meanwhile"):
            opened.items([5])


@settings(max_examples=25, deadline=None)
@given(where=filters() | st.none(), k=st.integers(1, COUNT + 5), seed=st.integers(0, 1000))
def test_search_is_that_of_one_machine(
    filled: tuple[MilvusGallery, MemoryGallery], where: ItemFilter | None, k: int, seed: int
) -> None:
    milvus, memory = filled
    queries = unit_vectors(3, seed=seed)
    rules = [lesser_of_two(*unit_vectors(2, seed=seed), "first")]
    for found, expected in zip(milvus.nearest(rules, k, where), memory.nearest(rules, k, where), strict=True):
        np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-6)
    for found, expected in zip(milvus.nearest(queries, k, where), memory.nearest(queries, k, where), strict=True):
        assert found.items == expected.items
        assert found.scores.dtype == found.embeddings.dtype == np.float32
        np.testing.assert_allclose(found.scores, expected.scores, rtol=0, atol=1e-6)
        np.testing.assert_array_equal(found.embeddings, expected.embeddings)


@settings(max_examples=150, deadline=None)
@given(where=filters())
def test_filters_let_through_what_they_match(filled: tuple[MilvusGallery, MemoryGallery], where: ItemFilter) -> None:
    milvus, memory = filled
    found = {int(number) for ids, _ in milvus.chunks(where) for number in ids}
    matching = {item_id(item.uri) for ids, _ in memory.chunks() for item in memory.items(ids) if matches(where, item)}
    assert found == matching
    assert milvus.count(where) == len(matching)


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_filters_on_any_texts(shared: MilvusGallery, data: st.DataObject) -> None:
    items = data.draw(st.lists(item_strategy(st.text("ab", min_size=1, max_size=3)), min_size=1, max_size=8))
    values = [item.camera for item in items if item.camera is not None]
    pairs = [pair for item in items for pair in item.metadata.items()]
    where = data.draw(filters())
    camera_is_there, metadata_is_there = data.draw(st.tuples(st.booleans(), st.booleans()))
    if camera_is_there and values:
        where = replace(where, cameras=(data.draw(st.sampled_from(values)),))
    if metadata_is_there and pairs:
        key, value = data.draw(st.sampled_from(pairs))
        side = data.draw(st.sampled_from(["metadata", "without_metadata"]))
        where = replace(where, **{side: {key: (value, "other")}})
    latest = {item.uri: item for item in items}
    gallery = emptied(shared)
    gallery.add(items, unit_vectors(len(items)))
    assert {uri: item for uri, (item, _) in contents(gallery).items()} == latest
    found = {item.uri for ids, _ in gallery.chunks(where) for item in gallery.items(ids)}
    assert found == {uri for uri, item in latest.items() if matches(where, item)}


Step = tuple[str, list[int], ItemFilter]
steps = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "remove_where"]), st.lists(st.integers(0, 9), max_size=6), filters()),
    max_size=6,
)


@settings(max_examples=15, deadline=None)
@given(steps=steps)
def test_any_sequence_of_changes_gives_what_memory_gives(shared: MilvusGallery, steps: list[Step]) -> None:
    memory = MemoryGallery("f" * 64, 8)
    gallery = emptied(shared)
    for turn, (action, numbers, where) in enumerate(steps):
        items = [made_up_items(10, seed=turn)[number] for number in numbers]
        uris = [item.uri for item in items]
        if action == "add":
            for target in (gallery, memory):
                target.add(items, unit_vectors(len(items), seed=turn))
        elif action == "remove":
            assert gallery.remove(uris) == memory.remove(uris)
        elif where:
            assert gallery.remove_where(where) == memory.remove_where(where)
        assert contents(gallery) == contents(memory)
        assert len(gallery) == len(memory)


def test_removal_asks_for_a_condition(gallery: MilvusGallery) -> None:
    with pytest.raises(InputError, match="without a condition"):
        gallery.remove_where(ItemFilter())


def test_removing_in_several_calls(gallery: MilvusGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(milvus_gallery, "ROWS_PER_CALL", 7)
    items = [GalleryItem(f"{number}.jpg", camera=f"c{number % 2}") for number in range(40)]
    gallery.add(items, unit_vectors(40))
    assert gallery.remove_where(ItemFilter(cameras=["c0"])) == 20
    assert gallery.remove(item.uri for item in items) == 20
    assert len(gallery) == 0


def test_uris_with_the_same_hash_are_refused(gallery: MilvusGallery, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (milvus_collection, milvus_gallery):
        monkeypatch.setattr(module, "item_id", lambda uri: len(uri))
    gallery.add([GalleryItem("a.jpg")], unit_vectors(1))
    with pytest.raises(InputError, match=r"the uris a\.jpg and b\.jpg have the same hash"):
        gallery.add([GalleryItem("b.jpg")], unit_vectors(1))
    with pytest.raises(InputError, match="same hash"):
        gallery.add([GalleryItem("xx.jpg"), GalleryItem("yy.jpg")], unit_vectors(2))
    assert gallery.remove(["b.jpg"]) == 0
    assert gallery.remove(["a.jpg"]) == 1
    assert len(gallery) == 0


@settings(max_examples=200, deadline=None)
@given(metadata=metadata, other=texts)
def test_metadata_keys_are_stored_in_letters_that_milvus_can_address(metadata: dict[str, str], other: str) -> None:
    stored = store_metadata(metadata)
    assert restore_metadata(stored) == metadata
    assert len(stored) == len(metadata)
    assert all(key.isascii() and key and not set(key) & set("\"'\\[]") for key in stored)


def test_expressions_are_those_of_the_documentation() -> None:
    where = ItemFilter(['a"b\\', "ü\n"], ["t"], 1.5, 1e22, {"zone": ["n", "s"], "a b": ["x"]}, {"c d": ["y", "z"]})
    assert filter_expression(where) == (
        r'camera in ["a\"b\\", "ü\n"] and track in ["t"] and captured_at >= 1.5 and captured_at < 1e+22 and '
        r'(metadata["zone"] == "n" or metadata["zone"] == "s") and (metadata["a%20b"] == "x") and '
        r'(not exists metadata["c%20d"] or (metadata["c%20d"] != "y" and metadata["c%20d"] != "z"))'
    )
    with pytest.raises(InputError, match="got inf as a bound"):
        filter_expression(ItemFilter(captured_until=float("inf")))


def test_what_does_not_fit_is_refused(gallery: MilvusGallery) -> None:
    with pytest.raises(InputError, match="expected \\(1, 8\\)"):
        gallery.add([GalleryItem("a")], unit_vectors(1, dim=4))
    with pytest.raises(InputError, match="expected 1"):
        gallery.add([GalleryItem("a")], 2 * unit_vectors(1))
    with pytest.raises(InputError, match="valid Unicode"):
        gallery.add([GalleryItem("a\udc80")], unit_vectors(1))
    with pytest.raises(InputError, match=r"got queries \(1, 4\)"):
        gallery.nearest(unit_vectors(1, dim=4), 1)
    for k in (0, 16_385):
        with pytest.raises(InputError, match=f"got k = {k}, expected 1 to 16,384"):
            gallery.nearest(unit_vectors(1), k)
    with pytest.raises(SalError, match="Milvus failed") as caught:
        gallery.add([GalleryItem("x" * 70_000)], unit_vectors(1))
    assert "\n" not in str(caught.value)
    assert len(gallery) == 0


def test_another_bundle_is_refused(gallery: MilvusGallery) -> None:
    check_bundle(gallery, fake_bundle())
    with pytest.raises(
        InputError, match=r"was made by bundle tiny \(ffffffffffff\), got bundle other \(eeeeeeeeeeee\)"
    ):
        check_bundle(gallery, fake_bundle("e" * 64, name="other"))


def test_only_galleries_of_this_version_are_opened(address: Path) -> None:
    MilvusGallery.create(address, "altered", fake_bundle()).close()
    with pytest.raises(InputError, match="collection altered exists already"):
        MilvusGallery.create(address, "altered", fake_bundle())
    with pytest.raises(InputError, match=r"there is no collection nowhere; there is .*altered"):
        MilvusGallery.open(address, "nowhere")
    client = milvus_collection.connect(str(address), None)
    client.create_collection("foreign", dimension=8)
    with pytest.raises(InputError, match="not a gallery of sal"):
        MilvusGallery.open(address, "foreign")
    client.alter_collection_properties("altered", {"sal.format_version": "2"})
    with pytest.raises(InputError, match="format 2, this version of sal reads 1"):
        MilvusGallery.open(address, "altered")


@pytest.mark.parametrize("wrong", ["gallery.sal", "nowhere/gallery.db", "ftp://host:1"])
def test_addresses_that_are_none(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(SalError, match=r"Milvus") as caught:
        MilvusGallery.create(wrong if "://" in wrong else tmp_path / wrong, "g", fake_bundle())
    assert "\n" not in str(caught.value)


def test_opening_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such gallery"):
        MilvusGallery.open(tmp_path / "none.db", "g")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(milvus_collection, "CALL_SECONDS", 1.0)
    with pytest.raises(SalError, match=r"gallery http://127\.0\.0\.1:9: Milvus failed") as caught:
        MilvusGallery.open("http://someone:secret@127.0.0.1:9", "g")
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_credentials_are_not_shown() -> None:
    assert without_credentials("https://me:secret@host:19530/db") == "https://host:19530/db"
    assert without_credentials("yard.db") == "yard.db"


def test_the_extra_is_named_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(BackendError, match=r'in the checkout of sal: `pip install "\.\[milvus\]"`'):
        MilvusGallery.create(tmp_path / "g.db", "g", fake_bundle())


def _open_elsewhere(address: Path, answers: Any) -> None:
    try:
        MilvusGallery.open(address, "filled")
    except SalError as error:
        answers.put(str(error))
    else:
        answers.put("opened")


def test_the_embedded_edition_is_for_one_process(filled: tuple[MilvusGallery, MemoryGallery], address: Path) -> None:
    context = multiprocessing.get_context("spawn")
    answers: Any = context.Queue()
    process = context.Process(target=_open_elsewhere, args=(address, answers))
    process.start()
    answer = answers.get(timeout=60)
    process.join()
    assert "Milvus failed" in answer
    assert "\n" not in answer


def test_the_embedded_edition_keeps_the_bytes_and_says_so(gallery: MilvusGallery, address: Path) -> None:
    vectors = unit_vectors(20, seed=77)
    gallery.add([GalleryItem(f"{number}.jpg") for number in range(20)], vectors)
    gallery._client.flush(gallery.collection)
    assert gallery.remove(["3.jpg"]) == 1

    assert any(vectors[3].tobytes() in path.read_bytes() for path in address.rglob("*") if path.is_file())
    with pytest.raises(SalError, match=r"cannot be told to erase.*export the gallery"):
        gallery.erase()


class PretendedServer:
    """Notes what is asked of it; the second compaction takes three looks."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def flush(self, name: str) -> None:
        self.calls.append(f"flush {name}")

    def compact(self, name: str, is_l0: bool, timeout: float) -> int:
        self.calls.append(f"compact {name} {is_l0}")
        return 1 if is_l0 else 2

    def get_compaction_state(self, job: int, timeout: float) -> str:
        self.calls.append(f"state {job}")
        return "Executing" if job == 2 and self.calls.count("state 2") < 3 else "Completed"


def test_erasing_applies_deletes_compacts_and_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server = PretendedServer()
    milvus_collection.compact(server, "g", "title")
    assert server.calls == ["flush g", "compact g True", "state 1", "compact g False", *["state 2"] * 3]
    monkeypatch.setattr(milvus_collection, "COMPACTION_SECONDS", -1.0)
    with pytest.raises(SalError, match="title: compaction 2 has not ended"):
        milvus_collection.compact(PretendedServer(), "g", "title")
