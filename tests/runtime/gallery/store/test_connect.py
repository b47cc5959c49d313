"""Readers see the present state: of files that others write, and of files of old formats, which are brought up to date.

Block ids fit into 31 bits; those of format 2 had more. Formats 2 and 3 had no codes.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from sal_runtime.errors import InputError, SalError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem, ItemFilter
from sal_runtime.gallery.store import columns
from sal_runtime.gallery.store import connect as connect_module
from sal_runtime.gallery.store.file import Mode, generation_path
from sal_runtime.gallery.store.lock import WriterLock
from tests.runtime.gallery.test_gallery import contents, fake_bundle, unit_vectors

COUNT = 2100
"""Three blocks."""


def build(path: Path) -> None:
    items = [
        GalleryItem(f"{n:04}.jpg", camera=f"c{n % 3}", captured_at=float(n), metadata={f"key{n % 4}": f"v{n % 5}"})
        for n in range(COUNT)
    ]
    with Gallery.create(path, fake_bundle()) as gallery:
        gallery.add(items, unit_vectors(COUNT))


def make_old(path: Path, version: int = 2) -> None:
    """Leave out the codes; write the block ids of format 2, `column << 32 | number`, row by row."""
    with closing(sqlite3.connect(path)) as connection:
        for table in ("block", "block_change"):
            rows = connection.execute(f"SELECT * FROM {table} WHERE id / {2**20} != 5").fetchall()
            connection.execute(f"DELETE FROM {table}")
            width = 2**32 if version == 2 else 2**20
            old = [((block_id // 2**20) * width + block_id % 2**20, data) for block_id, data in rows]
            connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", old)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()


@contextmanager
def held(path: Path) -> Iterator[None]:
    lock = WriterLock(path)
    yield
    lock.release()


def block_ids(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [block_id for (block_id,) in connection.execute("SELECT id FROM block")]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("mode", ["r", "w"])
def test_a_gallery_of_an_old_format_answers_as_before(mode: str, version: int, tmp_path: Path) -> None:
    path = tmp_path / "g.sal"
    build(path)
    query, where = unit_vectors(3, seed=1), ItemFilter(cameras=("c1",), metadata={"key2": ("v3",)})
    with Gallery.open(path) as gallery:
        expected, found, stamp = contents(gallery), gallery.nearest(query, 20, where), gallery.stamp()
    make_old(path, version)
    assert (max(block_ids(path)) > 2**32) == (version == 2)
    with Gallery.open(path, mode, vector_memory=0) as gallery:  # type: ignore[arg-type]
        assert gallery.verify() == []
        assert contents(gallery) == expected
        assert gallery.stamp() == stamp  # an approximate index stays good
        for now, before in zip(gallery.nearest(query, 20, where), found, strict=True):
            assert now.items == before.items
            np.testing.assert_allclose(now.scores, before.scores, atol=1e-6)
    assert max(block_ids(path)) < 2**31
    assert [file.name for file in tmp_path.iterdir()] == ["g.sal"]


def test_what_is_removed_after_the_upgrade_is_gone_from_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "g.sal"
    build(path)
    make_old(path)
    vectors = unit_vectors(COUNT)
    with Gallery.open(path, "w") as gallery:
        gallery.remove([f"{n:04}.jpg" for n in range(0, COUNT, 2)])
        gallery.add([GalleryItem("new.jpg", metadata={"another": "key"})], unit_vectors(1, seed=2))
        assert gallery.verify() == []
    left = path.read_bytes()
    halves = [(n, vectors[n, half].tobytes()) for n in range(COUNT) for half in (slice(0, 8), slice(8, 16))]
    found = [n for n, half in halves if half in left]
    assert all(n % 2 for n in found)
    assert len(found) > COUNT * 0.9  # some are cut by the end of a page


def test_a_half_made_generation_of_format_2_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "g.sal"
    build(path)
    build(generation_path(path))
    make_old(path)
    make_old(generation_path(path))
    with Gallery.open(path, "w") as gallery:
        gallery.remove(["0000.jpg"])
    with Gallery.open(generation_path(path)) as generation:
        assert generation.find(["0000.jpg"]) == {}


def test_a_gallery_of_format_2_that_cannot_be_written_is_refused_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "g.sal"
    build(path)
    make_old(path)
    with held(path), pytest.raises(InputError, match="is writing it"):
        Gallery.open(path)
    before = path.read_bytes()
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    with pytest.raises(
        InputError, match=r"gallery format 2, .* format 4; open the gallery once where .* can be written"
    ):
        Gallery.open(path)
    assert path.read_bytes() == before


def test_a_file_says_how_much_it_takes(tmp_path: Path) -> None:
    build(tmp_path / "g.sal")
    with Gallery.open(tmp_path / "g.sal", "w") as gallery:
        with pytest.raises(InputError, match="takes 4 keys"), gallery._writing() as connection:
            columns.ensure_metadata_columns(connection, ["a"], max_columns=columns.FIRST_METADATA + 4)
        slots, values = np.array([2047, 2048]), np.array([1, 2])
        with pytest.raises(InputError, match="takes 2,048 items"), gallery._writing() as connection:
            columns.write_values(connection, columns.CAMERA, slots, values, 9, max_items=2048)
        assert gallery.verify() == []


def test_the_column_of_a_forgotten_key_is_used_again(tmp_path: Path) -> None:
    build(tmp_path / "g.sal")
    with Gallery.open(tmp_path / "g.sal", "w") as gallery, Gallery.open(tmp_path / "g.sal") as reader:
        assert len(reader.nearest(unit_vectors(1), COUNT, ItemFilter(metadata={"key1": ("v1",)}))[0].items) == 105
        gallery.remove_where(ItemFilter(metadata={"key1": tuple(f"v{n}" for n in range(5))}))
        gallery.add([GalleryItem("n.jpg", metadata={"other": "x"})], unit_vectors(1, seed=3))
        with gallery._reading() as connection:
            numbers = {key: column.number for key, column in columns.metadata_columns(connection).items()}
        assert numbers == {"key0": 16, "other": 17, "key2": 18, "key3": 19}
        for key, value, uris in [("key1", "v1", []), ("other", "x", ["n.jpg"])]:
            found = reader.nearest(unit_vectors(1), COUNT, ItemFilter(metadata={key: (value,)}))[0]
            assert [item.uri for item in found.items] == uris


@pytest.fixture
def looking_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Gallery]]:
    """A gallery of two items, and a handle of a user who may write neither the file nor beside it."""
    path = tmp_path / "g.sal"
    with Gallery.create(path, fake_bundle()) as gallery:
        gallery.add([GalleryItem("a.jpg"), GalleryItem("b.jpg")], unit_vectors(2))
    access, connect_file = os.access, connect_module.connect_file

    def connect(path: Path, mode: Mode) -> sqlite3.Connection:
        with monkeypatch.context() as patch:
            if mode == "r":
                patch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
            return connect_file(path, mode)

    monkeypatch.setattr(connect_module, "connect_file", connect)
    with Gallery.open(path) as reader:
        yield path, reader


def uris(gallery: Gallery) -> list[str]:
    """The items as the list shows them, if a search sees the same."""
    listed = [item.uri for item in gallery.all_items()]
    assert sorted(item.uri for item in gallery.nearest(unit_vectors(1), 9)[0].items) == listed
    assert len(gallery) == len(listed)
    return listed


def test_a_reader_that_may_not_write_sees_what_others_add_and_remove(looking_on: tuple[Path, Gallery]) -> None:
    path, reader = looking_on
    assert uris(reader) == ["a.jpg", "b.jpg"]
    with Gallery.open(path, "w") as writer:
        writer.add([GalleryItem("c.jpg")], unit_vectors(1, seed=1))
    assert uris(reader) == ["a.jpg", "b.jpg", "c.jpg"]
    with Gallery.open(path, "w") as writer:
        writer.remove(["a.jpg"])
    assert uris(reader) == ["b.jpg", "c.jpg"]


def test_a_reader_that_may_not_write_sees_what_is_still_in_the_log(looking_on: tuple[Path, Gallery]) -> None:
    path, reader = looking_on
    with Gallery.open(path, "w") as writer:
        for number in range(3):
            writer.add([GalleryItem(f"c{number}.jpg")], unit_vectors(1, seed=number + 1))
            assert len(uris(reader)) == 3 + number
        writer.remove(["a.jpg"])
        assert "a.jpg" not in uris(reader)
    assert uris(reader) == ["b.jpg", "c0.jpg", "c1.jpg", "c2.jpg"]


def add(path: Path, uri: str) -> None:
    with Gallery.open(path, "w") as writer:
        writer.add([GalleryItem(uri)], unit_vectors(1, seed=len(uri)))


def test_what_was_read_while_others_wrote_is_refused(looking_on: tuple[Path, Gallery]) -> None:
    path, reader = looking_on
    with pytest.raises(SalError, match="others wrote it while it was read; search again"), reader._reading():
        add(path, "c.jpg")
    chunks = reader.chunks()
    next(chunks)
    add(path, "d.jpg")
    with pytest.raises(SalError, match="search again"):
        next(chunks)
    assert len(uris(reader)) == 4


def test_a_gallery_that_is_gone_is_one_line(looking_on: tuple[Path, Gallery]) -> None:
    path, reader = looking_on
    path.unlink()
    for _ in range(2):
        with pytest.raises(InputError, match="no such gallery file"):
            len(reader)
