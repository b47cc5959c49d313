"""`sal train` as a person runs it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from sal_train import checkpoint, iteration
from sal_train.checkpoint import load_finished_run
from sal_train.recipe import config_to_toml
from sal_train.report import write
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


def test_a_run_knows_how_it_was_started(
    words: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--resume --out RUN` alone goes on, from any folder; what is made of the run waits until it is finished."""
    save, cache = checkpoint.save_checkpoint, ["--cache", tmp_path / "cache"]

    def save_and_stop(*arguments: object) -> None:
        save(*arguments)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_checkpoint", save_and_stop)
    monkeypatch.chdir(tmp_path)
    words[4] = "drawn"  # a relative path, which means nothing elsewhere
    assert run_sal(capsys, *words, "--set", "data.validation_fraction=0.2", "--set", "data.validate_every=1")[0] == 130
    monkeypatch.undo()
    export = run_sal(capsys, "export", "--run", tmp_path / "run", "--out", tmp_path / "a.bundle")
    check_one_error(export, 2, "training is not finished (1 of 2 epochs are done)", "--resume")
    assert not (tmp_path / "a.bundle").exists()
    measured = run_sal(
        capsys, "eval", "--run", tmp_path / "run", "--dataset", tmp_path / "drawn", "--no-partial", *cache
    )
    assert "warning: training is not finished (1 of 2 epochs)" in measured[1]
    code, out, err = run_sal(capsys, "train", "--resume", "--out", tmp_path / "run", *cache)
    assert (code, out) == (0, f"{tmp_path / 'run' / 'model.safetensors'}\n"), err
    assert load_finished_run(tmp_path / "run").config.data.validation_fraction == 0.2
    gone = tmp_path / "elsewhere"
    assert "training report" in (tmp_path / "run" / "report.html").read_text()
    assert f"report: {tmp_path / 'run' / 'report.html'}" in err
    (tmp_path / "drawn").rename(gone)
    check_one_error(run_sal(capsys, "train", "--resume", "--out", tmp_path / "run"), 2, "no such data set")
    assert run_sal(capsys, "train", "--resume", "--out", tmp_path / "run", "--dataset", gone, *cache)[0] == 0
    check_one_error(run_sal(capsys, "train", "--resume", "--out", tmp_path / "none"), 2, "holds no run to resume")
    check_one_error(run_sal(capsys, "train", "--out", tmp_path / "new"), 2, "no data set is named", "(--dataset)")


def test_own_data_get_a_recipe_that_fits(
    words: list[object], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ["train", *words[3:], "--dry-run"]
    code, out, err = run_sal(capsys, *own)
    assert code == 0
    assert "recipe: edge (auto), for 11 training images in " in err
    assert "no download" in err
    config = tomllib.loads(out)
    assert config["model"]["backbone"] == "efficientnet_lite0"
    assert config["data"]["batch_size"] == 11
    assert config["stages"][0]["epochs"] == 60
    code, out, err = run_sal(capsys, *own, "--set", "stages.0.epochs=3", "--recipe", "auto")
    assert tomllib.loads(out)["stages"][0]["epochs"] == 3
    code, out, err = run_sal(capsys, *own, "--recipe", "paper")
    assert (tomllib.loads(out)["model"]["backbone"], err) == ("resnet50", "")


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


def test_a_report_that_cannot_be_written_does_not_cost_the_run(
    words: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write, "write_report", fail)
    code, out, err = run_sal(capsys, *words)
    assert (code, out) == (0, f"{tmp_path / 'run' / 'model.safetensors'}\n")
    assert "the report could not be written: " in err
    assert "No space left on device" in err
    assert load_finished_run(tmp_path / "run").is_finished


@pytest.mark.parametrize(("given", "policy"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waiting_threads_sleep_unless_the_user_decides(tmp_path: Path, given: str | None, policy: str) -> None:
    """PyTorch reads the variable when it is loaded; the import is stopped there."""
    code = (
        "import os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'torch':\n"
        "            print(os.environ.get('OMP_WAIT_POLICY'))\n"
        "            sys.exit(7)\n"
        "sys.meta_path.insert(0, Watch())\n"
        "from sal_cli.app import main\n"
        "main(sys.argv[1:])\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {} if given is None else {"OMP_WAIT_POLICY": given}
    for command in ("train", "--out", "run"), ("eval", "--run", "run"):
        words = [sys.executable, "-c", code, *command, "--dataset", "drawn"]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (7, f"{policy}\n"), done.stderr
