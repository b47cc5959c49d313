"""Block ids fit into 31 bits, and gallery files of format 2, whose ids had more, are brought up to date."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest

from sal_runtime.errors import InputError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem, ItemFilter
from sal_runtime.gallery.store import columns
from sal_runtime.gallery.store.file import generation_path
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


def make_old(path: Path) -> None:
    """Write the block ids of format 2, `column << 32 | number`, row by row."""
    with closing(sqlite3.connect(path)) as connection:
        for table in ("block", "block_change"):
            rows = connection.execute(f"SELECT * FROM {table}").fetchall()
            connection.execute(f"DELETE FROM {table}")
            old = [((block_id // 2**20) * 2**32 + block_id % 2**20, data) for block_id, data in rows]
            connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", old)
        connection.execute("PRAGMA user_version = 2")
        connection.commit()


@contextmanager
def held(path: Path) -> Iterator[None]:
    lock = WriterLock(path)
    yield
    lock.release()


def block_ids(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [block_id for (block_id,) in connection.execute("SELECT id FROM block")]


@pytest.mark.parametrize("mode", ["r", "w"])
def test_a_gallery_of_format_2_answers_as_before(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "g.sal"
    build(path)
    query, where = unit_vectors(3, seed=1), ItemFilter(cameras=("c1",), metadata={"key2": ("v3",)})
    with Gallery.open(path) as gallery:
        expected, found, stamp = contents(gallery), gallery.nearest(query, 20, where), gallery.stamp()
    make_old(path)
    assert max(block_ids(path)) > 2**32
    with Gallery.open(path, mode) as gallery:  # type: ignore[arg-type]
        assert gallery.verify() == []
        assert contents(gallery) == expected
        assert gallery.stamp() == stamp  # an approximate index stays good
        for now, before in zip(gallery.nearest(query, 20, where), found, strict=True):
            assert now.items == before.items
            np.testing.assert_array_equal(now.cosines, before.cosines)
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
        InputError, match=r"gallery format 2, .* format 3; open the gallery once where .* can be written"
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
