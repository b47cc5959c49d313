"""`sal train` as a person runs it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from sal_train import iteration
from sal_train.recipe import config_to_toml
from tests.command_line import check_one_error, run_sal
from tests.train.tiny_training import tiny_config


@pytest.fixture
def words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[object]:
    """The options of a training that takes seconds: 16 drawn people, two epochs."""
    run_sal(capsys, "data", "synth", "--out", tmp_path / "drawn", "--people", 16, "--images", 1)
    recipe = tmp_path / "my recipe.toml"
    recipe.write_text(config_to_toml(tiny_config(("embed_image", "embed_attribute"), 2, data={"batch_size": 4})))
    common = ["--dataset", tmp_path / "drawn", "--out", tmp_path / "run", "--cache", tmp_path / "cache"]
    return ["train", "--recipe", recipe, *common]


def test_ctrl_c_prints_the_command_that_continues(
    words: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_iteration, left = iteration.run_iteration, 0

    def stopped(*arguments: object) -> object:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return run_iteration(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(iteration, "run_iteration", stopped)
    code, out, err = run_sal(capsys, *words)
    assert (code, out) == (130, "")
    assert "sal: stopped before the first checkpoint; start again with the same command" in err
    assert not (tmp_path / "run").exists()
    left = 3  # an epoch has two iterations
    code, out, err = run_sal(capsys, *words)
    assert (code, out) == (130, "")
    (line,) = [line for line in err.splitlines() if line.startswith("sal: stopped")]
    assert line.startswith("sal: stopped; 1 of 2 epochs are kept. To continue: sal train --resume ")
    monkeypatch.undo()
    code, out, _ = run_sal(capsys, *shlex.split(line.partition("To continue: sal ")[2]))
    assert (code, out) == (0, f"{tmp_path / 'run' / 'model.safetensors'}\n")


def test_the_device_is_an_option(words: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run_sal(capsys, *words, "--device", "cuda:1", "--dry-run")
    assert code == 0
    assert 'device = "cuda:1"' in out.splitlines()
    check_one_error(run_sal(capsys, *words, "--device", "toaster"), 2, "'toaster'", "cuda:N", "(--device)")
    check_one_error(run_sal(capsys, *words, "--device", "cuda:99"), 1, "cuda:99", "(--device)")


def test_a_batch_that_is_too_large_names_the_option(words: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run_sal(capsys, *words, "--set", "data.batch_size=500")
    assert (code, out) == (2, "")
    assert "fewer than data.batch_size 500; lower it (--set)" in err
