"""`sal gallery backup` and `restore` as an operator types them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.store.crops import write_crop
from tests.command_line import check_one_error, run_sal
from tests.runtime.gallery.test_gallery import fake_bundle
from tests.service.galleries.busy_writer import apply

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def yard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gallery of two images, in the current folder."""
    monkeypatch.chdir(tmp_path)
    with Gallery.create(tmp_path / "yard.sal", fake_bundle()) as gallery:
        apply(gallery, {"crop:door/1.jpg": "one", "crop:door/2.jpg": "two"}, [])
    return tmp_path / "yard.sal"


def test_from_a_backup_to_a_restored_gallery(yard: Path, capsys: Capsys) -> None:
    code, out, err = run_sal(capsys, "gallery", "backup", "yard.sal", "--to", "backups")
    assert (code, err) == (0, "")
    path, said = out.splitlines()
    assert Path(path).parent.parent.name == "backups"
    assert said == "holds 2 images and 2 pictures; verified"
    with Gallery.open(yard, "w") as gallery:
        gallery.remove(["crop:door/1.jpg"])
    code, out, err = run_sal(capsys, "gallery", "backup", "yard.sal", "--to", "backups", "--erase-removed")
    assert (code, err) == (0, "")
    assert out.splitlines()[1:] == [
        "holds 1 image and 1 picture, 1 of them unchanged since the backup before; verified",
        "erased 1 image from earlier backups",
    ]
    check_one_error(run_sal(capsys, "gallery", "restore", "backups", "yard.sal"), 2, "exists already", "(--replace)")
    code, out, err = run_sal(capsys, "gallery", "restore", "backups", "yard.sal", "--replace")
    assert (code, err) == (0, "")
    assert out.startswith("restored 1 image and 1 picture from ")


def test_json_and_ages(yard: Path, capsys: Capsys) -> None:
    run_sal(capsys, "gallery", "backup", "yard.sal", "--to", "backups")
    (first,) = Path("backups").iterdir()
    old = first.rename("backups/yard.sal-20200101T000000.000Z")
    code, out, _ = run_sal(capsys, "gallery", "backup", "yard.sal", "--to", "backups", "--keep", "30d", "--json")
    document = json.loads(out)
    assert (code, document["items"], document["deleted"]) == (0, 2, [str(old)])
    assert Path(document["path"]).is_file()
    code, out, _ = run_sal(capsys, "gallery", "restore", "backups", "new.sal", "--json")
    assert (code, json.loads(out)["removed"], json.loads(out)["items"]) == (0, 0, 2)
    check_one_error(
        run_sal(capsys, "gallery", "backup", "yard.sal", "--to", "backups", "--keep", "soon"), 2, "got the age 'soon'"
    )


def test_what_is_not_as_it_should_be_is_told(yard: Path, capsys: Capsys) -> None:
    write_crop(yard, "crop:door/1.jpg", b"replaced, and its writer was killed")
    code, out, err = run_sal(capsys, "gallery", "backup", "yard.sal", "--to", "backups")
    assert (code, err) == (1, "sal: not the picture that was added: crop:door/1.jpg\n")
    assert Path(out.splitlines()[0]).is_file()
    yard.write_bytes(b"damaged")
    code, out, err = run_sal(capsys, "gallery", "restore", "backups", "yard.sal", "--replace")
    assert code == 1
    assert "what was removed from it since the backup is back" in err
    shutil.rmtree("backups")
    check_one_error(run_sal(capsys, "gallery", "restore", "backups", "yard.sal", "--replace"), 2, "is no backup")
