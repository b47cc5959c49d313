"""`scripts/make_bundle.sh`: which commands it gives, in which order, and that it goes on where it was interrupted."""

from __future__ import annotations

import os
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from sal_train.recipe import load_config

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_bundle.sh"
RECORDING_SAL = """#!/usr/bin/env bash
printf '%q ' "$@" >> commands
echo >> commands
while [[ $# -gt 0 && $1 != --out ]]; do shift; done
[[ $# -eq 0 ]] || { mkdir -p "$2" && touch "$2/config.toml"; }
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder in which `sal` writes its arguments down."""
    sal = tmp_path / "bin" / "sal"
    sal.parent.mkdir()
    sal.write_text(RECORDING_SAL)
    sal.chmod(0o755)
    return tmp_path


def commands(folder: Path, *arguments: str) -> list[list[str]]:
    """What `sal` is asked for, in order."""
    (folder / "commands").unlink(missing_ok=True)
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["bash", SCRIPT, *arguments], cwd=folder, env=os.environ | {"PATH": path}, check=True)
    return [shlex.split(line) for line in (folder / "commands").read_text().splitlines()]


def values(command: list[str], option: str) -> list[str]:
    return [value for name, value in pairwise(command) if name == option]


def test_the_small_network_learns_from_the_large_one(folder: Path) -> None:
    teacher, coarse, student, export, *evaluations = commands(folder, "edge", "my data", "weights.pth")
    assert values(teacher, "--data") == ["my data"]
    for taught in (coarse, student):
        assert f"run.teacher={values(teacher, '--out')[0]}" in values(taught, "--set")
    assert f"model.weights={values(coarse, '--out')[0]}/model.safetensors" in values(student, "--set")
    assert values(export, "--run") == values(student, "--out")
    assert values(export, "--out") == ["bundles/edge"]
    assert [values(one, "--precision") for one in (export, *evaluations)] == [["int8"], ["int8"], []]
    assert [values(one, "--bundle") for one in evaluations] == [["bundles/edge"]] * 2
    large, small = (load_config(values(one, "--recipe")[0], values(one, "--set")) for one in (teacher, student))
    assert (large.model.backbone, large.model.weights) == ("resnet50", "weights.pth")
    assert (small.model.backbone, small.stages[0].phases) == ("efficientnet_lite0", ("distil",))


def test_the_large_network_needs_no_other(folder: Path) -> None:
    asked = commands(folder, "resnet50", "data", "weights.pth")
    assert [command[0] for command in asked] == ["train", "export", "eval", "eval"]
    assert values(asked[1], "--run") == values(asked[0], "--out")
    assert [values(command, "--precision") for command in asked] == [[], ["int8"], ["int8"], []]


def test_a_second_call_resumes(folder: Path) -> None:
    first = commands(folder, "edge", "data", "weights.pth")
    again = commands(folder, "edge", "data", "weights.pth")
    assert not any("--resume" in command for command in first)
    assert ["--resume" in command for command in again] == [True, True, True, False, False, False]


@pytest.mark.parametrize("arguments", [(), ("edge", "data"), ("huge", "data", "weights.pth")])
def test_what_is_wrong_is_answered_with_the_usage(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(["bash", SCRIPT, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: bash scripts/make_bundle.sh resnet50|edge")
