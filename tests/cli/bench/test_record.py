"""What a result says about its machine and its commit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from sal_cli.bench import record
from sal_cli.bench.record import command_line, commit
from sal_runtime.doctor.machine import machine, versions
from sal_runtime.engines.installed import installed_version
from sal_runtime.version import __version__


def test_machine_and_versions() -> None:
    assert list(machine()) == ["cpu", "cores", "gpu", "os"]
    assert machine()["cores"] >= 1
    assert machine()["cpu"]
    found = versions(("pytest", "no-such-package-at-all"))
    assert found["sal"] == __version__
    assert found["numpy"] == np.__version__
    assert found["pytest"] == pytest.__version__
    assert "no-such-package-at-all" not in found
    assert "pytest" not in versions()
    assert installed_version("no-such-package-at-all") is None


def test_the_command_names_no_folder_of_this_machine() -> None:
    typed = [
        "/opt/venv/bin/sal",
        "bench",
        "engine",
        "--bundle",
        "/home/me/my bundle",
        "--out=/tmp/x.json",
        "--batch",
        "8",
    ]
    assert command_line(typed) == "sal bench engine --bundle 'my bundle' --out=x.json --batch 8"
    assert command_line(["cli.py", "eval", "--run", "runs/edge", "a=/b"]) == "cli.py eval --run runs/edge a=/b"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_is_that_of_the_code_not_of_a_repository_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> str:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        done = subprocess.run(("git", *who, *arguments), cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    code = tmp_path / "sal_cli" / "bench" / "record.py"
    code.parent.mkdir(parents=True)
    code.write_text("1\n")
    git("init", "--quiet")
    git("add", ".")
    git("commit", "--quiet", "-m", "one")
    monkeypatch.setattr(record, "__file__", str(code))
    assert commit() == git("rev-parse", "--short", "HEAD")
    code.write_text("2\n")
    assert commit() == git("rev-parse", "--short", "HEAD") + "+"
    installed = tmp_path / "venv" / "sal_cli" / "bench" / "record.py"
    monkeypatch.setattr(record, "__file__", str(installed))
    assert commit() == __version__


def test_a_machine_without_an_nvidia_gpu_or_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert machine()["gpu"] is None
    assert commit() == __version__
