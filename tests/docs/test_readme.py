"""The README's searches, galleries and Python, run as printed from top to bottom, beside what a clone holds."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CHEAP = ("sal search", "sal gallery add", "sal doctor")


def blocks() -> list[tuple[str, str]]:
    """(language, content) of every code block of the README."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def script() -> str:
    """A bash script of the README's cheap commands that need no training; Python blocks are fed to Python."""
    lines = ["set -euo pipefail"]
    for language, content in blocks():
        if language == "python":
            lines.append(f"python - <<'END'\n{content}END")
        commands = [line for line in content.splitlines() if line.startswith(CHEAP)]
        lines += [line for line in commands if "drawn" not in line]
    return "\n".join(lines)


def run(text: str, clone: Path) -> str:
    binary = clone / "bin"
    binary.mkdir()
    for name, arguments in (("sal", "-m sal_cli "), ("python", "")):
        (binary / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        (binary / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{binary}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
    environment.pop("SAL_BUNDLE", None)
    done = subprocess.run(["bash", "-c", text], cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{text}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    shutil.copytree(REPOSITORY / "demo" / "gallery", tmp_path / "demo" / "gallery")
    (tmp_path / "bundles").symlink_to(REPOSITORY / "bundles")
    return tmp_path


def test_searches_galleries_and_python_run_as_printed(clone: Path) -> None:
    printed = run(script(), clone)
    assert "the best 20 of 312 images" in printed
    assert "20 hits" in printed
    assert (clone / "hits.html").is_file()
    assert (clone / "yard.sal").is_file()
