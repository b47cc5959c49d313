"""A backup holds one moment of a gallery that others change meanwhile; a restored gallery is that of the backup."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from sal_runtime.errors import InputError, SalError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem
from sal_runtime.gallery.store.crops import write_crop
from sal_runtime.gallery.store.file import crop_path, crops_folder
from sal_runtime.images.folder import content_hash
from sal_service.galleries import backup as module
from sal_service.galleries.backup import back_up, backups_of, moment_of
from sal_service.galleries.copying import CopiedPictures
from sal_service.galleries.restore import find_backup, restore
from tests.runtime.gallery.test_gallery import fake_bundle, unit_vectors
from tests.service.galleries.busy_writer import State, apply, changes, sha256

REPOSITORY = Path(__file__).parents[3]
ONE = {"crop:door/1.jpg": "one"}
TWO = {"crop:door/2.jpg": "two"}
THREE = {"crop:yard/3.jpg": "three"}


@pytest.fixture
def yard(tmp_path: Path) -> Path:
    """A gallery of two items with pictures."""
    path = tmp_path / "yard.sal"
    with Gallery.create(path, fake_bundle()) as gallery:
        apply(gallery, ONE | TWO, [])
    return path


def change(path: Path, added: State, gone: list[str] | None = None) -> None:
    with Gallery.open(path, "w") as gallery:
        apply(gallery, added, gone or [])


def pictures(path: Path) -> State:
    folder = crops_folder(path)
    return {f"crop:{file.relative_to(folder)}": file.read_text() for file in folder.rglob("*") if file.is_file()}


def known(path: Path) -> dict[str, str | None]:
    with Gallery.open(path) as gallery:
        assert gallery.verify() == []
        return {item.uri: item.content_hash for item in gallery.all_items()}


def check_holds(path: Path, state: State) -> None:
    assert known(path) == {uri: sha256(content) for uri, content in state.items()}
    assert pictures(path) == state


def picture(backup: Path, uri: str) -> Path:
    path = crop_path(backup, uri)
    assert path is not None
    return path


@contextmanager
def busy_writer(path: Path, seed: int) -> Iterator[None]:
    command = [sys.executable, "-m", "tests.service.galleries.busy_writer", str(path), str(seed)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        yield
        assert process.poll() is None  # it wrote all the time
        process.stdin.write(b"stop\n")
        process.stdin.close()
        assert process.wait() == 0


def states(seed: int, count: int) -> list[State]:
    """What the gallery of a busy writer holds after each of its changes."""
    state: State = {}
    found = [state]
    for added, gone in islice(changes(seed), count):
        state = {uri: content for uri, content in (state | added).items() if uri not in gone}
        found.append(state)
    return found


@pytest.mark.parametrize("seed", range(3))
def test_a_backup_during_changes_is_that_of_one_moment(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "yard.sal"
    Gallery.create(path, fake_bundle()).close()
    with busy_writer(path, seed):
        reports = [back_up(path, tmp_path / "backups") for _ in range(4)]
    hashes = [{uri: sha256(content) for uri, content in state.items()} for state in states(seed, 20_000)]
    at = [hashes.index(known(report.path)) for report in reports]  # raises ValueError for what was never there
    assert at == sorted(at)
    assert at[-1] > at[0]
    for report in reports:
        items = known(report.path)
        found = {uri: sha256(content) for uri, content in pictures(report.path).items()}
        assert {uri for uri in items if found.get(uri) != items[uri]} == set(report.differing)
        assert found.keys() == items.keys()
        assert (report.items, report.pictures) == (len(items), len(found))
        assert len(report.differing) <= 5  # one change replaces no more


def test_the_gallery_is_held_still_for_the_last_pictures_only(
    yard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an item could be removed, with its picture, after the items were read and before its picture is copied."""
    held, bring = [], CopiedPictures.bring

    def watched(*arguments: Any) -> None:
        with closing(sqlite3.connect(yard, timeout=0, isolation_level=None)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
                held.append(False)
            except sqlite3.OperationalError:
                held.append(True)
        bring(*arguments)

    monkeypatch.setattr(CopiedPictures, "bring", watched)
    check_holds(back_up(yard, tmp_path / "backups").path, ONE | TWO)
    assert held == [False, True]


def test_what_has_not_changed_is_linked(yard: Path, tmp_path: Path) -> None:
    first = back_up(yard, tmp_path / "backups")
    change(yard, THREE | {"crop:door/1.jpg": "new"})
    second = back_up(yard, tmp_path / "backups")
    assert (first.linked, second.pictures, second.linked) == (0, 3, 1)
    assert picture(first.path, "crop:door/2.jpg").samefile(picture(second.path, "crop:door/2.jpg"))
    assert not picture(first.path, "crop:door/2.jpg").samefile(picture(yard, "crop:door/2.jpg"))
    check_holds(first.path, ONE | TWO)
    check_holds(second.path, {"crop:door/1.jpg": "new"} | TWO | THREE)


def test_a_picture_that_has_rotted_in_the_backup_before_is_copied_anew(yard: Path, tmp_path: Path) -> None:
    first = back_up(yard, tmp_path / "backups")
    picture(first.path, "crop:door/1.jpg").write_text("0ne")
    second = back_up(yard, tmp_path / "backups")
    assert second.linked == 1
    check_holds(second.path, ONE | TWO)
    assert picture(first.path, "crop:door/1.jpg").read_text() == "0ne"


def test_pictures_that_no_item_has_are_left_out_and_items_without_pictures_kept(yard: Path, tmp_path: Path) -> None:
    write_crop(yard, "crop:door/orphan.jpg", b"orphan")
    picture(yard, "crop:door/2.jpg").unlink()
    with Gallery.open(yard, "w") as gallery:
        gallery.add([GalleryItem("/elsewhere/4.jpg", content_hash="4" * 64)], unit_vectors(1))
    report = back_up(yard, tmp_path / "backups")
    assert (report.items, report.pictures, report.differing) == (3, 1, ())
    assert pictures(report.path) == ONE


def test_a_picture_that_its_item_does_not_know_is_told(
    yard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROUND_SECONDS", 0)
    write_crop(yard, "crop:door/1.jpg", b"replaced, and its writer was killed")
    assert back_up(yard, tmp_path / "backups").differing == ("crop:door/1.jpg",)


def test_a_picture_that_is_being_replaced_is_waited_for(
    yard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_crop(yard, "crop:door/1.jpg", b"new")
    monkeypatch.setattr(module.time, "sleep", lambda _: change(yard, {"crop:door/1.jpg": "new"}))
    report = back_up(yard, tmp_path / "backups")
    assert report.differing == ()
    check_holds(report.path, {"crop:door/1.jpg": "new"} | TWO)


def test_a_backup_is_for_its_user_only_and_has_nothing_beside_it(yard: Path, tmp_path: Path) -> None:
    report = back_up(yard, tmp_path / "backups")
    assert {(tmp_path / "backups").stat().st_mode & 0o777, report.path.parent.stat().st_mode & 0o777} == {0o700}
    assert {file.stat().st_mode & 0o777 for file in crops_folder(report.path).rglob("*.jpg")} == {0o600}
    assert sorted(os.listdir(report.path.parent)) == ["yard.sal", "yard.sal.crops"]
    assert os.listdir(tmp_path / "backups") == [report.path.parent.name]


def test_old_backups_are_deleted_when_the_new_one_is_there(yard: Path, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    first, second = back_up(yard, folder), back_up(yard, folder)
    old = first.path.parent.rename(folder / "yard.sal-20251231T235959.999Z")
    (folder / "other.sal-20200101T000000.000Z").mkdir()
    third = back_up(yard, folder, keep_seconds=3600)
    assert third.deleted == (old,)
    assert backups_of("yard.sal", folder) == [second.path, third.path]
    assert (folder / "other.sal-20200101T000000.000Z").exists()
    check_holds(third.path, ONE | TWO)
    assert moment_of(third.path) == pytest.approx(third.moment, abs=1e-3)


def test_removals_reach_earlier_backups_to_the_last_byte(yard: Path, tmp_path: Path) -> None:
    first = back_up(yard, tmp_path / "backups")
    change(yard, {"crop:door/2.jpg": "new two"} | THREE, ["crop:door/1.jpg"])
    second = back_up(yard, tmp_path / "backups", erase_removed=True)
    assert second.erased == 2
    check_holds(first.path, {})
    assert b"door/1.jpg" not in first.path.read_bytes()
    check_holds(second.path, {"crop:door/2.jpg": "new two"} | THREE)
    with Gallery.open(first.path) as gallery:
        assert gallery.held_back([sha256("one")])
    assert back_up(yard, tmp_path / "backups", erase_removed=True).erased == 0


def test_what_was_removed_before_is_in_no_byte_of_a_backup(yard: Path, tmp_path: Path) -> None:
    with sqlite3.connect(yard) as reader:  # keeps the log with the removed row
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM item").fetchone()
        change(yard, {})
        with Gallery.open(yard, "w") as gallery:
            gallery._connection.execute("PRAGMA busy_timeout = 0")
            with pytest.raises(SalError, match="still reads the old state"):
                gallery.remove(["crop:door/1.jpg"])
        report = back_up(yard, tmp_path / "backups")
    reader.close()
    assert b"door/1.jpg" not in report.path.read_bytes()


def test_a_failed_backup_leaves_earlier_ones(yard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "backups"
    first = back_up(yard, folder)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sal_service.galleries.copying.shutil.copyfile", fail)
    change(yard, THREE)
    with pytest.raises(SalError, match="No space left"):
        back_up(yard, folder, keep_seconds=0)
    assert os.listdir(folder) == [first.path.parent.name]
    change(yard, {})


def test_what_a_killed_backup_left_is_deleted_by_the_next(yard: Path, tmp_path: Path) -> None:
    left = tmp_path / "backups" / f"yard.sal{module.UNFINISHED}"
    (left / "yard.sal.crops").mkdir(parents=True)
    back_up(yard, tmp_path / "backups")
    assert not left.exists()


@pytest.mark.slow
def test_killed_backups_leave_whole_ones_only(tmp_path: Path) -> None:
    path, folder, chance = tmp_path / "yard.sal", tmp_path / "backups", random.Random(0)
    Gallery.create(path, fake_bundle()).close()
    command = [sys.executable, "-m", "sal_cli", "gallery", "backup", path, "--to", folder, "--erase-removed"]
    with busy_writer(path, seed=7):
        for _ in range(12):
            with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL) as process:
                time.sleep(0.5 + chance.random())
                process.kill()
        report = back_up(path, folder)
    hashes = [{uri: sha256(content) for uri, content in state.items()} for state in states(7, 50_000)]
    assert known(report.path) in hashes
    assert len(backups_of("yard.sal", folder)) > 1
    now = known(report.path)
    for backup in backups_of("yard.sal", folder):  # pictures go before items do, and the next backup goes on
        then, left = known(backup), pictures(backup)
        assert left.keys() <= then.keys()
        assert all(now.get(uri) != found for uri, found in then.items() if uri not in left)
    back_up(path, folder, erase_removed=True)
    for backup in backups_of("yard.sal", folder):
        assert known(backup).keys() == pictures(backup).keys()


def test_a_damaged_gallery_is_not_backed_up(yard: Path, tmp_path: Path) -> None:
    with sqlite3.connect(yard) as connection:
        connection.execute("UPDATE item SET checksum = checksum + 1 WHERE uri = 'crop:door/1.jpg'")
    connection.close()
    with pytest.raises(SalError, match=r"yard\.sal: is damaged.*its vector has changed"):
        back_up(yard, tmp_path / "backups")
    assert os.listdir(tmp_path / "backups") == []


def test_backups_of_two_galleries_of_one_name_do_not_mix(yard: Path, tmp_path: Path) -> None:
    back_up(yard, tmp_path / "backups")
    (tmp_path / "other").mkdir()
    Gallery.create(tmp_path / "other" / "yard.sal", fake_bundle()).close()
    with pytest.raises(InputError, match="holds backups of another gallery"):
        back_up(tmp_path / "other" / "yard.sal", tmp_path / "backups", keep_seconds=0)


def test_one_backup_at_a_time(yard: Path, tmp_path: Path) -> None:
    with module._alone_in(tmp_path), pytest.raises(InputError, match="another process makes a backup"):
        back_up(yard, tmp_path)


def test_a_restored_gallery_is_that_of_the_backup(yard: Path, tmp_path: Path) -> None:
    report = back_up(yard, tmp_path / "backups")
    for place in (tmp_path / "backups", report.path.parent, report.path):
        target = tmp_path / f"restored{len(str(place))}.sal"
        restored = restore(place, target)
        assert (restored.source, restored.items, restored.pictures) == (report.path, 2, 2)
        check_holds(target, ONE | TWO)
        assert not picture(target, "crop:door/1.jpg").samefile(picture(report.path, "crop:door/1.jpg"))
    check_holds(report.path, ONE | TWO)
    assert not [file for file in os.listdir(tmp_path) if file.startswith(".") or file.endswith(("-lock", "-wal"))]


def test_a_gallery_that_is_there_is_replaced_on_demand_only(yard: Path, tmp_path: Path) -> None:
    back_up(yard, tmp_path / "backups")
    change(yard, {"crop:door/1.jpg": "new"} | THREE)
    with pytest.raises(InputError, match="exists already"):
        restore(tmp_path / "backups", yard)
    check_holds(yard, {"crop:door/1.jpg": "new"} | TWO | THREE)
    restored = restore(tmp_path / "backups", yard, replace=True)
    assert (restored.removed, restored.unknown_removals) == (0, False)
    check_holds(yard, ONE | TWO)


def test_what_was_removed_since_stays_removed(yard: Path, tmp_path: Path) -> None:
    back_up(yard, tmp_path / "backups")
    change(yard, THREE, ["crop:door/1.jpg"])
    change(yard, {}, ["crop:yard/3.jpg"])
    restored = restore(tmp_path / "backups", yard, replace=True)
    assert (restored.items, restored.removed, restored.pictures) == (1, 1, 1)
    check_holds(yard, TWO)
    with Gallery.open(yard) as gallery:
        assert gallery.held_back([sha256("one"), sha256("two"), sha256("three")]) == {sha256("one"), sha256("three")}
    assert restore(tmp_path / "backups", yard, replace=True, with_removed=True).removed == 0
    check_holds(yard, ONE | TWO)


def test_a_gallery_that_others_have_open_is_not_replaced(yard: Path, tmp_path: Path) -> None:
    back_up(yard, tmp_path / "backups")
    change(yard, THREE)
    with Gallery.open(yard, "w"), pytest.raises(InputError, match="is writing it"):
        restore(tmp_path / "backups", yard, replace=True)
    with Gallery.open(yard), pytest.raises(InputError, match="another process reads it"):
        restore(tmp_path / "backups", yard, replace=True)
    check_holds(yard, ONE | TWO | THREE)
    restore(tmp_path / "backups", yard, replace=True)
    check_holds(yard, ONE | TWO)


def test_a_damaged_gallery_is_replaced_and_it_is_told_what_that_means(yard: Path, tmp_path: Path) -> None:
    back_up(yard, tmp_path / "backups")
    yard.write_bytes(b"zero" * 10_000)
    assert restore(tmp_path / "backups", yard, replace=True).unknown_removals
    check_holds(yard, ONE | TWO)


def test_a_restore_that_ends_early_loses_nothing_of_the_gallery(
    yard: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(yard, tmp_path / "backups")
    change(yard, THREE, ["crop:door/1.jpg"])

    def fail(_: Path) -> list[Path]:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr("sal_service.galleries.restore.side_files", fail)  # the pictures are there, the file is not
        with pytest.raises(SalError, match="Input/output error"):
            restore(tmp_path / "backups", yard, replace=True, with_removed=True)
    assert known(yard).keys() == (TWO | THREE).keys()
    assert pictures(yard).items() > (TWO | THREE).items()
    restore(tmp_path / "backups", yard, replace=True)
    check_holds(yard, TWO)


def test_a_damaged_backup_replaces_nothing(yard: Path, tmp_path: Path) -> None:
    report = back_up(yard, tmp_path / "backups")
    with sqlite3.connect(report.path) as connection:
        connection.execute("UPDATE item SET checksum = checksum + 1 WHERE uri = 'crop:door/1.jpg'")
    connection.close()
    change(yard, THREE)
    with pytest.raises(SalError, match="is damaged"):
        restore(tmp_path / "backups", yard, replace=True)
    check_holds(yard, ONE | TWO | THREE)


def test_pictures_that_have_rotted_in_a_backup_are_told(yard: Path, tmp_path: Path) -> None:
    report = back_up(yard, tmp_path / "backups")
    picture(report.path, "crop:door/1.jpg").write_text("0ne")
    restored = restore(report.path, tmp_path / "restored.sal")
    assert restored.differing == ("crop:door/1.jpg",)
    assert content_hash(str(picture(tmp_path / "restored.sal", "crop:door/2.jpg"))) == sha256("two")


def test_a_backup_on_a_read_only_disk_is_restored(yard: Path, tmp_path: Path) -> None:
    report = back_up(yard, tmp_path / "backups")
    mounted = ["mount", "--bind", "-o", "ro", str(report.path.parent), str(report.path.parent)]
    if subprocess.run(mounted, check=False, capture_output=True).returncode:
        pytest.skip("needs a read-only file system, and this user may not mount one")
    try:
        restore(report.path.parent, tmp_path / "restored.sal")
    finally:
        subprocess.run(["umount", "--lazy", report.path.parent], check=True)
    check_holds(tmp_path / "restored.sal", ONE | TWO)


@pytest.mark.parametrize("names", [[], ["a.sal", "b.sal"]])
def test_a_folder_that_does_not_say_which_backup(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        Gallery.create(tmp_path / name, fake_bundle()).close()
        back_up(tmp_path / name, tmp_path / "backups")
    (tmp_path / "backups").mkdir(exist_ok=True)
    with pytest.raises(InputError, match=r"holds backups of a\.sal, b\.sal" if names else "is no backup"):
        find_backup(tmp_path / "backups")
