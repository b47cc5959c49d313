"""What the documents print to be typed: their blocks of shell commands and of Python, and a clone to run them in."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
BLOCK = re.compile(
    r"(?:^<!-- not run: (?P<why>[^>]+) -->\n)?^```(?P<language>\S*)\n(?P<text>.*?)^```", re.DOTALL | re.M
)


@dataclass(frozen=True)
class Block:
    """A block of code in a document.

    Attributes:
        line: where it begins.
        language: `sh` for what is typed into a shell, `python`, or anything that is only read.
        text: its content.
        why_not: why a test cannot run it; empty if it can.
    """

    line: int
    language: str
    text: str
    why_not: str


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(text.count("\n", 0, found.start("text")), found["language"], found["text"], found["why"] or "")
        for found in BLOCK.finditer(text)
    ]


def make_clone(folder: Path) -> Path:
    """A folder with what commands find in a clone: bundle, examples, and every fourth person of the demo gallery."""
    gallery = folder / "demo" / "gallery"
    gallery.mkdir(parents=True)
    rows = (REPOSITORY / "demo" / "gallery" / "crops.csv").read_text(encoding="utf-8").splitlines()
    kept = [row for row in rows[1:] if int(row[len("person") :][:3]) % 4 == 3 or row.startswith("person001")]
    (gallery / "crops.csv").write_text("\n".join([rows[0], *kept]) + "\n", encoding="utf-8")
    for row in kept:
        shutil.copy2(REPOSITORY / "demo" / "gallery" / row.partition(",")[0], gallery)
    shutil.copytree(REPOSITORY / "bundles", folder / "bundles")
    shutil.copytree(REPOSITORY / "docs" / "examples", folder / "docs" / "examples")
    return folder


def run_in_bash(script: str, clone: Path) -> str:
    """What a script prints, typed into a shell with history expansion as people have it; `sal` is that of this tree.

    Raises:
        AssertionError: a command failed, or bash read a `!` as a reference to an earlier command.
    """
    programs = clone.parent / f"{clone.name}-programs"
    programs.mkdir(exist_ok=True)
    for name, arguments in (("sal", "-m sal_cli "), ("python", "")):
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        (programs / name).chmod(0o755)
    typed = programs / "typed.sh"
    typed.write_text(f"set -o history -H -e -o pipefail\n{script}\necho everything was run\n")
    environment = {name: value for name, value in os.environ.items() if name != "SAL_BUNDLE"}
    environment |= {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY), "HOME": str(programs)}
    environment["XDG_CACHE_HOME"] = str(programs / "cache")
    command = ["bash", "--norc", str(typed)]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    printed = f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert "event not found" not in done.stderr, f"bash expands a '!'; put it in single quotes\n{printed}"
    assert done.returncode == 0, printed
    assert done.stdout.endswith("everything was run\n"), printed
    return done.stdout
