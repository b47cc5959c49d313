"""Files that commands write: whole or not at all; links, devices and pipes stay what they are."""

from __future__ import annotations

import os
import re
import stat
import threading
from pathlib import Path

import pytest

from sal_cli.show.terminal import check_places, console, table, write_file
from sal_runtime.errors import InputError, SalError
from tests.command_line import run_sal
from tests.runtime.gallery_images import make_folder
from tests.runtime.tiny_bundle import make_tiny_bundle

REPOSITORY = Path(__file__).parents[3]


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


def test_a_pipe_gets_every_line_whole(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    name = "crops/" + "camera_north_entrance/" * 20 + "0001.jpg"
    made = table("image", "score")
    made.add_row(name, "0.5")
    console().print(made)
    console().print(f"a line with many words: {name} {'and more ' * 50}")
    console(stderr=True).print(made)
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["image", name, "a"]
    assert name in err


def test_all_tables_are_printed_by_the_console_that_cuts_nothing() -> None:
    """Others would be 80 columns wide in a pipe."""
    for file in REPOSITORY.glob("sal_*/**/*.py"):
        consoles = re.findall(r"(?<!-> )\bConsole\((?!stderr=True\))", file.read_text(encoding="utf-8"))
        assert not consoles or file.name == "terminal.py", file
