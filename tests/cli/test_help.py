"""The help of every command: its examples parse and appear whole, and what it points to exists."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from sal_cli import app as cli
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


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_an_example_that_is_shown_whole(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = run_sal(capsys, *path, "--help")
    assert (code, err) == (0, "")
    shown = [line.rstrip() for line in out.splitlines()]
    assert code_lines(COMMANDS[path])
    for line in code_lines(COMMANDS[path]):
        assert f"  {line}" in shown


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_no_example_is_expanded_by_a_shell(path: tuple[str, ...]) -> None:
    """bash replaces `!` inside double quotes by an earlier command."""
    texts = [*code_lines(COMMANDS[path]), COMMANDS[path].epilog, cli.app.info.epilog]
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


def test_the_help_names_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    out = " ".join(run_sal(capsys, "--help")[1].split())
    for text in ("0 done", "1 failed", "2 wrong usage or bad input", "130 interrupted"):
        assert text in out
