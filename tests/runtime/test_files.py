"""Files appear under their names whole or not at all; links stay links, devices and pipes stay what they are."""

from __future__ import annotations

import os
import stat
import threading
import time
from pathlib import Path

import pytest

from sal_runtime import files
from sal_runtime.errors import SalError
from sal_runtime.files import ABANDONED_SECONDS, cache_folder, make_cache, temporaries, whole_file


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_the_body_ends(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with whole_file(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.json"]


def test_an_error_in_the_body_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def write_half() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise ValueError("stopped")

    with pytest.raises(ValueError, match="stopped"):
        write_half()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.json"]


def test_a_link_stays_and_what_it_points_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.json").write_text("old")
    link = tmp_path / "a.json"
    link.symlink_to("real/a.json")
    with whole_file(link) as temporary:
        temporary.write_text("new")
    assert link.is_symlink()
    assert (tmp_path / "real" / "a.json").read_text() == "new"
    dangling = tmp_path / "later.json"
    dangling.symlink_to("real/later.json")
    with whole_file(dangling) as temporary:
        temporary.write_text("new")
    assert dangling.is_symlink()
    assert names(tmp_path / "real") == ["a.json", "later.json"]


def test_a_pipe_is_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    with whole_file(pipe) as temporary:
        temporary.write_text("through")
    reader.join()
    assert read == ["through"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_pipe_without_a_reader_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "READER_SECONDS", 0)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="nobody reads from this pipe"), whole_file(tmp_path / "pipe") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "pipe").is_fifo()


def test_a_device_is_written_into_and_stays_a_device() -> None:
    terminal, other_end = os.openpty()
    device = Path(os.ttyname(other_end))
    with whole_file(device) as temporary:
        temporary.write_text("through")
    assert os.read(terminal, 100) == b"through"
    assert stat.S_ISCHR(device.stat().st_mode)
    os.close(other_end)
    os.close(terminal)


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"), whole_file(tmp_path / "folder") as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["folder"]


@pytest.mark.parametrize("name", ["n" * 255, "ö" * 127])
def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path: Path, name: str) -> None:
    for content in ("old", "new"):
        with whole_file(tmp_path / name) as temporary:
            temporary.write_text(content)
            assert temporaries(tmp_path / name) == [temporary]
    assert names(tmp_path) == [name]
    assert (tmp_path / name).read_text() == "new"


def test_what_killed_writers_left_is_swept_up_a_day_later(tmp_path: Path) -> None:
    old, young = tmp_path / ".a.json.17-1.partial", tmp_path / ".a.json.18-1.partial"
    for left in (old, young):
        left.write_text("half")
    past = time.time() - ABANDONED_SECONDS - 1
    os.utime(old, (past, past))
    with whole_file(tmp_path / "a.json") as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == [young.name, "a.json"]


def test_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "sal"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "sal"
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    with pytest.raises(SalError, match="XDG_CACHE_HOME"):
        cache_folder()


def test_a_cache_that_cannot_be_made_is_named_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cache(tmp_path / "cache" / "sal")
    make_cache(tmp_path / "cache" / "sal")
    assert stat.S_IMODE((tmp_path / "cache" / "sal").stat().st_mode) == 0o700
    (tmp_path / "file").write_text("")
    with pytest.raises(SalError, match=r"cache .*/file/sal: Not a directory; set XDG_CACHE_HOME"):
        make_cache(tmp_path / "file" / "sal")
    with pytest.raises(SalError, match=r"cache /proc/none/sal: .*; set XDG_CACHE_HOME"):
        make_cache(Path("/proc/none/sal"))
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SalError, match=r"cache .*/sal: it cannot be written; set XDG_CACHE_HOME"):
        make_cache(tmp_path / "cache" / "sal")
