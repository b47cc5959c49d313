"""The documents are correct: commands parse, links and modules exist, Python uses public names."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest
import typer

from sal_cli import app as cli
from sal_runtime import open_bundle, parse_query
from sal_runtime.query.words import weak_words
from sal_train.iteration import stage_phases
from sal_train.recipe import load_config
from tests.docs.printed import blocks_of

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = sorted(
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "docs/api/*.md",
        "benchmarks/README.md",
        "cpp_bench/README.md",
        "bundles/*/*.md",
    )
    for path in REPOSITORY.glob(pattern)
)
CURRENT = [path for path in DOCUMENTS if path.name != "CHANGELOG.md"]


def code_blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def commands() -> list[tuple[str, str]]:
    """Every `sal ...` of the documents' code blocks and of the examples in help texts, with its place."""
    found = []
    for path in DOCUMENTS:
        for block in code_blocks(path, "[a-z]*"):
            lines = block.replace("\\\n", " ").splitlines()
            found += [(path.name, line.strip()) for line in lines if line.strip().startswith("sal ")]
    for path in REPOSITORY.glob("sal_cli/**/*.py"):
        lines = path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
        found += [(path.name, line.strip()) for line in lines if re.match(r" +sal [a-z]+ .*-", line)]
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


def test_help_texts_have_examples() -> None:
    assert {place for place, _ in commands()} > {"README.md"}
    assert any(place.endswith(".py") for place, _ in commands())


@pytest.mark.parametrize("path", CURRENT, ids=lambda path: path.name)
def test_modules_that_are_run_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("\n", " ")
    for name in re.findall(r"python -m ((?:benchmarks|docs|sal_\w+|scripts|tests)(?:\.\w+)*)", text):
        assert importlib.util.find_spec(name) is not None, f"python -m {name}"


@pytest.mark.parametrize("path", CURRENT, ids=lambda path: path.name)
def test_python_imports_public_names(path: Path) -> None:
    """A name is public if `sal_runtime` or one of its rooms lists it."""
    for block in blocks_of(path):
        is_program = block.language == "python" and not block.why_not
        for module, names in re.findall(
            r"^from (sal_[\w.]+) import (.+)$", block.text if is_program else "", re.MULTILINE
        ):
            room = importlib.import_module(module)
            assert hasattr(room, "__path__"), f"{module} is a module, not a room"
            assert set(names.split(", ")) <= set(room.__all__)


def test_descriptions_ask_for_what_the_shipped_bundle_recognises() -> None:
    bundle = open_bundle(REPOSITORY / "bundles" / "edge")
    forms = (
        r"(?:sal search|--attrs) '([^']+)'",
        r"\bask\(\"([^\"]+)\"",
        r"\bsearch\(\"[^\"]+\", \"([^\"]+)\"",
        r"by description: `([^`]+)`",
    )
    everything = [path.read_text(encoding="utf-8") for path in CURRENT if path.parent.name != "api"]
    asked = {query for text in everything for form in forms for query in re.findall(form, text)}
    assert len(asked) > 10
    for text in asked - {"man with an umbrella"}:
        query = parse_query(text, bundle.schema)
        assert weak_words(query, bundle.schema, bundle.manifest["metrics"]) == (), text


def test_every_page_is_in_the_index() -> None:
    index = (REPOSITORY / "docs" / "README.md").read_text(encoding="utf-8")
    linked = {file.partition("#")[0] for file in re.findall(r"\]\(([^)]+)\)", index)}
    assert {path.name for path in (REPOSITORY / "docs").glob("*.md")} - {"README.md"} <= linked


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
    for file, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", path.read_text(encoding="utf-8")):
        if not file.startswith("http"):
            target = path.parent / file if file else path
            assert target.exists(), f"{path.name} links to {file}"
            assert not anchor or anchor in anchors(target), f"{path.name} links to {file}#{anchor}"


def anchors(path: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a document."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_benchmark_has_its_result() -> None:
    programs = [path for path in REPOSITORY.glob("benchmarks/speed/*.py") if "write_result(\n" in path.read_text()]
    assert len(programs) > 5
    for path in programs:
        assert list((REPOSITORY / "benchmarks" / "results").glob(f"{path.stem}*.json")), path.name
