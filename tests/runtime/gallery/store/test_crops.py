"""Pictures that a gallery keeps itself: they go with their items, whoever is killed when, and nothing else goes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sal_runtime.errors import SalError
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.items import GalleryItem, ItemFilter
from sal_runtime.gallery.store import crops
from sal_runtime.gallery.store.file import crop_path, crops_folder
from sal_runtime.gallery.store.whole import delete_gallery
from tests.runtime.gallery.test_gallery import fake_bundle, unit_vectors

URIS = ["crop:door/2026-11-28/a.jpg", "crop:door/2026-11-28/b.jpg", "crop:yard/2026-11-29/c.jpg"]
VECTOR = unit_vectors(1)


def filled(path: Path, uris: list[str] = URIS) -> Gallery:
    gallery = Gallery.create(path, fake_bundle())
    for number, uri in enumerate(uris):
        crops.write_crop(gallery.path, uri, uri.encode())
        gallery.add([GalleryItem(uri, camera=uri[5:9], captured_at=float(number))], VECTOR)
    return gallery


def pictures(path: Path) -> set[str]:
    folder = crops_folder(path)
    return {found.relative_to(folder).as_posix() for found in folder.rglob("*") if found.is_file()}


def test_a_picture_is_found_by_its_item_also_after_gallery_and_folder_moved(tmp_path: Path) -> None:
    with filled(tmp_path / "yard.sal"):
        pass
    (tmp_path / "there").mkdir()
    for name in ("yard.sal", "yard.sal.crops"):
        (tmp_path / name).rename(tmp_path / "there" / name)
    with Gallery.open(tmp_path / "there" / "yard.sal") as gallery:
        for item in gallery.all_items():
            assert gallery.image_path(item).read_bytes() == item.uri.encode()


def test_removed_items_take_their_pictures_and_empty_folders_with_them(tmp_path: Path) -> None:
    with filled(tmp_path / "yard.sal") as gallery:
        gallery.remove([URIS[0]])
        assert pictures(gallery.path) == {"door/2026-11-28/b.jpg", "yard/2026-11-29/c.jpg"}
        gallery.remove_where(ItemFilter(cameras=["yard"]))
        assert not (crops_folder(gallery.path) / "yard").exists()
        gallery.purge(before=10.0)
        assert not crops_folder(gallery.path).exists()


@pytest.mark.parametrize(
    "uri", ["crop:../kept.jpg", "crop:/etc/kept", "crop:a/../../kept.jpg", "crop:", "crop:./.", "kept.jpg"]
)
def test_no_uri_leads_out_of_the_folder(tmp_path: Path, uri: str) -> None:
    kept = tmp_path / "kept.jpg"
    kept.write_bytes(b"not the gallery's")
    with filled(tmp_path / "yard.sal") as gallery:
        assert crop_path(gallery.path, uri) is None
        with pytest.raises(ValueError, match="names no picture"):
            crops.write_crop(gallery.path, uri, b"")
        gallery.add([GalleryItem(uri)], VECTOR)
        gallery.remove([uri])
    assert kept.exists()
    assert len(pictures(tmp_path / "yard.sal")) == len(URIS)


def test_a_picture_that_cannot_be_deleted_keeps_its_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with filled(tmp_path / "yard.sal") as gallery:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "denied")))
            with pytest.raises(SalError, match="denied"):
                gallery.remove([URIS[0]])
        assert len(gallery) == len(URIS)
        assert URIS[0] in gallery.find(URIS)


def test_pictures_without_an_item_are_swept_and_all_others_stay(tmp_path: Path) -> None:
    with filled(tmp_path / "yard.sal") as gallery:
        crops.write_crop(gallery.path, "crop:door/2026-11-30/orphan.jpg", b"x")
        half_written = crops_folder(gallery.path) / "door" / "2026-11-28" / "d.jpg.partial"
        half_written.write_bytes(b"x")
        assert crops.sweep_crops(gallery.path, gallery.find) == 2
        assert pictures(gallery.path) == {uri.removeprefix("crop:") for uri in URIS}
        assert not (crops_folder(gallery.path) / "door" / "2026-11-30").exists()


def test_a_deleted_gallery_and_a_new_one_in_its_place_have_no_pictures(tmp_path: Path) -> None:
    path = tmp_path / "yard.sal"
    with filled(path):
        pass
    delete_gallery(path)
    assert list(tmp_path.iterdir()) == []
    with filled(path):
        pass
    path.unlink()
    with Gallery.create(path, fake_bundle()):
        assert pictures(path) == set()


def test_a_removal_that_is_killed_leaves_no_picture_of_what_was_removed(tmp_path: Path) -> None:
    """Killed between the last picture and the end of the transaction: the item is there, its picture is gone."""
    with filled(tmp_path / "yard.sal"):
        pass
    program = (
        "import os, sys\n"
        "from sal_runtime.gallery.gallery import Gallery\n"
        "from sal_runtime.gallery.store import crops\n"
        "delete = crops.delete_crops\n"
        "crops.delete_crops = lambda *given: (delete(*given), os._exit(9))\n"
        "Gallery.open(sys.argv[1], 'w').purge(before=10.0)\n"
    )
    place = str(tmp_path / "yard.sal")
    killed = subprocess.run([sys.executable, "-c", program, place], cwd=os.getcwd(), check=False)
    assert killed.returncode == 9
    assert pictures(tmp_path / "yard.sal") == set()
    with Gallery.open(place, "w") as gallery:
        assert gallery.purge(before=10.0) == len(URIS)
