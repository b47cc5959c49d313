"""Searching a gallery file: filters before ranking, exactly; changes seen without reading all; nothing torn."""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sal_runtime.errors import InputError, SalError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.index import build_gallery_index
from sal_runtime.gallery.items import GalleryItem, ItemFilter
from sal_runtime.gallery.store import memory
from sal_runtime.gallery.store.file import connect_file, snapshot
from sal_runtime.gallery.store.memory import LoadedGallery, LoadedState
from sal_runtime.ranking import bounded, on_device
from tests.runtime.filter_oracle import matches
from tests.runtime.gallery.test_gallery import DIM, fake_bundle, filled, small_blocks, unit_vectors
from tests.runtime.gallery_contents import uris
from tests.runtime.lesser_product import lesser_of_two

WORDS = ["c1", "c2", "", "ö", "it's", '"', "%", "\\", "null", "0"]
words = st.sampled_from(WORDS)
moments = st.sampled_from([None, 0.0, -5.0, 1e9, 1.5e9, 1.5e9 + 0.25])
metadata = st.dictionaries(st.sampled_from(["zone", "it's", 'a"b', "$.x"]), words, max_size=2)
items = st.builds(
    lambda number, camera, track, moment, known: GalleryItem(
        f"{number}.jpg", camera=camera, track=track, captured_at=moment, metadata=known
    ),
    st.integers(0, 25),
    st.none() | words,
    st.none() | words,
    moments,
    metadata,
)


@st.composite
def filters(draw: st.DrawFn) -> ItemFilter:
    start, stop = draw(moments), draw(moments)
    if start is not None and stop is not None and start >= stop:
        stop = None
    keys = st.sampled_from(["zone", "it's", 'a"b', "$.x", "never"])
    asked, unwanted = (draw(st.dictionaries(keys, st.lists(words, min_size=1), max_size=3)) for _ in range(2))
    return ItemFilter(
        draw(st.lists(words, max_size=2)), draw(st.lists(words, max_size=2)), start, stop, asked, unwanted
    )


def brute_force(
    stored: dict[str, tuple[GalleryItem, NDArray[np.float32]]], query: NDArray[np.float32], where: ItemFilter
) -> list[str]:
    """Fitting uris, most similar first."""
    scores = {uri: float(vector @ query) for uri, (item, vector) in stored.items() if matches(where, item)}
    return sorted(scores, key=lambda uri: -scores[uri])


@settings(max_examples=60, deadline=None)
@given(
    steps=st.lists(st.tuples(st.lists(items, max_size=8), st.lists(st.integers(0, 25), max_size=5)), max_size=5),
    where=filters(),
    removed=filters(),
)
def test_filters_find_what_brute_force_finds(
    steps: list[tuple[list[GalleryItem], list[int]]],
    where: ItemFilter,
    removed: ItemFilter,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.mktemp("gallery") / "g.sal"
    stored: dict[str, tuple[GalleryItem, NDArray[np.float32]]] = {}
    query = unit_vectors(1, seed=1234)
    with pytest.MonkeyPatch.context() as patch:
        small_blocks(patch)
        with (
            Gallery.create(path, fake_bundle()) as writer,
            Gallery.open(path) as reader,
            Gallery.open(path, vector_memory=0) as by_codes,
        ):

            def check() -> None:
                for asked in (where, ItemFilter()):
                    expected = brute_force(stored, query[0], asked)
                    for gallery in (writer, reader, by_codes):
                        (found,) = gallery.nearest(query, 30, asked)
                        assert uris(found) == expected
                        vectors = np.array([stored[uri][1] for uri in expected], np.float32).reshape(-1, DIM)
                        np.testing.assert_array_equal(found.embeddings, vectors)
                        np.testing.assert_allclose(found.scores, vectors @ query[0], atol=1e-6)
                    assert reader.count(asked) == len(expected)
                    chunks = list(reader.chunks(asked))
                    assert {item.uri for ids, _ in chunks for item in reader.items(ids)} == set(expected)
                assert reader.verify() == []

            for turn, (added, gone) in enumerate(steps):
                vectors = unit_vectors(len(added), seed=turn)
                writer.add(added, vectors)
                stored |= {item.uri: (item, vector) for item, vector in zip(added, vectors, strict=True)}
                check()
                writer.remove(f"{number}.jpg" for number in gone)
                stored = {uri: one for uri, one in stored.items() if uri not in {f"{number}.jpg" for number in gone}}
                check()
            if removed:
                count = len(stored)
                stored = {uri: one for uri, one in stored.items() if not matches(removed, one[0])}
                assert writer.remove_where(removed) == count - len(stored)
                check()


def test_updated_items_are_filtered_by_what_is_known_now(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g.sal", fake_bundle()) as gallery:
        gallery.add([GalleryItem("a.jpg", camera="c1"), GalleryItem("b.jpg", camera="c1")], unit_vectors(2))
        gallery.update([GalleryItem("b.jpg", camera="c2", metadata={"zone": "n"}), GalleryItem("unknown.jpg")])
        for where, expected in (
            (ItemFilter(cameras=["c1"]), ["a.jpg"]),
            (ItemFilter(metadata={"zone": ["n", "s"]}), ["b.jpg"]),
            (ItemFilter(without_metadata={"zone": ["n", "s"]}), ["a.jpg"]),
        ):
            assert uris(gallery.nearest(unit_vectors(1), 5, where)[0]) == expected
        assert gallery.verify() == []


@pytest.mark.parametrize("values", [2, 20])
def test_a_filter_asked_again_sees_what_has_changed(
    values: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_blocks(monkeypatch)
    monkeypatch.setattr(memory, "PARTS_OF_A_THREAD", 2)
    cameras = ["c1", *(f"other {number}" for number in range(values - 1))]
    where, none_of_them = ItemFilter(cameras=cameras), ItemFilter(without_metadata={"zone": cameras})
    with Gallery.create(tmp_path / "g.sal", fake_bundle()) as gallery:
        known = [GalleryItem(f"{n:02}.jpg", camera=f"c{n % 3}", metadata={"zone": f"c{n % 3}"}) for n in range(20)]
        gallery.add(known, unit_vectors(20))

        def check() -> None:
            for asked in (where, none_of_them):
                for _ in range(2):
                    (found,) = gallery.nearest(unit_vectors(1), 30, asked)
                    assert set(uris(found)) == {item.uri for item in gallery.all_items() if matches(asked, item)}
                    assert gallery.count(asked) == len(found)

        check()
        gallery.update([GalleryItem("01.jpg", camera="c2", metadata={"zone": "c2"})])
        check()
        cameras[0] = "c2"  # the same object, with other contents
        check()


def test_new_items_are_found_without_reading_the_others_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "g.sal"
    filled(path, 5000)
    with Gallery.open(path, "w") as writer, Gallery.open(path) as reader:
        reader.nearest(unit_vectors(1), 1)
        read: list[tuple[int, int]] = []
        read_block = memory.read_block

        def noted(connection: Any, column: Any, number: int, *rest: int) -> Any:
            read.append((column.number, number))
            return read_block(connection, column, number, *rest)

        monkeypatch.setattr(memory, "read_block", noted)
        reader.nearest(unit_vectors(1), 1)
        assert read == []
        new = unit_vectors(1, seed=77)
        writer.add([GalleryItem("new.jpg")], new)
        (found,) = reader.nearest(new, 1)
        assert uris(found) == ["new.jpg"]
        assert found.scores[0] == pytest.approx(1)
        assert sorted(read) == [(0, 4), (1, 4)]  # the last block of ids and of vectors


def test_what_a_search_has_in_hand_does_not_change_under_it(tmp_path: Path) -> None:
    path = tmp_path / "g.sal"
    vectors = filled(path, 3000)
    with Gallery.open(path, "w") as gallery:
        loaded = LoadedGallery(DIM)

        def load() -> LoadedState:
            with closing(connect_file(path, "r")) as connection, snapshot(connection):
                return loaded.state(connection, None)

        state = load()
        before = np.concatenate(state.vectors).copy()
        np.testing.assert_array_equal(before, vectors)
        gallery.remove([f"{number:05}.jpg" for number in range(0, 3000, 2)])
        load()
        gallery.add([GalleryItem(f"new{number}.jpg") for number in range(2000)], unit_vectors(2000, seed=5))
        assert len(np.concatenate(load().vectors)) == 3500
        np.testing.assert_array_equal(np.concatenate(state.vectors), before)


@pytest.mark.parametrize("vector_memory", [0, 2**30])
def test_threads_search_while_another_writes(vector_memory: int, tmp_path: Path) -> None:
    """Every answer is one that the gallery could give at some moment: whole vectors, all of items that were there."""
    path = tmp_path / "g.sal"
    filled(path, 2000)
    done = threading.Event()
    wrong: list[BaseException] = []

    def look(seed: int) -> None:
        query = unit_vectors(1, seed=seed)
        try:
            while not done.is_set():
                (found,) = gallery.nearest(query, 2500)
                assert len(set(uris(found))) == len(found)
                np.testing.assert_allclose(found.scores, found.embeddings @ query[0], atol=1e-6)
                assert np.all(np.diff(found.scores) <= 0)
        except BaseException as error:
            wrong.append(error)

    with Gallery.open(path, "w", vector_memory=vector_memory) as gallery:
        threads = [threading.Thread(target=look, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for turn in range(15):
            gallery.add([GalleryItem(f"{turn}-{n}.jpg") for n in range(40)], unit_vectors(40, seed=turn))
            gallery.remove([f"{number:05}.jpg" for number in range(turn * 50, turn * 50 + 50)])
        done.set()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert gallery.verify() == []


def test_what_cannot_be_asked(tmp_path: Path) -> None:
    filled(tmp_path / "g.sal", 3)
    with Gallery.open(tmp_path / "g.sal", "w") as gallery:
        with pytest.raises(InputError, match="no condition"):
            gallery.remove_where(ItemFilter())
        with pytest.raises(InputError, match="removed meanwhile"):
            gallery.items([1, 99])
        with pytest.raises(InputError):
            gallery.nearest(np.ones((1, DIM + 1), np.float32), 1)
    with pytest.raises(InputError, match="expected it to end after it begins"):
        ItemFilter(captured_from=2.0, captured_until=1.0)
    with pytest.raises(InputError, match="no value for the metadata zone"):
        ItemFilter(metadata={"zone": []})
    with pytest.raises(InputError, match="got no value for the metadata zone"):
        ItemFilter(without_metadata={"zone": []})


def test_a_gallery_on_a_device_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "g.sal"
    small_blocks(monkeypatch)
    filled(path, 21)
    queries = unit_vectors(3, seed=5)
    with Gallery.open(path, "w") as gallery, Gallery.open(path) as reader:
        copied: list[int] = []
        to_device = on_device.to_device

        def noted(array: NDArray[Any], device: str) -> Any:
            if array.ndim == 2 and len(array) != len(queries):
                copied.append(len(array))
            return to_device(array, device)

        monkeypatch.setattr(on_device, "to_device", noted)
        reader.rank_on("cpu")

        def check() -> None:
            for where in (None, ItemFilter(cameras=["c1"])):
                pairs = zip(gallery.nearest(queries, 9, where), reader.nearest(queries, 9, where), strict=True)
                for expected, found in pairs:
                    assert uris(found) == uris(expected)
                    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)

        check()
        assert copied == [8, 8, 5]
        check()
        assert copied == [8, 8, 5]  # nothing has changed, nothing is copied
        gallery.add([GalleryItem("new.jpg", camera="c1")], unit_vectors(1, seed=9))
        check()
        assert copied == [8, 8, 5, 6]  # the parts of 8 were full already
        gallery.remove([f"{number:05}.jpg" for number in range(3, 20)])
        check()
        with pytest.raises(SalError, match="cuda"):
            reader.rank_on("cuda")


def test_many_queries_find_what_each_finds_alone(tmp_path: Path) -> None:
    path = tmp_path / "g.sal"
    filled(path, 6000)
    queries = unit_vectors(12, seed=5)
    with Gallery.open(path, "w") as gallery:

        def check() -> None:
            for where in (None, ItemFilter(cameras=["c1"])):
                for query, found in zip(queries, gallery.nearest(queries, 5, where), strict=True):
                    (alone,) = gallery.nearest(query[None], 5, where)
                    assert uris(found) == uris(alone)
                    np.testing.assert_allclose(found.scores, alone.scores, atol=1e-6)

        check()
        gallery.add([GalleryItem("new.jpg", camera="c1")], unit_vectors(12, seed=5)[3:4])
        check()
        assert gallery.nearest(queries, 1)[3].scores[0] == pytest.approx(1, abs=1e-6)
        gallery.remove([f"{number:05}.jpg" for number in range(100, 3000)])
        check()


@pytest.mark.parametrize("queries", [1, 3, 12])
def test_what_is_found_by_codes_is_what_is_found_by_vectors(queries: int, tmp_path: Path) -> None:
    path = tmp_path / "g.sal"
    filled(path, 6000)
    asked = unit_vectors(queries, seed=5)
    with (
        Gallery.open(path, "w") as gallery,
        Gallery.open(path, vector_memory=0) as by_codes,
        Gallery.open(path, vector_memory=6010 * 4 * DIM) as at_the_edge,
    ):

        def check() -> None:
            for where in (None, ItemFilter(cameras=["c1"])):
                expected = gallery.nearest(asked, 5, where)
                for other in (by_codes, at_the_edge):
                    for best, found in zip(expected, other.nearest(asked, 5, where), strict=True):
                        assert uris(found) == uris(best)
                        np.testing.assert_allclose(found.scores, best.scores, atol=1e-6)
                        np.testing.assert_array_equal(found.embeddings, best.embeddings)

        check()
        gallery.add([GalleryItem(f"new {n}.jpg", camera="c1") for n in range(20)], unit_vectors(20, seed=5))
        check()  # one of them has no room any more
        gallery.remove([f"{number:05}.jpg" for number in range(100, 3000)])
        check()
        gallery.add([GalleryItem("05000.jpg")], asked[:1])
        check()


def test_codes_hold_neither_vectors_nor_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No transaction is open while codes are multiplied, unless the gallery changes again and again."""
    path = tmp_path / "g.sal"
    filled(path, 3000)
    query = unit_vectors(1, seed=5)
    with Gallery.open(path, "w") as writer, Gallery.open(path, vector_memory=0) as reader:
        read: list[int] = []
        read_block, find_promising = memory.read_block, bounded.find_promising

        def noted(connection: Any, column: Any, *rest: int) -> Any:
            read.append(column.number)
            return read_block(connection, column, *rest)

        monkeypatch.setattr(memory, "read_block", noted)
        reader.nearest(query, 3)
        assert set(read) == {5}

        held: list[bool] = []

        def disturbed(*arguments: Any) -> Any:
            found = find_promising(*arguments)
            held.append(reader._connection.in_transaction)
            writer.add([GalleryItem(f"{len(held)}.jpg")], query)
            if not held[-1]:
                writer.remove([f"{len(held) - 1:05}.jpg"])  # and its bytes, although a search is on its way
            return found

        monkeypatch.setattr(bounded, "find_promising", disturbed)
        (found,) = reader.nearest(query, 3)
        assert held == [False, False, True]
        assert set(uris(found)[:2]) == {"1.jpg", "2.jpg"}
        held.clear()
        (found,) = reader.nearest(query, 4)
        assert uris(found)[2] == "3.jpg"


@pytest.mark.parametrize("ranked_on", [None, "cpu", "index", "codes"])
def test_the_best_by_a_score(tmp_path: Path, ranked_on: str | None) -> None:
    """Few enough that all are proposed where only the nearest can be found; so the answer is exact everywhere."""
    path = tmp_path / "g.sal"
    vectors = filled(path, 400)
    rules = [lesser_of_two(*unit_vectors(2, seed=seed), bound) for seed, bound in ((5, "first"), (6, "both"))]
    with Gallery.open(path, "w", vector_memory=0 if ranked_on == "codes" else 2**30) as gallery:
        build_gallery_index(gallery)
        if ranked_on == "cpu":
            gallery.rank_on("cpu")
        for where in (None, ItemFilter(cameras=["c1"])) if ranked_on != "index" else (None,):
            found = gallery.nearest(rules, 7, where, approximate=ranked_on == "index")
            for rule, best in zip(rules, found, strict=True):
                scores = rule.score(vectors @ rule.directions.T)
                fitting = [number for number in range(400) if where is None or number % 3 == 1]
                np.testing.assert_allclose(best.scores, np.sort(scores[fitting])[::-1][:7], atol=1e-6)
                expected = [scores[int(uri[:5])] for uri in uris(best)]
                np.testing.assert_allclose(best.scores, expected, atol=1e-6)


def test_an_index_proposes_until_the_gallery_changes(tmp_path: Path) -> None:
    path = tmp_path / "g.sal"
    vectors = filled(path, 400)
    queries = unit_vectors(5, seed=3)
    with Gallery.open(path) as reader, pytest.raises(InputError, match="index"):
        reader.nearest(queries, 5, approximate=True)
    with Gallery.open(path, "w") as gallery:
        assert build_gallery_index(gallery) == tmp_path / "g.sal.index"
    with Gallery.open(path) as reader:
        exact = reader.nearest(queries, 5)
        proposed = reader.nearest(queries, 5, approximate=True)
        assert np.mean([len({*uris(a)} & {*uris(b)}) / 5 for a, b in zip(proposed, exact, strict=True)]) > 0.9
        np.testing.assert_allclose(proposed[0].scores, proposed[0].embeddings @ queries[0], atol=1e-6)
        with pytest.raises(InputError, match="no conditions"):
            reader.nearest(queries, 5, ItemFilter(cameras=["c1"]), approximate=True)
        with pytest.raises(InputError, match="open for reading"):
            build_gallery_index(reader)
        with Gallery.open(path, "w") as gallery:
            gallery.add([GalleryItem("new.jpg")], unit_vectors(1, seed=9))
            with pytest.raises(InputError, match="has changed since it was built; build it again"):
                reader.nearest(queries, 5, approximate=True)
            build_gallery_index(gallery)
            (found,) = reader.nearest(unit_vectors(1, seed=9), 1, approximate=True)
            assert found.scores[0] == pytest.approx(1, abs=1e-6)
            gallery.remove(["00007.jpg"])
            assert not (tmp_path / "g.sal.index").exists()
            assert not any(vectors[7].tobytes() in file.read_bytes() for file in tmp_path.iterdir())
