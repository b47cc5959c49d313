"""The files beside a gallery: all are known, all are named from the file behind a link, none outlives its gallery."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from sal_runtime.errors import InputError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.index import build_gallery_index
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.store.file import connect_file, generation_path, index_path, lock_path, log_path
from sal_runtime.gallery.store.whole import copies, create_file, delete_gallery, side_files
from tests.runtime.gallery.test_gallery import fake_bundle, filled, unit_vectors


@pytest.fixture
def names(tmp_path: Path) -> tuple[Path, Path]:
    """A path for a gallery, and a link to it from another folder."""
    real, link = tmp_path / "real" / "y.sal", tmp_path / "link" / "other.sal"
    real.parent.mkdir()
    link.parent.mkdir()
    link.symlink_to("../real/y.sal")
    return real, link


def names_in(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_every_side_file_is_named_from_the_file_behind_a_link(names: tuple[Path, Path]) -> None:
    real, link = names
    for name in (log_path, lock_path, index_path, generation_path, copies, side_files):
        assert name(link) == name(real)
    assert {file.parent for file in side_files(link)} == {real.parent}


def test_a_gallery_makes_no_file_that_is_not_known(names: tuple[Path, Path]) -> None:
    real, link = names
    with Gallery.create(link, fake_bundle()) as gallery, Gallery.open(link) as reader:
        gallery.add([GalleryItem("a.jpg"), GalleryItem("b.jpg")], unit_vectors(2))
        assert len(reader) == 2
        build_gallery_index(gallery)
        with Gallery.create(generation_path(link), fake_bundle()) as generation:
            generation.add([GalleryItem("a.jpg")], unit_vectors(1))
            found = set(real.parent.iterdir())
            assert len(found) == 9  # both files, their logs with shared memory, both locks, and the index
            assert found <= {real, *side_files(real)}
    assert names_in(link.parent) == {"other.sal"}


def test_a_link_to_nothing_yet_stays_a_link(names: tuple[Path, Path]) -> None:
    real, link = names
    Gallery.create(link, fake_bundle()).close()
    assert link.is_symlink()
    assert names_in(real.parent) == {"y.sal"}
    with pytest.raises(InputError, match="exists already"):
        create_file(link, {})


def test_the_log_is_read_by_any_name_where_nothing_can_be_written(
    names: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another user opens the gallery by a link while its writer has not yet merged the log."""
    real, link = names
    filled(real, 3)
    access = os.access
    with Gallery.open(real, "w") as gallery:
        gallery.add([GalleryItem("new.jpg")], unit_vectors(1))
        monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
        for name in (real, link):
            with Gallery.open(name) as reader:
                assert len(reader) == 4


def test_a_removal_leaves_no_copy_of_the_vector(names: tuple[Path, Path]) -> None:
    real, link = names
    vectors = filled(real, 40)
    with Gallery.open(link, "w") as gallery:
        index = build_gallery_index(gallery)
        killed = index.with_name(f".{index.name}.77-7.partial")  # left by a process that was killed while indexing
        killed.write_bytes(index.read_bytes())
        coarse = vectors[3].astype(np.float16).tobytes()
        assert all(coarse in file.read_bytes() for file in copies(real))
    with Gallery.open(real, "w") as gallery:
        gallery.remove(["00003.jpg"])
    assert names_in(real.parent) == {"y.sal"}
    assert names_in(link.parent) == {"other.sal"}


def test_a_deleted_gallery_leaves_nothing_and_takes_nothing_else(names: tuple[Path, Path]) -> None:
    real, link = names
    filled(real, 3)
    for file in side_files(real):
        file.write_bytes(b"")
    for owner in (real, index_path(real), generation_path(real)):
        owner.with_name(f".{owner.name}.12-3.partial").write_bytes(b"")
    others = {"y.sal.parquet", ".y.sal.parquet.12-3.partial", "y.sal2", "y.sal.index2"}
    for other in others:
        (real.parent / other).write_bytes(b"")
    delete_gallery(link)
    assert names_in(real.parent) == others


def test_a_new_gallery_is_in_wal_mode(tmp_path: Path) -> None:
    create_file(tmp_path / "g.sal", {"fingerprint": "f"})
    assert names_in(tmp_path) == {"g.sal"}
    connection = connect_file(tmp_path / "g.sal", "w")
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.execute("UPDATE meta SET value = 'e' WHERE key = 'fingerprint'")
    assert log_path(tmp_path / "g.sal").stat().st_size > 0
    other = sqlite3.connect(tmp_path / "g.sal")
    assert other.execute("SELECT value FROM meta WHERE key = 'fingerprint'").fetchone() == ("e",)
    other.close()
    connection.close()


def test_nothing_is_written_beside_a_gallery_that_is_being_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed at that moment leaves one file at most, which the next one deletes."""
    seen: set[str] = set()
    connect = sqlite3.connect

    class Watching(sqlite3.Connection):
        def execute(self, *arguments: object) -> sqlite3.Cursor:
            done = super().execute(*arguments)  # type: ignore[arg-type]
            seen.update(names_in(tmp_path))
            return done

    monkeypatch.setattr(sqlite3, "connect", lambda path, **options: connect(path, factory=Watching, **options))
    create_file(tmp_path / "g.sal", {})
    (temporary,) = seen
    assert temporary.startswith(".g.sal.")
    assert temporary.endswith(".partial")
