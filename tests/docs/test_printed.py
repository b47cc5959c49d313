"""Everything that the documents print runs as printed, from top to bottom of each page, in what a clone holds.

A block that cannot run here has a comment above it, `<!-- not run: REASON -->`; then it must still parse.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.docs.printed import PAGES, REPOSITORY, Block, blocks_of, make_clone, run_in_bash

SHORTER = {
    "sal data synth": "sal data synth --people 80 --images 3",
    "--recipe tiny": "--recipe tiny --set stages.0.epochs=1",
    "sal train --dataset my-crops/": "sal train --recipe tiny --set stages.0.epochs=1 --dataset my-crops/",
}
"""What takes minutes, and what is run in its place."""
PLACEHOLDERS = re.compile(r"\b(?:DATA|WEIGHTS|RUN|BUNDLE|FILE|HOST|IMAGE)\b|\.\.\.")
TYPED = re.compile(r"^(?:sal|pip|python3?|make|torchrun|bash|openssl) ", re.MULTILINE)
TRAINING = re.compile(r"^sal (?:train|export)\b", re.MULTILINE)


def is_typed(block: Block) -> bool:
    """Whether people type it into a shell, whatever its mark."""
    return block.language in ("", "sh") and TYPED.search(block.text) is not None


def runnable(page: Path) -> list[Block]:
    blocks = blocks_of(page)
    return [block for block in blocks if (block.language == "python" or is_typed(block)) and not block.why_not]


def pages_to_run() -> list[object]:
    """The pages with something to run; those that train are slow."""
    found = []
    for page in PAGES:
        blocks = runnable(page)
        trains = any(TRAINING.search(block.text) for block in blocks)
        if blocks:
            found.append(pytest.param(page, id=page.name, marks=[pytest.mark.slow] if trains else []))
    return found


def script_of(page: Path, folder: Path) -> str:
    """A page as a script; each of its Python blocks becomes a program."""
    folder.mkdir()
    lines = []
    for block in runnable(page):
        lines.append(f": line {block.line}")
        if block.language == "python":
            program = folder / f"line_{block.line}.py"
            program.write_text(block.text, encoding="utf-8")
            lines.append(f"python {program}")
        else:
            text = block.text
            for longer, shorter in SHORTER.items():
                text = text.replace(longer, shorter)
            lines.append(text)
    return "\n".join(lines)


@pytest.mark.parametrize("page", pages_to_run())
def test_a_page_runs_as_printed(page: Path, tmp_path: Path) -> None:
    printed = run_in_bash(script_of(page, tmp_path / "programs"), make_clone(tmp_path / "clone"))
    for block in blocks_of(page):
        if block.language == "text":  # what commands of the page print
            assert block.text in printed, f"{page.name}:{block.line}"


def test_what_a_shell_would_change_is_found(tmp_path: Path) -> None:
    tmp_path.joinpath("clone").mkdir()
    assert "male,!hat" in run_in_bash("echo 'male,!hat'", tmp_path / "clone")
    with pytest.raises(AssertionError, match="single quotes"):
        run_in_bash('echo "male,!hat"', tmp_path / "clone")
    with pytest.raises(AssertionError):
        run_in_bash("sal search --attrs pink\necho so what", tmp_path / "clone")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_to_be_typed_is_whole(page: Path) -> None:
    for block in blocks_of(page):
        assert block.language in ("", "sh", "python", "text", "csv", "json", "toml"), f"{page.name}:{block.line}"
        if block.language == "toml":
            assert tomllib.loads(block.text), f"{page.name}:{block.line}"
        if is_typed(block) and not block.why_not:
            found = PLACEHOLDERS.search(block.text)
            assert not found, f"{page.name}:{block.line} prints {found[0] if found else ''} to be typed"


def test_only_what_is_printed_is_shortened() -> None:
    everything = "\n".join(block.text for page in PAGES for block in runnable(page))
    assert [longer for longer in SHORTER if longer not in everything] == []


def test_python_is_typed(tmp_path: Path) -> None:
    """As a program that embeds the installed package would be checked, whether a test can run it or not."""
    programs = []
    for page in PAGES:
        for block in blocks_of(page):
            if block.language == "python":
                programs.append(tmp_path / f"{page.stem}_{block.line}.py")
                programs[-1].write_text(block.text, encoding="utf-8")
    assert len(programs) > 5
    command = [sys.executable, "-m", "mypy", "--scripts-are-modules", *map(str, programs)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
