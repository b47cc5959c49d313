"""`sal data` as a person runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command_line import check_one_error, run_sal


@pytest.fixture
def drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    outcome = run_sal(capsys, "data", "synth", "--out", tmp_path / "drawn", "--people", 30, "--images", 2)
    assert outcome == (0, f"{tmp_path / 'drawn' / 'attributes.csv'}\n", "")
    return tmp_path / "drawn"


def test_a_whole_data_set_checks_well(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run_sal(capsys, "data", "check", "--dataset", drawn)
    assert (code, err) == (0, "")
    assert out.startswith("drawn: 60 images read\n")
    assert "error" not in out


def test_a_broken_image_is_an_error(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (drawn / "images/0003_01.jpg").write_bytes(b"")
    code, out, _ = run_sal(capsys, "data", "check", "--dataset", drawn)
    assert code == 1
    assert "error: images missing or broken: 1" in out
    assert "0003_01.jpg" in out
    code, out, _ = run_sal(capsys, "data", "check", "--dataset", drawn, "--json")
    assert code == 1
    report = json.loads(out)
    assert report["ok"] is False
    assert report["findings"][0]["count"] == 1


def test_statistics_for_people_and_programs(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run_sal(capsys, "data", "stats", "--dataset", drawn)
    assert code == 0
    assert "lower-colour=black" in out
    _, out, _ = run_sal(capsys, "data", "stats", "--dataset", drawn, "--json")
    report = json.loads(out)
    assert report["counts"]["train_images"] == 42
    assert 0 <= report["attributes"]["hat"]["train"] <= 1


def test_errors_are_one_line(tmp_path: Path, drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check_one_error(run_sal(capsys, "data", "synth", "--out", drawn), 2, "exists already")
    check_one_error(run_sal(capsys, "data", "stats", "--dataset", tmp_path / "nothing"), 2, "no such data set")
    check_one_error(
        run_sal(capsys, "data", "check", "--dataset", "market1501", "--data", tmp_path), 2, "market_attribute.mat"
    )
    check_one_error(run_sal(capsys, "data", "check", "--dataset", "peta", "--data", tmp_path), 2, "PETA.mat")
