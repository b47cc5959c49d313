"""Removing images by name, condition and age: what goes, what a dry run leaves, and which image files are deleted."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sal_cli.manage import import_into, reindex_gallery, update_gallery
from sal_cli.removal import purge_images, remove_images
from sal_runtime.errors import InputError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import ItemFilter
from sal_runtime.gallery.parquet import export_gallery
from sal_runtime.gallery.update import Capture
from tests.runtime.gallery_images import IMAGE_URIS, make_folder, write_image
from tests.runtime.tiny_bundle import make_tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def folder(tmp_path: Path, bundle: Path) -> Path:
    """A folder that is a gallery."""
    made = make_folder(tmp_path / "crops")
    update_gallery(made, [], bundle, "cpu")
    return made


@pytest.fixture
def place(folder: Path, bundle: Path) -> Path:
    """A gallery file with the same images, all of one camera."""
    path = folder.with_name("yard.sal")
    update_gallery(path, [folder], bundle, "cpu", capture=Capture("door", "mtime"))
    return path


def held(place: Path) -> list[str]:
    with Gallery.open(place.with_name("crops.sal") if place.is_dir() else place) as gallery:
        return [item.uri for item in gallery.all_items()]


def test_a_dry_run_names_what_would_go_and_changes_nothing(place: Path, folder: Path) -> None:
    before = place.read_bytes(), held(place)
    removal = remove_images(place, [], ItemFilter(cameras=["door", "roof"]), dry_run=True, delete_files=True)
    assert list(removal.uris) == held(place) == sorted(str(folder / uri) for uri in IMAGE_URIS)
    assert removal.files == removal.uris
    assert removal.unknown == ("no camera 'roof'; there are: door",)
    assert (place.read_bytes(), held(place)) == before
    assert all(Path(uri).exists() for uri in removal.uris)


def test_images_are_named_by_patterns(place: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert remove_images(folder, ["cam 1/deep/*"], ItemFilter(), dry_run=True).uris == IMAGE_URIS[1:3]
    removed = remove_images(
        place, ["crops/cam 1/*.bmp", "crops/red.jpg", "crops/re*", str(folder / "g*")], ItemFilter()
    )
    assert sorted(removed.uris) == [str(folder / uri) for uri in ("cam 1/blue.bmp", "green.PNG", "red.jpg")]
    left = held(place)
    with pytest.raises(InputError, match=r"holds no crops/red\*, crops/n\?\.jpg; nothing was removed"):
        remove_images(place, ["crops/cam*", "crops/red*", "crops/n?.jpg"], ItemFilter())
    assert held(place) == left != []


def test_a_name_that_looks_like_a_pattern_is_a_name_first(bundle: Path, tmp_path: Path) -> None:
    images = [write_image(tmp_path / "x" / name, (number, 0, 0)) for number, name in enumerate(("[a].jpg", "a.jpg"))]
    update_gallery(tmp_path / "y.sal", images, bundle, "cpu")
    removed = remove_images(tmp_path / "y.sal", [str(images[0])], ItemFilter())
    assert removed.uris == (str(images[0]),)


@pytest.mark.parametrize("age", ["30d", "0m"])
def test_purge_works_on_a_folder(age: str, folder: Path) -> None:
    gone = IMAGE_URIS if age == "0m" else ()
    assert purge_images(folder, age, dry_run=True).uris == gone
    assert purge_images(folder, age, delete_files=True).files == tuple(str(folder / uri) for uri in gone)
    assert held(folder) == [uri for uri in IMAGE_URIS if uri not in gone]
    assert all((folder / uri).exists() == (uri not in gone) for uri in IMAGE_URIS)


def test_purge_takes_images_older_than_an_age(place: Path, folder: Path, bundle: Path) -> None:
    month = time.time() - 40 * 86400
    old = write_image(folder / "old.jpg", (1, 2, 3))
    os.utime(old, (month, month))
    update_gallery(place, [old], bundle, "cpu", capture=Capture(captured_at="mtime"))
    assert purge_images(place, "30d").uris == (str(old),)
    assert old.exists()


@pytest.mark.parametrize("spelling", ["cam 1/blue.bmp", "{folder}/cam 1/blue.bmp", "{link}/cam 1/blue.bmp"])
def test_an_image_of_a_folder_is_named_by_uri_or_path(spelling: str, folder: Path) -> None:
    link = folder.with_name("link")
    link.symlink_to(folder)
    uris = [spelling.format(folder=folder, link=link)]
    assert remove_images(folder, uris, ItemFilter()).uris == ("cam 1/blue.bmp",)
    assert "cam 1/blue.bmp" not in held(folder)
    with pytest.raises(InputError, match="nothing was removed"):
        remove_images(folder, ["red.jpg", *uris], ItemFilter())
    assert "red.jpg" in held(folder)


def test_only_the_files_that_the_gallery_knows_are_deleted(place: Path, folder: Path) -> None:
    changed, linked, gone = (folder / uri for uri in ("green.PNG", "red.jpg", "cam 1/white.webp"))
    write_image(changed, (9, 9, 9))
    linked.rename(folder / "target.jpg")
    linked.symlink_to(folder / "target.jpg")
    gone.unlink()
    removal = remove_images(place, [], ItemFilter(cameras=["door"]), delete_files=True)
    assert len(removal.uris) == 6
    assert held(place) == []
    assert {Path(path): reason.split()[0] for path, reason in removal.kept} == {changed: "does", linked: "is"}
    assert len(removal.files) == 3
    assert not any(Path(path).exists() for path in removal.files)
    assert changed.exists()
    assert (folder / "target.jpg").exists()


def test_what_was_removed_does_not_come_back_until_it_is_asked_for(place: Path, folder: Path, bundle: Path) -> None:
    gone = str(folder / "red.jpg")
    remove_images(place, [gone], ItemFilter())
    (folder / "red.jpg").rename(folder / "renamed.jpg")
    report = update_gallery(place, [folder], bundle, "cpu")
    assert (report.added, report.held_back) == (0, 1)
    write_image(folder / "green.PNG", (1, 1, 1))
    (folder / "renamed.jpg").replace(folder / "cam 1" / "blue.bmp")  # what is known there is gone, too
    report = update_gallery(place, [folder], bundle, "cpu")
    assert (report.added, report.changed, report.removed, report.held_back) == (0, 1, 1, 1)
    assert str(folder / "cam 1" / "blue.bmp") not in held(place)
    report = update_gallery(place, [folder], bundle, "cpu", forget=True)
    assert (report.added, report.held_back) == (1, 0)
    assert update_gallery(place, [folder], bundle, "cpu").unchanged == 5


def test_what_was_deleted_from_a_folder_may_come_back(folder: Path, bundle: Path) -> None:
    (folder / "red.jpg").rename(folder.with_name("away.jpg"))
    assert update_gallery(folder, [], bundle, "cpu").removed == 1
    folder.with_name("away.jpg").rename(folder / "red.jpg")
    assert update_gallery(folder, [], bundle, "cpu").added == 1


def test_a_folder_of_removed_images_is_nothing_to_search(folder: Path, bundle: Path) -> None:
    purge_images(folder, "0m")
    with pytest.raises(InputError, match="6 images were removed from its gallery; set forget"):
        update_gallery(folder, [], bundle, "cpu")


def test_tombstones_outlive_reindex_and_hold_imports_back(place: Path, bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    parquet, gone = tmp_path / "g.parquet", held(place)[0]
    with Gallery.open(place) as gallery:
        assert export_gallery(gallery, parquet) == 6
    remove_images(place, [gone], ItemFilter())
    assert import_into(str(place), [parquet], bundle) == 5
    assert gone not in held(place)
    other = make_tiny_bundle(tmp_path / "other", name="other", seed=1)
    reindex_gallery(place, other, "cpu")
    assert update_gallery(place, [Path(gone)], other, "cpu").held_back == 1


def test_a_tombstone_holds_neither_the_name_nor_the_hash_of_the_file(place: Path) -> None:
    with Gallery.open(place) as gallery:
        item = gallery.all_items()[0]
    remove_images(place, [item.uri], ItemFilter())
    assert item.content_hash is not None
    for needle in (Path(item.uri).name.encode(), item.content_hash.encode(), bytes.fromhex(item.content_hash)):
        assert needle not in place.read_bytes()
