"""The command `sal`: its groups of commands, and how an error ends it.

A command parses its options, calls one function and prints what that returns. The module of a command is imported when
that command is asked for, and imports training and export inside its functions: `sal search` never loads what only
others need.
"""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sal_cli.hints import error_line
from sal_cli.options import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE
from sal_runtime.errors import BundleError, ConfigError, InputError, SchemaError

COMMANDS = {
    "search": "search",
    "train": "train",
    "eval": "evaluate",
    "export": "export",
    "doctor": "doctor",
    "gallery": "gallery",
    "data": "data",
    "bundle": "bundle",
    "bench": "bench",
}
"""The module in `sal_cli.commands` of each command, in the order of the help."""
BAD_INPUT = (InputError, SchemaError, ConfigError, BundleError)
"""Errors that end the command with `EXIT_USAGE`; all others end it with `EXIT_FAILED`."""


class Commands(TyperGroup):
    """Imports the module of a command when that command is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names of the commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command or group with a name; None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        command = typer.main.get_command(import_module(f"sal_cli.commands.{COMMANDS[cmd_name]}").app)
        command.name = cmd_name
        return command

    def invoke(self, ctx: Any) -> Any:
        """Run the command; Ctrl-C ends it with one line."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("sal: interrupted", file=sys.stderr)
            raise typer.Exit(EXIT_INTERRUPTED) from None


app = typer.Typer(
    name="sal",
    cls=Commands,
    epilog="Start here: sal search --attrs 'male,backpack,!hat' --gallery crops/",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the command `sal`; turns errors into one line on stderr and an exit code.

    Args:
        arguments: the words after the program name; None takes those of the process. `--debug` may be anywhere.
    """
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    _accept_all_text()
    try:
        app(args=[argument for argument in given if argument != "--debug"], prog_name="sal")
    except Exception as error:
        if debug:
            raise
        from sal_cli.show.terminal import printable

        print(f"sal: error: {printable(error_line(error))}", file=sys.stderr)
        sys.exit(EXIT_USAGE if isinstance(error, BAD_INPUT) else EXIT_FAILED)


def _accept_all_text() -> None:
    """Let stdout and stderr take any text: `?` replaces what stdout cannot encode; a closed stream discards it."""
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open as long as the process
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _print_version(wanted: bool) -> None:
    if wanted:
        from sal_runtime.version import __version__

        print(f"sal {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; may follow the command, too.")
    ] = False,
) -> None:
    """Find people by description: train, export and search with attribute encoders.

    Exit codes: 0 done; 1 failed, or done with failures; 2 wrong usage or bad input; 130 interrupted by Ctrl-C.
    """
