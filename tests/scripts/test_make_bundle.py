"""`scripts/make_bundle.sh`: which commands it gives, in which order, and that it goes on where it was interrupted."""

from __future__ import annotations

import os
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from sal_train.config import Config
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


def recipe_of(command: list[str]) -> Config:
    return load_config(values(command, "--recipe")[0], values(command, "--set"))


@pytest.mark.parametrize(
    ("name", "backbone", "num_teachers"),
    [("edge", "osnet_0287", 1), ("resnet50", "resnet50", 2), ("accurate", "osnet_0277", 2)],
)
def test_a_student_learns_from_its_teachers(folder: Path, name: str, backbone: str, num_teachers: int) -> None:
    asked = commands(folder, name, "my data", "my weights")
    trained, (export, *evaluations) = asked[: num_teachers + 1], asked[num_teachers + 1 :]
    teachers, student = trained[:-1], trained[-1]
    assert len(teachers) == num_teachers
    assert [values(teacher, "--data") for teacher in teachers] == [["my data"]] * num_teachers
    assert values(export, "--run") == values(student, "--out")
    assert values(export, "--out") == [f"bundles/{name}"]
    int8 = [] if name == "accurate" else [["int8"], ["int8"]]
    assert [values(one, "--precision") for one in (export, *evaluations) if values(one, "--precision")] == int8
    assert {*map(tuple, (values(one, "--bundle") for one in evaluations))} == {(f"bundles/{name}",)}
    assert values(evaluations[-1], "--precision") == []
    small = recipe_of(student)
    assert (small.model.backbone, small.model.weights) == (backbone, f"my weights/{backbone}.safetensors")
    assert small.stages[0].phases == ("distil",)
    assert [small.run.teacher, *small.run.other_teachers] == [values(teacher, "--out")[0] for teacher in teachers]
    for seed, teacher in enumerate(teachers, 1):
        large = recipe_of(teacher)
        assert large.run.seed == seed
        assert (large.model.backbone, large.model.weights) == ("osnet_0277", "my weights/osnet_0277.safetensors")
        for shared in SHARED_SETTINGS:
            assert getattr(small.model, shared) == getattr(large.model, shared)


def test_other_seeds_are_trained_beside_the_first_and_the_teachers_of_all_are_three(folder: Path) -> None:
    runs = []
    for seed in "123":
        *trained, export, _ = commands(folder, "accurate", "data", "weights", seed)
        student = recipe_of(trained[-1])
        assert student.run.seed == int(seed)
        assert [student.run.teacher, *student.run.other_teachers] == [values(one, "--out")[0] for one in trained[:2]]
        assert recipe_of(trained[0]).run.seed == int(seed)
        runs.append([values(one, "--out")[0] for one in (*trained, export)])
    assert runs == [
        ["runs/teacher", "runs/teacher-seed2", "runs/accurate", "bundles/accurate"],
        ["runs/teacher-seed2", "runs/teacher-seed3", "runs/accurate-seed2", "bundles/accurate-seed2"],
        ["runs/teacher-seed3", "runs/teacher", "runs/accurate-seed3", "bundles/accurate-seed3"],
    ]


def test_a_second_call_resumes(folder: Path) -> None:
    first = commands(folder, "edge", "data", "weights")
    again = commands(folder, "edge", "data", "weights")
    assert not any("--resume" in command for command in first)
    assert ["--resume" in command for command in again] == [True, True, False, False, False]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("edge", "data"),
        ("huge", "data", "weights"),
        ("edge", "data", "weights", "4"),
        ("edge", "data", "weights", "1", "2"),
    ],
)
def test_what_is_wrong_is_answered_with_the_usage(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(["bash", SCRIPT, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: bash scripts/make_bundle.sh accurate|resnet50|edge")
