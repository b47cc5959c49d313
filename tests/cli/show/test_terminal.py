"""Files that commands write: whole or not at all; links, devices and pipes stay what they are."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from sal_cli.show.terminal import check_places, table, write_file
from sal_runtime.errors import InputError, SalError
from tests.command_line import run_sal
from tests.runtime.gallery_images import make_folder
from tests.runtime.tiny_bundle import make_tiny_bundle


def test_sheets_go_through_links_and_pipes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAL_BUNDLE", str(make_tiny_bundle(tmp_path / "tiny")))
    folder = make_folder(tmp_path / "crops")
    real, link, pipe = tmp_path / "real.html", tmp_path / "link.html", tmp_path / "pipe"
    real.write_text("old")
    link.symlink_to(real.name)
    os.mkfifo(pipe)
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    reader.start()
    code, _, err = run_sal(capsys, "search", "-a", "male", "-g", folder, "--html", link, "--grid", pipe)
    reader.join(timeout=60)
    assert (code, err.splitlines()) == (0, [f"wrote {link}", f"wrote {pipe}"])
    assert link.is_symlink()
    assert real.read_text().startswith("<!doctype html>")
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert received[0][:2] == b"\xff\xd8"
    assert {path.name for path in tmp_path.iterdir()} >= {"real.html", "link.html", "pipe"}
    assert not list(tmp_path.glob(".*"))


def test_a_file_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(SalError, match="cannot be written"):
        write_file(tmp_path / "none" / "x", b"")
    with pytest.raises(InputError, match="make it first"):
        check_places(None, tmp_path / "none" / "x")
    with pytest.raises(InputError, match="is a folder; name a file"):
        check_places(tmp_path)


def test_a_table_aligns_names_to_the_left_and_numbers_to_the_right() -> None:
    columns = table("name", "kind", "count", "share", left=2).columns
    assert [(column.header, column.justify) for column in columns] == [
        ("name", "left"),
        ("kind", "left"),
        ("count", "right"),
        ("share", "right"),
    ]
