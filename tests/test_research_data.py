"""The search for research data: the variable, the folders beside the checkout, archives, and what happens without."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.research_data import find_data


def make_folder(place: Path) -> Path:
    (place / "People").mkdir(parents=True)
    (place / "People" / "labels.csv").write_text("image\n")
    return place / "People"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAL_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("place", ["data", "shared/data"])
def test_folders_beside_the_checkout_are_searched(place: str, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / place)
    assert find_data("People", "people.tar", tmp_path) == folder


def test_the_variable_is_the_only_place_where_it_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "data")
    elsewhere = make_folder(tmp_path / "elsewhere")
    monkeypatch.setenv("SAL_DATA", str(elsewhere.parent))
    assert find_data("People", "people.tar", tmp_path) == elsewhere
    monkeypatch.setenv("SAL_DATA", str(tmp_path))
    with pytest.raises(pytest.fail.Exception, match="neither a folder People"):
        find_data("People", "people.tar", tmp_path)


def test_an_archive_is_unpacked_once(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "source")
    (tmp_path / "data").mkdir()
    with tarfile.open(tmp_path / "data" / "people.tar", "w") as tar:
        tar.add(folder, "People")
    unpacked = find_data("People", "people.tar", tmp_path)
    assert (unpacked / "labels.csv").read_text() == "image\n"
    (unpacked / "mark").touch()
    assert find_data("People", "people.tar", tmp_path) == unpacked
    assert (unpacked / "mark").exists()


def test_without_data_tests_are_skipped(tmp_path: Path) -> None:
    with pytest.raises(pytest.skip.Exception, match="set SAL_DATA"):
        find_data("People", "people.tar", tmp_path)
