"""The help of every command: plain, whole, in 80 columns; its examples parse and run, and what it points to exists."""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from sal_cli import app as cli
from sal_cli.help_page import declarations
from sal_cli.options import EXIT_CODES
from sal_cli.parsing import Command
from tests.command_line import run_sal

REPOSITORY = Path(__file__).parents[2]


def commands(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below a group, with the words that call it."""
    context = node.make_context("sal", [], resilient_parsing=True)
    if not hasattr(node, "list_commands"):
        yield path, node
        return
    for name in node.list_commands(context):
        yield from commands(node.get_command(context, name), (*path, name))


ROOT = typer.main.get_command(cli.app)
COMMANDS = dict(commands(ROOT))
PAGES = sorted({path[:size] for path in COMMANDS for size in range(len(path) + 1)})
Capsys = pytest.CaptureFixture[str]
Shown = Callable[..., list[str]]


def code_lines(command: Any) -> list[str]:
    """The lines of the examples in a command's help."""
    blocks = re.findall(r"```\n(.*?)```", inspect.cleandoc(command.help), flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def examples() -> list[str]:
    """The examples of all commands, each in one line."""
    blocks = ("\n".join(code_lines(command)).replace("\\\n", " ") for command in COMMANDS.values())
    return [line for block in blocks for line in block.splitlines()]


def check_parses(words: list[str]) -> None:
    """Parse a command line without running it."""
    node = ROOT
    context = node.make_context("sal", list(words))
    while hasattr(node, "resolve_command"):
        name, node, words = node.resolve_command(context, words)
        context = node.make_context(name, list(words), parent=context)


@pytest.mark.parametrize("example", examples())
def test_examples_parse(example: str) -> None:
    program, _, rest = re.sub(r"^torchrun .* -m sal_cli", "sal", example).partition(" ")
    if program != "tritonserver":
        assert program == "sal"
        check_parses(shlex.split(rest))


@pytest.fixture
def shown(capsys: Capsys, monkeypatch: pytest.MonkeyPatch) -> Shown:
    """The lines of a help page."""

    def show(*path: str, columns: int = 80) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        code, out, err = run_sal(capsys, *path, "--help")
        assert (code, err) == (0, "")
        return out.splitlines()

    return show


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_an_example_that_is_shown_whole(path: tuple[str, ...], shown: Shown) -> None:
    lines = shown(*path)
    assert code_lines(COMMANDS[path])
    for line in code_lines(COMMANDS[path]):
        assert f"  {line}" in lines


@pytest.mark.parametrize("path", PAGES, ids=" ".join)
def test_a_page_fits_and_says_what_is_typed(path: tuple[str, ...], shown: Shown) -> None:
    lines = shown(*path)
    assert max(map(len, lines)) <= 80
    page = "\n".join(lines)
    assert not re.search(r"<(bool|str|int|path|list|float)|\[x|\[default|[╭│…]", page)
    assert EXIT_CODES in " ".join(page.split())
    assert lines[0].endswith((".", ",", ";")) or len(lines[0]) > 60  # the docstring's own line ends are gone


@pytest.mark.parametrize("path", PAGES, ids=" ".join)
def test_a_narrow_or_wide_terminal_cuts_nothing(path: tuple[str, ...], shown: Shown) -> None:
    assert " ".join(shown(*path, columns=40)).split() == " ".join(shown(*path, columns=200)).split()


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_options_are_told_in_sentences(path: tuple[str, ...]) -> None:
    for _, text in declarations(COMMANDS[path]).values():
        assert re.match(r"[A-Z]|[\w:+-]+, ", text), text  # a sentence, or the values that may be typed
        assert text.endswith("."), text
        assert not re.match(r"(Of|At least|At most|That|Which|In|For|From) ", text), text


def test_the_words_after_an_option(shown: Shown) -> None:
    add, engine, evaluate = (
        [line.split("  ")[1] for line in shown(*path) if line.startswith("  -")]
        for path in (("gallery", "add"), ("bench", "engine"), ("eval",))
    )
    assert {"-b, --bundle PATH", "--camera NAME", "--meta KEY=VALUE", "--device cpu|cuda|trt|auto"} <= set(add)
    assert {"--forget", "--json", "-h, --help", "--precision fp32|fp16|int8"} <= set(add)
    assert {"--batch N", "--min-seconds SECONDS"} <= set(engine)
    assert "--partial, --no-partial" in evaluate
    assert "Usage: sal gallery add GALLERY [IMAGES]... [OPTIONS]" in shown("gallery", "add")
    assert "Usage: sal eval --dataset DATASET [OPTIONS]" in shown("eval")


def test_options_are_grouped(shown: Shown) -> None:
    headings = [line for line in shown("search") if re.fullmatch(r"[A-Z][a-z ]+:", line)]
    assert headings[-2:] == ["Output:", "Help:"]
    assert {"Filters:", "Where to compute:"} < set(headings)


def test_the_first_page_names_environment_variables_and_where_to_learn_more(shown: Shown) -> None:
    page = shown()
    for name in (
        "SAL_BUNDLE",
        "XDG_CACHE_HOME",
        "TZ",
        "ORT_DISABLE_TELEMETRY",
        "sal COMMAND --help",
        "sal bundle words",
    ):
        assert [line for line in page if line.startswith(f"  {name}  ")], name


def test_every_variable_that_sal_reads_is_named() -> None:
    read = set()
    for file in REPOSITORY.glob("sal_*/**/*.py"):
        text = file.read_text(encoding="utf-8")
        read |= set(re.findall(r'environ(?:\.get\(|\.setdefault\(|\[)"(\w+)"', text))
        read |= set(re.findall(r'_VARIABLE = "(\w+)"', text))
    assert len(read) >= 5
    assert read - {"WORLD_SIZE", "RANK"} <= set(cli.ENVIRONMENT)  # torchrun sets these, not a person


def test_a_command_that_is_misspelt(capsys: Capsys) -> None:
    code, out, err = run_sal(capsys, "serch")
    assert (code, out) == (2, "")
    assert err.endswith("Error: No such command 'serch'. Did you mean 'search'?\n")


def test_the_version_has_a_short_option(capsys: Capsys) -> None:
    assert run_sal(capsys, "-V") == run_sal(capsys, "--version")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_no_example_is_expanded_by_a_shell(path: tuple[str, ...]) -> None:
    """bash replaces `!` inside double quotes by an earlier command."""
    texts = [*code_lines(COMMANDS[path]), COMMANDS[path].epilog]
    assert not [text for text in texts if re.search(r'"[^"]*![^"]*"', text)]


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_what_the_epilog_points_to_exists(path: tuple[str, ...]) -> None:
    for pointer in COMMANDS[path].epilog.removeprefix("See also: ").split(", "):
        words = pointer.split()
        if pointer.startswith("docs/"):
            assert (REPOSITORY / pointer).is_file()
        elif words[0] == "sal":
            named = next(tuple(words[1 : 1 + size]) for size in (2, 1) if tuple(words[1 : 1 + size]) in COMMANDS)
            options = {option for parameter in COMMANDS[named].params for option in parameter.opts}
            assert {word for word in words if word.startswith("-")} <= options


def test_every_command_refuses_repeated_options() -> None:
    assert len(COMMANDS) >= 25
    assert {type(command) for command in COMMANDS.values()} == {Command}


def test_a_bundle_is_never_called_like_a_gallery() -> None:
    for command in COMMANDS.values():
        assert not re.search(r"(--bundle|-b) \S+\.sal\b", command.help)


def test_make_help_names_what_can_be_made() -> None:
    done = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    phony = re.search(r"^\.PHONY: (.*)$", (REPOSITORY / "Makefile").read_text(), flags=re.MULTILINE)
    assert phony is not None
    for target in set(phony[1].split()) - {"static"}:
        assert f"make {target} " in done.stdout
