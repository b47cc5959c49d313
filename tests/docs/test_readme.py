"""The README's commands and Python, run as printed from top to bottom, in a folder that holds what a clone holds."""

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
TUTORIAL = ("sal data synth", "sal train", "sal export", "sal eval")
SHORTER = {"--recipe tiny": "--recipe tiny --set stages.0.epochs=2"}
"""The tutorial takes minutes; its training is cut short here, which changes nothing else of what is printed."""


def blocks() -> list[tuple[str, str]]:
    """(language, content) of every code block of the README."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```(\w*)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def script(wanted: tuple[str, ...], drawn: bool) -> str:
    """A bash script of the README's commands that begin with one of `wanted`; Python blocks are fed to Python."""
    lines = ["set -euo pipefail"]
    for language, content in blocks():
        if language == "python" and not drawn:
            lines.append(f"python - <<'END'\n{content}END")
        commands = [line for line in content.splitlines() if line.startswith(wanted)]
        lines += [line for line in commands if ("drawn" in line) == drawn]
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
    printed = run(script(CHEAP, drawn=False), clone)
    assert "the best 20 of 312 images" in printed
    assert "20 hits" in printed
    assert (clone / "hits.html").is_file()
    assert (clone / "yard.sal").is_file()


@pytest.mark.slow
def test_the_tutorial_runs_as_printed(clone: Path) -> None:
    text = script((*TUTORIAL, "sal search"), drawn=True)
    for printed, shorter in SHORTER.items():
        text = text.replace(printed, shorter)
    assert text.count("\n") == 5, text
    run(text, clone)
    assert (clone / "hits.jpg").is_file()
