"""A repository of one commit with the files of this checkout, for tests that build what is published."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
NOBODY = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false"]


def git(folder: Path, *arguments: str) -> str:
    """What git prints."""
    command = ["git", *NOBODY, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout


def make_clone(folder: Path) -> None:
    """Commit the files that git knows or would take, changed ones as they are; skip where there is no repository."""
    pytest.importorskip("build", reason="a source distribution and a wheel are built with it")
    pytest.importorskip("setuptools_scm", reason="the version comes from it")
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not in a git repository")
    for name in git(REPOSITORY, "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "all")
