"""The extras that sal names are those of the project, and how to install them fits on a line of a terminal."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from sal_cli.extras import EXTRAS, missing_extras
from tests.command_line import run_sal
from tests.runtime.tiny_bundle import make_tiny_bundle

REPOSITORY = Path(__file__).parents[2]


def test_extras_are_those_of_the_project() -> None:
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(declared) - {"cpu", "gpu", "trt", "dev"}


def test_the_doctor_lists_extras_that_are_not_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAL_BUNDLE", str(make_tiny_bundle(tmp_path / "tiny")))
    monkeypatch.setattr("sal_cli.extras.find_spec", lambda module: None if module == "pyarrow" else module)
    assert missing_extras() == {"arrow": "galleries as Parquet files"}
    _, out, _ = run_sal(capsys, "doctor")
    lines = out.splitlines()
    heading = 'extras that are not installed; in the checkout of sal: `pip install ".[NAME]"`'
    assert lines[lines.index(heading) + 1] == "arrow    galleries as Parquet files"
    assert json.loads(run_sal(capsys, "doctor", "--json")[1])["missing_extras"] == missing_extras()
