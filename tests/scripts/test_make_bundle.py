"""`scripts/make_bundle.sh`: which commands it gives, in which order, and that it goes on where it was interrupted."""

from __future__ import annotations

import os
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from sal_train.recipe import load_config
from sal_train.teacher import SHARED_SETTINGS

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


@pytest.mark.parametrize(("name", "backbone"), [("edge", "osnet_0287"), ("resnet50", "resnet50")])
def test_a_student_learns_from_the_accurate_network(folder: Path, name: str, backbone: str) -> None:
    teacher, student, export, *evaluations = commands(folder, name, "my data", "my weights")
    assert values(teacher, "--data") == ["my data"]
    assert f"run.teacher={values(teacher, '--out')[0]}" in values(student, "--set")
    assert values(export, "--run") == values(student, "--out")
    assert values(export, "--out") == [f"bundles/{name}"]
    assert [values(one, "--precision") for one in (export, *evaluations)] == [["int8"], ["int8"], []]
    assert [values(one, "--bundle") for one in evaluations] == [[f"bundles/{name}"]] * 2
    large, small = (load_config(values(one, "--recipe")[0], values(one, "--set")) for one in (teacher, student))
    assert (large.model.backbone, large.model.weights) == ("osnet_0277", "my weights/osnet_0277.safetensors")
    assert (small.model.backbone, small.model.weights) == (backbone, f"my weights/{backbone}.safetensors")
    assert small.stages[0].phases == ("distil",)
    for shared in SHARED_SETTINGS:
        assert getattr(small.model, shared) == getattr(large.model, shared)


def test_the_accurate_network_needs_no_other(folder: Path) -> None:
    asked = commands(folder, "accurate", "data", "weights")
    assert [command[0] for command in asked] == ["train", "export", "eval", "eval"]
    assert values(asked[1], "--run") == values(asked[0], "--out")
    assert [values(command, "--precision") for command in asked] == [[], ["int8"], ["int8"], []]


def test_another_seed_is_trained_beside_the_first(folder: Path) -> None:
    first, second = (commands(folder, "edge", "data", "weights", *seed) for seed in ((), ("2",)))
    assert not {values(one, "--out")[0] for one in first[:3]} & {values(one, "--out")[0] for one in second[:3]}
    assert [load_config(values(one, "--recipe")[0], values(one, "--set")).run.seed for one in second[:2]] == [2, 2]
    assert f"run.teacher={values(second[0], '--out')[0]}" in values(second[1], "--set")


def test_a_second_call_resumes(folder: Path) -> None:
    first = commands(folder, "edge", "data", "weights")
    again = commands(folder, "edge", "data", "weights")
    assert not any("--resume" in command for command in first)
    assert ["--resume" in command for command in again] == [True, True, False, False, False]


@pytest.mark.parametrize(
    "arguments", [(), ("edge", "data"), ("huge", "data", "weights"), ("edge", "data", "weights", "1", "2")]
)
def test_what_is_wrong_is_answered_with_the_usage(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(["bash", SCRIPT, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: bash scripts/make_bundle.sh accurate|resnet50|edge")
