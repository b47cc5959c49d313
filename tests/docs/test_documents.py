"""The documents say what is there: commands that parse, links that lead somewhere, Python that runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from sal_cli import app as cli
from sal_train.iteration import stage_phases
from sal_train.recipe import load_config

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), REPOSITORY / "cpp_bench" / "README.md"])


def commands() -> list[tuple[str, str]]:
    """Every `sal ...` of the documents' code blocks and of the help texts' examples, with its place."""
    found = []
    for path in DOCUMENTS:
        for block in re.findall(r"```[a-z]*\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(path.name, line.strip()) for line in lines if line.strip().startswith("sal ")]
    for path in REPOSITORY.glob("cli*.py"):
        found += [
            (path.name, line.strip()) for line in path.read_text().splitlines() if re.match(r" +sal [a-z]+ .*-", line)
        ]
    return found


@pytest.mark.parametrize(("place", "command"), commands(), ids=lambda value: value)
def test_commands_parse(place: str, command: str) -> None:
    words = [word for word in shlex.split(command, comments=True)[1:] if word != "..."]
    node = typer.main.get_command(cli.app)
    context = node.make_context("sal", list(words))
    while hasattr(node, "resolve_command"):
        name, node, words = node.resolve_command(context, words)
        assert node is not None, f"{place}: {command}"
        context = node.make_context(name, list(words), parent=context)


def test_the_ablations_of_the_paper_are_settings() -> None:
    text = (REPOSITORY / "docs" / "recipes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*?) \| `(--set .*?)` \|$", text, flags=re.MULTILINE)
    assert len(rows) >= 5
    full = load_config("paper", [])
    for row, settings in rows:
        words = shlex.split(settings)
        assert words[::2] == ["--set"] * (len(words) // 2), row
        config = load_config("paper", words[1::2])
        assert config != full, row
        for stage in config.stages:
            stage_phases(stage)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_benchmark_has_its_result() -> None:
    for path in (REPOSITORY / "benchmarks").glob("*.py"):
        text = path.read_text()
        if 'if __name__ == "__main__"' in text and "write_result(" in text:  # the others measure nothing
            assert list((REPOSITORY / "benchmarks" / "results").glob(f"{path.stem}*.json")), path.name
