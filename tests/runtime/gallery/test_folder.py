"""Galleries that follow a folder: what is encoded when, where the file is kept, what is skipped and said."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sal_runtime.arrays import Progress
from sal_runtime.bundle.bundle import Bundle, open_bundle
from sal_runtime.errors import InputError, SalError
from sal_runtime.gallery.comparing import Changes, UpdateReport
from sal_runtime.gallery.folder import folder_changes, gallery_path_for, sync_folder
from sal_runtime.gallery.gallery import Gallery
from sal_runtime.gallery.index import build_gallery_index
from sal_runtime.gallery.reindex import reindex
from sal_runtime.images.pixels import load_image
from tests.runtime.gallery_contents import stored_vectors
from tests.runtime.gallery_images import IMAGE_URIS, add_unreadable, make_folder, write_image
from tests.runtime.tiny_bundle import embed_image, make_tiny_bundle


class CountingEncoder:
    """The closed form of the tiny encoder, counting what it is asked for."""

    def __init__(self) -> None:
        self.images = 0

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.images += len(images)
        return embed_image(images)


def open_if_there(folder: Path) -> AbstractContextManager[Gallery | None]:
    path = gallery_path_for(folder)
    return Gallery.open(path) if path.exists() else nullcontext()


def sync(folder: Path, bundle: Bundle, encoder: Any, progress: Progress | None = None) -> UpdateReport:
    """Bring the gallery of a folder up to date as a search does."""
    with open_if_there(folder) as gallery:
        return sync_folder(folder, bundle, encoder, gallery=gallery, progress=progress)


def pending(folder: Path) -> Changes:
    with Gallery.open(gallery_path_for(folder)) as gallery:
        return folder_changes(folder, gallery)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return open_bundle(make_tiny_bundle(tmp_path_factory.mktemp("bundle") / "tiny"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "crops")


@pytest.fixture
def encoder() -> CountingEncoder:
    return CountingEncoder()


def counts(report: UpdateReport) -> tuple[int, int, int, int]:
    return report.added, report.changed, report.removed, report.unchanged


def stored(folder: Path) -> dict[str, NDArray[np.float32]]:
    with Gallery.open(gallery_path_for(folder)) as gallery:
        assert gallery.verify() == []
        ids, vectors = stored_vectors(gallery)
        return {item.uri: vector for item, vector in zip(gallery.items(ids), vectors, strict=True)}


def check_agrees(folder: Path, bundle: Bundle, uris: tuple[str, ...]) -> None:
    """The gallery holds these images with the embeddings of what is in the files now."""
    vectors = stored(folder)
    assert tuple(sorted(vectors)) == uris
    for uri, vector in vectors.items():
        expected = embed_image(load_image(folder / uri, bundle.image_spec)[None])[0]
        np.testing.assert_allclose(vector, expected, atol=1e-6)


def test_every_image_is_encoded_once(folder: Path, bundle: Bundle, encoder: CountingEncoder) -> None:
    steps: list[tuple[int, int]] = []
    report = sync(folder, bundle, encoder, lambda done, total: steps.append((done, total)))
    assert counts(report) == (6, 0, 0, 0)
    assert report.failed == ()
    assert steps[-1] == (6, 6)
    check_agrees(folder, bundle, IMAGE_URIS)
    assert (folder.parent / "crops.sal").is_file()

    assert counts(sync(folder, bundle, encoder)) == (0, 0, 0, 6)
    assert encoder.images == 6
    assert sorted(file.name for file in folder.parent.iterdir()) == ["crops", "crops.sal"]


def test_new_changed_and_removed_files_are_noticed(folder: Path, bundle: Bundle, encoder: CountingEncoder) -> None:
    sync(folder, bundle, encoder)
    write_image(folder / "new" / "grey.jpg", (99, 99, 99))
    write_image(folder / "red.jpg", (10, 200, 240), size=(40, 20))
    (folder / "green.PNG").unlink()
    changes = pending(folder)
    assert (changes.new, changes.changed, changes.removed) == (("new/grey.jpg",), ("red.jpg",), ("green.PNG",))

    assert counts(sync(folder, bundle, encoder)) == (1, 1, 1, 4)
    assert encoder.images == 6 + 2
    check_agrees(folder, bundle, tuple(sorted({*IMAGE_URIS, "new/grey.jpg"} - {"green.PNG"})))


def test_same_size_and_another_time_means_looking_at_the_content(
    folder: Path, bundle: Bundle, encoder: CountingEncoder
) -> None:
    sync(folder, bundle, encoder)
    os.utime(folder / "red.jpg", (1, 1))
    data = bytearray((folder / "cam 1" / "blue.bmp").read_bytes())
    data[-3:] = b"\xff\xff\xff"  # one pixel
    (folder / "cam 1" / "blue.bmp").write_bytes(bytes(data))

    assert counts(sync(folder, bundle, encoder)) == (0, 1, 0, 5)
    assert encoder.images == 6 + 1
    check_agrees(folder, bundle, IMAGE_URIS)
    with Gallery.open(gallery_path_for(folder)) as gallery:
        times = {item.uri: item.mtime_ns for item in gallery.all_items()}
    assert times["red.jpg"] == 1_000_000_000
    assert counts(sync(folder, bundle, encoder)) == (0, 0, 0, 6)


def test_unreadable_files_are_named_and_the_rest_is_there(
    folder: Path, bundle: Bundle, encoder: CountingEncoder
) -> None:
    names = add_unreadable(folder)
    for added, unchanged in ((6, 0), (0, 6)):  # they are named every time
        report = sync(folder, bundle, encoder)
        assert counts(report) == (added, 0, 0, unchanged)
        assert sorted(path for path, _ in report.failed) == sorted(str(folder / name) for name in names)
        reasons = {Path(path).name: reason for path, reason in report.failed}
        assert reasons["empty.jpg"] == "the file is empty"
        assert "truncated" in reasons["truncated.jpg"]
        assert "not a JPEG" in reasons["text.png"]
        assert "20000 x 20000" in reasons["huge.png"]
        assert reasons["dangling.jpg"] == "No such file or directory"
        assert all("\n" not in reason for reason in reasons.values())
    assert encoder.images == 6
    check_agrees(folder, bundle, IMAGE_URIS)


def test_an_image_that_breaks_is_forgotten_and_named(folder: Path, bundle: Bundle, encoder: CountingEncoder) -> None:
    sync(folder, bundle, encoder)
    old = stored(folder)["red.jpg"].tobytes()
    (folder / "red.jpg").write_bytes(b"oops")
    report = sync(folder, bundle, encoder)
    assert counts(report) == (0, 0, 1, 5)
    assert [path for path, _ in report.failed] == [str(folder / "red.jpg")]
    assert "red.jpg" not in stored(folder)
    assert old not in gallery_path_for(folder).read_bytes()


def test_names_that_are_not_text_are_reported(folder: Path, bundle: Bundle, encoder: CountingEncoder) -> None:
    (folder / "red.jpg").rename(folder / os.fsdecode(b"caf\xe9.jpg"))
    report = sync(folder, bundle, encoder)
    assert report.added == 5
    assert report.failed == ((f"{folder}/caf\\xe9.jpg", "its name is not valid UTF-8; rename it"),)


def test_what_is_no_file_is_not_waited_for(folder: Path, bundle: Bundle, encoder: CountingEncoder) -> None:
    os.mkfifo(folder / "pipe.jpg")
    report = sync(folder, bundle, encoder)
    assert report.failed == ((str(folder / "pipe.jpg"), "is not a file"),)


def test_links_are_followed_once(folder: Path, bundle: Bundle, encoder: CountingEncoder, tmp_path: Path) -> None:
    write_image(tmp_path / "elsewhere" / "linked.jpg", (1, 2, 3))
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (folder / "cam 1" / "round").symlink_to(folder)
    sync(folder, bundle, encoder)
    assert sorted(stored(folder)) == sorted((*IMAGE_URIS, "link/linked.jpg"))


def test_a_folder_that_cannot_be_entered_keeps_its_items(
    folder: Path, bundle: Bundle, encoder: CountingEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(folder, bundle, encoder)
    real_scandir = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", path)
        return real_scandir(path)

    monkeypatch.setattr(os, "scandir", scandir)
    report = sync(folder, bundle, encoder)
    assert report.failed == ((str(folder / "cam 1" / "deep"), "cannot be entered (Permission denied)"),)
    assert counts(report) == (0, 0, 0, 4)
    assert len(stored(folder)) == 6


def test_a_folder_without_images_is_refused(tmp_path: Path, bundle: Bundle, encoder: CountingEncoder) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image"):
        sync(tmp_path / "empty", bundle, encoder)
    assert not (tmp_path / "empty.sal").exists()
    with pytest.raises(InputError, match="no such folder"):
        sync(tmp_path / "missing", bundle, encoder)
    (tmp_path / "empty" / "a.jpg").write_bytes(b"")
    with pytest.raises(InputError, match=r"none of its images can be read: .*a\.jpg: the file is empty"):
        sync(tmp_path / "empty", bundle, encoder)


def test_emptied_folders_leave_nothing_in_the_gallery(folder: Path, bundle: Bundle, encoder: CountingEncoder) -> None:
    sync(folder, bundle, encoder)
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(InputError, match="holds no image"):
        sync(folder, bundle, encoder)
    assert stored(folder) == {}


def test_a_gallery_of_another_bundle_is_refused(
    folder: Path, bundle: Bundle, encoder: CountingEncoder, tmp_path: Path
) -> None:
    sync(folder, bundle, encoder)
    other = open_bundle(make_tiny_bundle(tmp_path / "other", name="other", seed=1))
    with pytest.raises(InputError, match="was made by bundle tiny") as error:
        sync(folder, other, encoder)
    assert "\n" not in str(error.value)


def test_a_gallery_of_its_own_is_not_taken_for_that_of_the_folder(
    folder: Path, bundle: Bundle, encoder: CountingEncoder
) -> None:
    Gallery.create(folder.parent / "crops.sal", bundle).close()
    with pytest.raises(InputError, match="does not follow the folder"):
        sync(folder, bundle, encoder)


def test_a_read_only_place_gets_its_gallery_in_the_cache(
    folder: Path, bundle: Bundle, encoder: CountingEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    access = os.access

    def read_only_place(path: Path, mode: int) -> bool:  # tests may run as root, who may write anywhere
        return access(path, mode) and not (mode == os.W_OK and Path(path) == folder.parent)

    monkeypatch.setattr(os, "access", read_only_place)
    sync(folder, bundle, encoder)
    assert sorted(file.name for file in folder.parent.iterdir()) == ["cache", "crops"]
    (kept,) = (tmp_path / "cache" / "sal").iterdir()
    assert kept == gallery_path_for(folder)
    assert kept.name.startswith("crops-")
    assert kept.parent.stat().st_mode & 0o077 == 0
    assert counts(sync(folder, bundle, encoder)) == (0, 0, 0, 6)
    with Gallery.open(kept) as gallery:
        assert all(gallery.image_path(item).is_file() for item in gallery.all_items())


@pytest.mark.parametrize("length", [255, 250, 220, 200])
def test_a_folder_may_have_the_longest_of_names(
    length: int, folder: Path, bundle: Bundle, encoder: CountingEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = folder.rename(folder.with_name("n" * length))
    assert counts(sync(folder, bundle, encoder)) == (6, 0, 0, 0)
    assert counts(sync(folder, bundle, encoder)) == (0, 0, 0, 6)
    path = gallery_path_for(folder)
    assert path.is_file()
    with Gallery.open(path, "w") as gallery:  # files that are named after it are made beside it
        build_gallery_index(gallery)
        reindex(gallery, bundle, encoder, "fp32")


def test_a_gallery_shipped_with_a_read_only_folder_is_used(
    folder: Path, bundle: Bundle, encoder: CountingEncoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sync(folder, bundle, encoder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    access: Callable[[Path, int], bool] = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
    assert counts(sync(folder, bundle, encoder)) == (0, 0, 0, 6)
    assert not (tmp_path / "cache").exists()


def test_the_home_directory_is_looked_up_only_where_something_is_kept_there(
    folder: Path, bundle: Bundle, encoder: CountingEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a user without an entry in passwd, in a container."""

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert counts(sync(folder, bundle, encoder)) == (6, 0, 0, 0)
    access: Callable[[Path, int], bool] = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
    assert counts(sync(folder, bundle, encoder)) == (0, 0, 0, 6)
    gallery_path_for(folder).unlink()
    with pytest.raises(SalError, match="set XDG_CACHE_HOME"):
        sync(folder, bundle, encoder)


def test_a_cache_that_cannot_be_written_is_named(
    folder: Path, bundle: Bundle, encoder: CountingEncoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with pytest.raises(SalError, match=r"cache .*/file/sal: Not a directory; set XDG_CACHE_HOME"):
        sync(folder, bundle, encoder)


def test_what_a_gallery_that_may_only_be_read_lacks_goes_into_a_copy_in_the_cache(
    folder: Path, bundle: Bundle, encoder: CountingEncoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sync(folder, bundle, encoder)
    beside = gallery_path_for(folder)
    before, encoded = beside.read_bytes(), encoder.images
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    access: Callable[[Path, int], bool] = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: access(path, mode) and (mode != os.W_OK or "cache" in Path(path).parts)
    )
    write_image(folder / "new.jpg", (1, 2, 3))
    report = sync(folder, bundle, encoder)
    assert counts(report) == (1, 0, 0, 6)
    assert encoder.images == encoded + 1  # the rest is copied
    copy = gallery_path_for(folder)
    assert copy.is_relative_to(tmp_path / "cache")
    assert [file.name for file in copy.parent.iterdir()] == [copy.name]
    with Gallery.open(copy) as gallery:
        assert gallery.verify() == []
        assert len(gallery) == 7
        assert all(gallery.image_path(item).is_file() for item in gallery.all_items())
    assert beside.read_bytes() == before
    (folder / "new.jpg").unlink()
    assert counts(sync(folder, bundle, encoder)) == (0, 0, 1, 6)


def test_a_gallery_beside_that_may_not_even_be_read_is_passed_over(
    folder: Path, bundle: Bundle, encoder: CountingEncoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sync(folder, bundle, encoder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    access: Callable[[Path, int], bool] = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: access(path, mode) and (mode == os.F_OK or "cache" in Path(path).parts)
    )
    assert counts(sync(folder, bundle, encoder)) == (6, 0, 0, 0)
    assert gallery_path_for(folder).is_relative_to(tmp_path / "cache")


def test_an_interrupted_run_continues_where_it_was(tmp_path: Path, bundle: Bundle, encoder: CountingEncoder) -> None:
    folder = tmp_path / "crops"
    for number in range(150):
        write_image(folder / f"{number:03}.jpg", (number, 100, 200))

    def stop_in_the_middle(done: int, total: int) -> None:
        if done >= 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync(folder, bundle, encoder, stop_in_the_middle)
    report = sync(folder, bundle, encoder)
    assert counts(report) == (150 - 64, 0, 0, 64)
    check_agrees(folder, bundle, tuple(f"{number:03}.jpg" for number in range(150)))


def test_searching_an_unchanged_folder_needs_no_right_to_write(
    folder: Path, bundle: Bundle, encoder: CountingEncoder
) -> None:
    sync(folder, bundle, encoder)
    (folder / "broken.jpg").write_bytes(b"")
    with Gallery.open(gallery_path_for(folder), "w"):
        assert counts(sync(folder, bundle, encoder)) == (0, 0, 0, 6)
        write_image(folder / "new.jpg", (1, 2, 3))
        with pytest.raises(InputError, match="is writing it"):
            sync(folder, bundle, encoder)
