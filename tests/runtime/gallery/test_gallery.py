"""Gallery files: what is added is there, what is removed is gone from the bytes, and who may do what."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sal_runtime.errors import InputError, SalError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem, ItemFilter
from sal_runtime.gallery.protocol import check_bundle
from sal_runtime.gallery.store import checks, columns, memory
from tests.runtime.gallery_contents import stored_vectors
from tests.torture.clean_process import CLEAN

DIM = 16


def fake_bundle(fingerprint: str = "f" * 64, embedding_dim: int = DIM) -> Any:
    return SimpleNamespace(fingerprint=fingerprint, embedding_dim=embedding_dim, name="tiny", path=Path("tiny"))


def unit_vectors(count: int, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def filled(path: Path, count: int) -> NDArray[np.float32]:
    vectors = unit_vectors(count)
    with Gallery.create(path, fake_bundle()) as gallery:
        gallery.add([GalleryItem(f"{number:05}.jpg", camera=f"c{number % 3}") for number in range(count)], vectors)
    return vectors


def contents(gallery: Gallery) -> dict[str, bytes]:
    """Vector bytes by uri, as a search would see them."""
    ids, vectors = stored_vectors(gallery)
    return {item.uri: vector.tobytes() for item, vector in zip(gallery.items(ids), vectors, strict=True)}


def test_items_come_back_as_they_were_added(tmp_path: Path) -> None:
    path = tmp_path / "yard.sal"
    items = [
        GalleryItem("a b/ä.jpg", "ab" * 32, 12, 34, "c1", 1.5e9, "t7", (1, 2, 30, 40), {"zone": "ö", "plate": "7"}),
        GalleryItem("plain.jpg"),
    ]
    vectors = unit_vectors(2)
    with Gallery.create(path, fake_bundle()) as gallery:
        gallery.add(items, vectors)
    with Gallery.open(path) as gallery:
        ids, stored = stored_vectors(gallery)
        assert gallery.items(ids) == tuple(items)
        assert gallery.items(ids[::-1]) == tuple(items[::-1])
        np.testing.assert_array_equal(stored, vectors)
        assert stored.flags.c_contiguous
        assert len(gallery) == 2
        assert gallery.verify() == []
    assert [file.name for file in tmp_path.iterdir()] == ["yard.sal"]


def small_blocks(patch: pytest.MonkeyPatch) -> None:
    """Blocks of 4 and parts of 8, so that few items fill several."""
    for module in (columns, memory, checks):
        patch.setattr(module, "BLOCK_SLOTS", 4)
    patch.setattr(memory, "PART_BLOCKS", 2)
    patch.setattr(memory, "PART_SLOTS", 8)


Step = tuple[str, list[int]]
steps = st.lists(st.tuples(st.sampled_from(["add", "remove"]), st.lists(st.integers(0, 30), max_size=12)), max_size=12)


@settings(max_examples=40, deadline=None)
@given(steps=steps)
def test_any_sequence_of_changes_gives_what_a_dict_gives(
    steps: list[Step], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("gallery") / "g.sal"
    expected: dict[str, bytes] = {}
    with pytest.MonkeyPatch.context() as patch:
        small_blocks(patch)
        with Gallery.create(path, fake_bundle()) as gallery:
            for turn, (action, numbers) in enumerate(steps):
                uris = [f"{number}.jpg" for number in numbers]
                if action == "add":
                    vectors = unit_vectors(len(uris), seed=turn)
                    gallery.add([GalleryItem(uri) for uri in uris], vectors)
                    expected |= {uri: vector.tobytes() for uri, vector in zip(uris, vectors, strict=True)}
                else:
                    removed = gallery.remove(uris)
                    assert removed == len(expected.keys() & set(uris))
                    expected = {uri: vector for uri, vector in expected.items() if uri not in uris}
                assert contents(gallery) == expected
                assert len(gallery) == len(expected)
                assert gallery.verify() == []
        with Gallery.open(path) as gallery:
            assert contents(gallery) == expected


def test_removed_bytes_are_in_no_file(tmp_path: Path) -> None:
    path = tmp_path / "g.sal"
    vectors = filled(path, 3000)  # three blocks
    gone = [f"{number:05}.jpg" for number in range(0, 3000, 7)]

    def found(number: int) -> bool:
        needles = (vectors[number].tobytes(), f"{number:05}.jpg".encode())
        return any(needle in file.read_bytes() for file in tmp_path.iterdir() for needle in needles)

    assert all(found(number) for number in range(0, 3000, 7))
    with Gallery.open(path, "w") as gallery:
        assert gallery.remove(gone) == len(gone)
        assert not any(found(number) for number in range(0, 3000, 7))  # while it is open, log included
        assert found(1)
        assert gallery.verify() == []
    assert not any(found(number) for number in range(0, 3000, 7))


def test_a_replaced_vector_is_in_no_file(tmp_path: Path) -> None:
    path = tmp_path / "g.sal"
    vectors = filled(path, 10)
    with Gallery.open(path, "w") as gallery:
        gallery.add([GalleryItem("00003.jpg")], unit_vectors(1, seed=9))
        assert len(gallery) == 10
        gallery.erase()
        assert not any(vectors[3].tobytes() in file.read_bytes() for file in tmp_path.iterdir())


def test_removing_gives_space_back(tmp_path: Path) -> None:
    path = tmp_path / "g.sal"
    filled(path, 20_000)
    size = path.stat().st_size
    with Gallery.open(path, "w") as gallery:
        gallery.remove(f"{number:05}.jpg" for number in range(19_000))
    assert path.stat().st_size < size / 5


def test_purge_takes_the_time_of_capture_or_else_of_adding(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g.sal", fake_bundle()) as gallery:
        items = [
            GalleryItem("old.jpg", camera="c1", captured_at=1000.0),
            GalleryItem("old-elsewhere.jpg", camera="c2", captured_at=1000.0),
            GalleryItem("new.jpg", camera="c1", captured_at=3000.0),
            GalleryItem("unknown.jpg", camera="c1"),  # added now, long after the moment
        ]
        gallery.add(items, unit_vectors(4))
        assert gallery.purge(2000.0, ItemFilter(cameras=["c1"])) == 1
        assert {item.uri for item in gallery.all_items()} == {"old-elsewhere.jpg", "new.jpg", "unknown.jpg"}
        assert gallery.purge(2000.0) == 1
        assert gallery.purge(4e9) == 2
        assert len(gallery) == 0


def test_removal_says_so_when_a_reader_keeps_the_old_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "g.sal"
    monkeypatch.setattr("sal_runtime.gallery.store.file.BUSY_SECONDS", 0.0)
    filled(path, 5)
    with Gallery.open(path, "w") as gallery:
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT COUNT(*) FROM item").fetchone() == (5,)
        with pytest.raises(SalError, match="another process still reads"):
            gallery.remove(["00001.jpg"])
        reader.close()
        assert len(gallery) == 4
        gallery.erase()


def test_a_second_writer_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "g.sal"
    filled(path, 3)
    with Gallery.open(path, "w") as first:
        with pytest.raises(InputError, match=f"process {os.getpid()} is writing it"):
            Gallery.open(path, "w")
        with Gallery.open(path) as reader:
            assert len(reader) == 3
            first.add([GalleryItem("more.jpg")], unit_vectors(1))
            assert len(reader) == 4
            assert len(stored_vectors(reader)[0]) == 4
    with Gallery.open(path, "w"):
        pass


def write_until_killed(path: Path, acknowledged: Any) -> None:
    """Adds one item after the other and says which are committed."""
    with Gallery.open(path, "w") as gallery:
        for number in range(10_000):
            gallery.add([GalleryItem(f"{number}.jpg")], unit_vectors(1, seed=number))
            acknowledged.send(number)


def test_a_killed_writer_loses_nothing_acknowledged_and_blocks_nobody(tmp_path: Path) -> None:
    path = tmp_path / "g.sal"
    Gallery.create(path, fake_bundle()).close()
    receiver, sender = CLEAN.Pipe(duplex=False)
    writer = CLEAN.Process(target=write_until_killed, args=(path, sender))
    writer.start()
    while receiver.recv() < 40:
        pass
    writer.kill()
    writer.join()
    last = 40
    while receiver.poll():
        last = receiver.recv()
    with Gallery.open(path, "w") as gallery:
        stored = contents(gallery)
        assert gallery.verify() == []
    for number in range(last + 1):
        assert stored[f"{number}.jpg"] == unit_vectors(1, seed=number).tobytes()


def test_an_interrupted_change_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "g.sal"
    filled(path, 3)

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    with Gallery.open(path, "w") as gallery:
        before = contents(gallery)
        with monkeypatch.context() as patch:
            patch.setattr(columns, "write_values", interrupted)
            with pytest.raises(KeyboardInterrupt):
                gallery.add([GalleryItem("new.jpg"), GalleryItem("00001.jpg")], unit_vectors(2, seed=4))
        assert contents(gallery) == before
        assert gallery.verify() == []


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones((2, DIM - 1), np.float32), "shape"),
        (np.ones((1, DIM), np.float32), "shape"),
        (np.ones((2, DIM), np.float32), "length 4"),
        (np.full((2, DIM), np.nan, np.float32), "length nan"),
        (np.zeros((2, DIM), np.float32), "length 0"),
    ],
)
def test_embeddings_that_cannot_be_right_are_refused(
    vectors: NDArray[np.float32], message: str, tmp_path: Path
) -> None:
    with Gallery.create(tmp_path / "g.sal", fake_bundle()) as gallery:
        with pytest.raises(InputError, match=message):
            gallery.add([GalleryItem("a.jpg"), GalleryItem("b.jpg")], vectors)
        assert len(gallery) == 0


def test_another_bundle_is_refused_in_one_line(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g.sal", fake_bundle("a" * 64)) as gallery:
        check_bundle(gallery, fake_bundle("a" * 64))
        with pytest.raises(
            InputError, match=r"made by bundle tiny .aaaaaaaaaaaa., got bundle tiny .bbbbbbbbbbbb."
        ) as error:
            check_bundle(gallery, fake_bundle("b" * 64))
        assert "\n" not in str(error.value)


def test_reading_is_for_reading(tmp_path: Path) -> None:
    filled(tmp_path / "g.sal", 3)
    with Gallery.open(tmp_path / "g.sal") as gallery, pytest.raises(InputError, match="open for reading"):
        gallery.remove(["00001.jpg"])


def test_files_that_are_no_galleries(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such gallery file"):
        Gallery.open(tmp_path / "missing.sal")
    (tmp_path / "text.sal").write_text("hello, this is certainly not a database" * 100)
    with pytest.raises(InputError, match="not a gallery file of sal"):
        Gallery.open(tmp_path / "text.sal", "w")
    other = sqlite3.connect(tmp_path / "other.sal")
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(InputError, match="not a gallery file of sal"):
        Gallery.open(tmp_path / "other.sal")
    filled(tmp_path / "newer.sal", 1)
    newer = sqlite3.connect(tmp_path / "newer.sal")
    newer.execute("PRAGMA user_version = 5")
    newer.close()
    with pytest.raises(InputError, match="gallery format 5"):
        Gallery.open(tmp_path / "newer.sal")
    with pytest.raises(InputError, match="exists already"):
        Gallery.create(tmp_path / "other.sal", fake_bundle())
    with pytest.raises(SalError, match="No such file or directory"):
        Gallery.create(tmp_path / "nowhere" / "g.sal", fake_bundle())
    assert not list(tmp_path.glob("*lock*"))


def test_verify_finds_a_flipped_bit_in_a_vector(tmp_path: Path) -> None:
    path = tmp_path / "g.sal"
    vectors = filled(path, 100)
    data = bytearray(path.read_bytes())
    position = data.find(vectors[42].tobytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))
    with Gallery.open(path) as gallery:
        assert gallery.verify() == ["00042.jpg: its vector has changed since it was added"]


def test_verify_finds_a_destroyed_page(tmp_path: Path) -> None:
    path = tmp_path / "g.sal"
    filled(path, 100)
    data = bytearray(path.read_bytes())
    page = data.find(b"00042.jpg") // 16384
    data[page * 16384 : (page + 1) * 16384] = os.urandom(16384)
    path.write_bytes(bytes(data))
    with Gallery.open(path) as gallery:
        assert gallery.verify()


def test_a_read_only_place_can_be_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = filled(tmp_path / "g.sal", 5)
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # tests may run as root
    with Gallery.open(tmp_path / "g.sal") as gallery:
        np.testing.assert_array_equal(stored_vectors(gallery)[1], vectors)
        assert [file.name for file in tmp_path.iterdir()] == ["g.sal"]


def test_a_gallery_moves_with_its_folder(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    Gallery.create(first / "crops.sal", fake_bundle(), root=first / "crops").close()
    first.rename(second)
    with Gallery.open(second / "crops.sal") as gallery:
        assert gallery.root == second / "crops"
        assert gallery.image_path(GalleryItem("c1/a.jpg")) == second / "crops" / "c1" / "a.jpg"
