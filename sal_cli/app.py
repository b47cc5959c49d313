"""The command `sal`: its groups of commands, and what becomes of an error.

A command parses its options, calls one function and prints what it returns. The module of a command is imported when
that command is asked for, and its imports of training and export stand inside the bodies: `sal search` never pays for
what others need. Exit codes: 0 done, 1 failed or done with failures, 2 wrong usage or bad input.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sal_cli.options import EXIT_FAILED, EXIT_USAGE
from sal_runtime.errors import BundleError, ConfigError, InputError, SalError, SchemaError

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


class Commands(TyperGroup):
    """Imports the module of a command when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Their names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command or a group of them; None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = typer.main.get_command(import_module(f"sal_cli.commands.{COMMANDS[cmd_name]}").app)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="sal",
    cls=Commands,
    epilog='Start here: sal search --attrs "male,backpack,!hat" --gallery crops/',
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the command `sal`; turns errors into one line on stderr and an exit code.

    Args:
        arguments: without the program name; those of the process if None. `--debug` may stand anywhere.
    """
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    try:
        app(args=[argument for argument in given if argument != "--debug"], prog_name="sal")
    except Exception as error:
        if debug:
            raise
        is_ours = isinstance(error, SalError)
        text = " ".join(str(error).split()) if is_ours else f"{type(error).__name__}: {error} (--debug shows where)"
        from sal_cli.show.terminal import printable

        print(f"sal: error: {printable(text)}", file=sys.stderr)
        bad_input = isinstance(error, InputError | SchemaError | ConfigError | BundleError)
        sys.exit(EXIT_USAGE if bad_input else EXIT_FAILED)


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
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from (may stand anywhere).")] = False,
) -> None:
    """Find people by description: train, export and search with attribute encoders."""
