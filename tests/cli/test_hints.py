"""The library names a parameter; the operator reads the option, the command or the extra that mends the error."""

from __future__ import annotations

from pathlib import Path

import pytest

from sal_cli.hints import HINTS, error_line
from sal_runtime.errors import InputError, SalError
from tests.command_line import check_one_error, run_sal
from tests.runtime.gallery_images import make_folder
from tests.runtime.tiny_bundle import make_tiny_bundle

REPOSITORY = Path(__file__).parents[2]
Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images that has been searched with the tiny bundle."""
    monkeypatch.setenv("SAL_BUNDLE", str(make_tiny_bundle(tmp_path / "tiny")))
    return make_folder(tmp_path / "crops")


@pytest.mark.parametrize("parameter", HINTS)
def test_a_parameter_is_told_as_what_to_type(parameter: str) -> None:
    assert error_line(InputError("it is\nwrong", parameter=parameter)) == f"it is wrong ({HINTS[parameter]})"


def test_other_errors_are_told_as_they_are() -> None:
    assert error_line(SalError("it is wrong")) == "it is wrong"
    assert error_line(SalError("it is wrong", parameter="nobody_knows")) == "it is wrong"
    assert error_line(KeyError("x")) == "KeyError: 'x' (--debug shows where)"
    assert error_line(OSError(36, "File name too long", "n.sal")) == "n.sal: File name too long"
    unknown = ModuleNotFoundError("No module named 'other'", name="other")
    assert error_line(unknown) == "ModuleNotFoundError: No module named 'other' (--debug shows where)"


def test_the_operator_reads_what_to_type(folder: Path, tmp_path: Path, capsys: Capsys) -> None:
    def check(words: str, *arguments: object) -> None:
        check_one_error(run_sal(capsys, *arguments), 2, words)

    run_sal(capsys, "search", "-a", "male", "-g", folder)
    gallery = folder.with_name("crops.sal")
    other = make_tiny_bundle(tmp_path / "other", "other", seed=1)
    check("--bundle", "search", "-a", "male", "-g", gallery, "--bundle", other)
    check("--precision", "search", "-a", "male", "-g", folder, "--precision", "int8")
    check("--min-likelihood", "search", "-a", "male", "-g", folder, "--min-likelihood", 0.5)
    check("`sal gallery add`", "search", "-a", "male", "-g", tmp_path / "none.sal")
    check("--camera", "gallery", "remove", gallery)
    check("--data", "data", "stats", "--dataset", "market1501", "--data", tmp_path)
    check("--plot", "bench", "search", "--plot", tmp_path / "x.png")


def test_extras_are_installed_from_the_checkout() -> None:
    """sal is on no package index: its name there, if anybody takes it, is somebody else's package."""
    assert error_line(ModuleNotFoundError("", name="matplotlib.axes")).endswith('`pip install ".[plot]"`')
    for file in REPOSITORY.glob("sal_*/**/*.py"):
        assert "sal-person-search[" not in file.read_text(encoding="utf-8"), file
