"""Gallery files outlive killed processes, full disks, and whoever else wants to write them."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sal_runtime.errors import InputError, SalError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.reindex import reindex
from sal_runtime.gallery.store.file import log_path
from sal_runtime.gallery.store.whole import side_files
from tests.runtime.gallery.test_gallery import contents, fake_bundle, filled, unit_vectors
from tests.runtime.gallery_contents import stored_vectors
from tests.torture.clean_process import CLEAN
from tests.torture.gallery_torture import Torture
from tests.torture.torture_model import Pool, bundle_of

FORK = multiprocessing.get_context("fork")


@pytest.mark.slow
def test_killed_writers_lose_nothing_and_leave_nothing(tmp_path: Path) -> None:
    """Of processes, not of power: what the kernel has not yet written is not lost here.

    `python -m tests.torture.gallery_torture` kills as many as it is told.
    """
    torture = Torture(tmp_path, seed=0)
    for number in range(80):
        torture.round(number)
    assert torture.counts["rounds"] == 80
    met_a_writer = sum(count for what, count in torture.counts.items() if what.startswith("killed in"))
    assert met_a_writer > 20  # on a slow machine, those of the other rounds die before they write


def try_to_write(path: Path, answers: Any) -> None:
    try:
        Gallery.open(path, "w").close()
        answers.send("opened")
    except InputError as error:
        answers.send(str(error))


def test_one_writer_at_a_time_under_any_name(tmp_path: Path) -> None:
    path, link = tmp_path / "g.sal", tmp_path / "link.sal"
    filled(path, 3)
    link.symlink_to(path)
    receiver, sender = CLEAN.Pipe(duplex=False)

    def answer(name: Path) -> str:
        process = CLEAN.Process(target=try_to_write, args=(name, sender))
        process.start()
        text = str(receiver.recv())
        process.join()
        return text

    with Gallery.open(path, "w"):
        for name in (path, link):
            assert f"process {os.getpid()} is writing it" in answer(name)
            with pytest.raises(InputError, match=f"process {os.getpid()} is writing it"):
                Gallery.open(name, "w")
    assert answer(link) == answer(path) == "opened"


def write_and_close(gallery: Gallery, answers: Any) -> None:
    """What a forked child may try with the gallery of its parent."""
    try:
        gallery.remove(["00000.jpg"])
        answers.send("written")
    except InputError as error:
        answers.send(str(error))
    gallery.close()
    answers.send("closed")


def test_a_forked_child_does_not_write_and_leaves_the_right_to_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "g.sal"
    filled(path, 3)
    receiver, sender = FORK.Pipe(duplex=False)
    with Gallery.open(path, "w") as gallery:
        child = FORK.Process(target=write_and_close, args=(gallery, sender))
        child.start()
        assert "open it again in this process" in receiver.recv()
        assert receiver.recv() == "closed"
        child.join()
        with pytest.raises(InputError, match=f"process {os.getpid()} is writing it"):
            Gallery.open(path, "w")
        assert gallery.remove(["00000.jpg"]) == 1
        assert gallery.verify() == []


def open_and_fork(path: Path, answers: Any) -> None:
    gallery = Gallery.open(path, "w")
    if os.fork() == 0:
        answers.send((os.getpid(), gallery.is_writable))
        signal.pause()
    signal.pause()


def test_a_forked_child_does_not_keep_the_right_to_write(tmp_path: Path) -> None:
    path = tmp_path / "g.sal"
    filled(path, 3)
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=open_and_fork, args=(path, sender))
    process.start()
    child, child_may_write = receiver.recv()
    process.kill()
    process.join()
    try:
        assert not child_may_write
        with Gallery.open(path, "w") as gallery:
            assert gallery.remove(["00000.jpg"]) == 1
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_new_gallery_has_nothing_of_one_that_was_deleted(tmp_path: Path) -> None:
    """A killed writer left a log, and somebody deleted the gallery file but not the log."""
    path = tmp_path / "g.sal"
    with Gallery.create(path, fake_bundle()) as gallery:
        gallery.add([GalleryItem("old.jpg")], unit_vectors(1))
        log = path.with_name("g.sal-wal").read_bytes()
    path.unlink()
    path.with_name("g.sal-wal").write_bytes(log)
    for file in set(side_files(path)) - {log_path(path)}:
        file.write_bytes(b"left by a killed process")
    path.with_name(f".{path.name}.123-4.partial").write_bytes(
        b"left by a process that was killed while it made a gallery"
    )
    with Gallery.create(path, fake_bundle()) as gallery:
        assert len(gallery) == 0
        assert gallery.verify() == []
    assert list(tmp_path.iterdir()) == [path]


def test_a_closed_gallery_says_so(tmp_path: Path) -> None:
    filled(tmp_path / "g.sal", 3)
    gallery = Gallery.open(tmp_path / "g.sal")
    gallery.close()
    with pytest.raises(InputError, match="closed database"):
        len(gallery)


def test_a_full_file_costs_nothing_acknowledged(tmp_path: Path) -> None:
    """As a full disk, which test_a_full_disk_costs_nothing_acknowledged has where one can be mounted."""
    path = tmp_path / "g.sal"
    filled(path, 3000)
    with Gallery.open(path, "w") as gallery:
        before = stored_vectors(gallery)
        (pages,) = gallery._connection.execute("PRAGMA page_count").fetchone()
        gallery._connection.execute(f"PRAGMA max_page_count = {pages + 3}")
        new = [GalleryItem(f"new{number}.jpg") for number in range(20_000)]
        with pytest.raises(SalError, match="full") as error:
            gallery.add(new, unit_vectors(20_000, seed=1))
        assert "\n" not in str(error.value)
        for found, expected in zip(stored_vectors(gallery), before, strict=True):
            np.testing.assert_array_equal(found, expected)
        assert gallery.verify() == []
        gallery._connection.execute("PRAGMA max_page_count = 1000000")
        gallery.add(new, unit_vectors(20_000, seed=1))
        assert len(gallery) == 23_000
        assert gallery.verify() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Forty megabytes, to be filled for real."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount: a real disk is filled; test_a_full_file_... checks it without one")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_up(folder: Path) -> Path:
    """Take all the room that is left."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return folder / "filler"


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(SalError) as caught:
        work()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_full_disk_costs_nothing_acknowledged(small_disk: Path) -> None:
    path = small_disk / "g.sal"
    acknowledged: dict[str, bytes] = {}
    (small_disk / "reserve").write_bytes(bytes(8_000_000))
    with Gallery.create(path, fake_bundle()) as gallery:

        def add_for_ever() -> None:
            while True:
                uris = [f"{len(acknowledged) + item}.jpg" for item in range(1000)]
                vectors = unit_vectors(1000, seed=len(acknowledged))
                gallery.add([GalleryItem(uri) for uri in uris], vectors)
                acknowledged.update({uri: vector.tobytes() for uri, vector in zip(uris, vectors, strict=True)})

        assert "full" in refused(add_for_ever)
        assert len(acknowledged) > 1000
        assert contents(gallery) == acknowledged
        assert gallery.verify() == []
    filler = fill_up(small_disk)
    with Gallery.open(path, "w") as gallery:
        refused(lambda: gallery.add([GalleryItem(f"new {n}.jpg") for n in range(2000)], unit_vectors(2000)))
        assert contents(gallery) == acknowledged
        filler.unlink()
        (small_disk / "reserve").unlink()
        gallery.add([GalleryItem("after.jpg")], unit_vectors(1))
        assert len(gallery) == len(acknowledged) + 1
        gallery.remove(["after.jpg"])
        assert gallery.verify() == []
    with Gallery.open(path) as gallery:
        assert contents(gallery) == acknowledged


def test_a_gallery_is_made_whole_or_not_at_all(small_disk: Path) -> None:
    filler = fill_up(small_disk)
    refused(lambda: Gallery.create(small_disk / "g.sal", fake_bundle()))
    assert list(small_disk.iterdir()) == [filler]
    filler.unlink()
    Gallery.create(small_disk / "g.sal", fake_bundle()).close()


def test_a_disk_that_is_full_during_reindex_leaves_the_old_embeddings(small_disk: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    pool = Pool(tmp_path / "images")
    old, new = bundle_of(f"{1:064x}"), bundle_of(f"{2:064x}")
    uris = pool.uris[:1200]
    with Gallery.create(small_disk / "g.sal", old) as gallery:
        gallery.add([GalleryItem(uri) for uri in uris], pool.encoded(old.fingerprint)[:1200])
        gallery.erase()
        before = contents(gallery)
        filler = fill_up(small_disk)
        with filler.open("r+b") as file:
            file.truncate(max(0, filler.stat().st_size - 300_000))

        def run() -> object:
            return reindex(gallery, new, lambda images: pool.encode(new.fingerprint, images), "fp32")

        refused(run)
        assert contents(gallery) == before
        assert gallery.verify() == []
        filler.unlink()
        run()
        assert contents(gallery) == {uri: pool.vector(uri, new.fingerprint) for uri in uris}
        assert gallery.verify() == []


@pytest.fixture
def read_only_folder(tmp_path: Path) -> Iterator[Path]:
    """A gallery in a folder that even root cannot write to."""
    folder, seen = tmp_path / "folder", tmp_path / "seen"
    folder.mkdir()
    seen.mkdir()
    filled(folder / "g.sal", 50)
    command = ["mount", "--bind", str(folder), str(seen)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs the right to mount, as root may write anywhere; test_gallery.py pretends such a place")
    subprocess.run(["mount", "-o", "remount,ro,bind", str(seen)], check=True)
    yield seen
    subprocess.run(["umount", str(seen)], check=True)


def test_a_read_only_folder_is_for_reading(read_only_folder: Path) -> None:
    path = read_only_folder / "g.sal"
    with Gallery.open(path) as gallery:
        assert len(stored_vectors(gallery)[0]) == 50
        assert gallery.verify() == []
    assert "Read-only file system" in refused(lambda: Gallery.open(path, "w"))
    assert "Read-only file system" in refused(lambda: Gallery.create(read_only_folder / "new.sal", fake_bundle()))
