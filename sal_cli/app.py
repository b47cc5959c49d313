"""The command `sal`: its groups of commands, and how an error ends it.

A command parses its options, calls one function and prints what that returns. The module of a command is imported when
that command is asked for, and imports training and export inside its functions: `sal search` never loads what only
others need.
"""

from __future__ import annotations

import io
import os
import sys
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any

import typer

from sal_cli.hints import error_line
from sal_cli.options import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE
from sal_cli.parsing import Group
from sal_runtime.errors import BundleError, ConfigError, InputError, SchemaError

COMMANDS = {
    "search": "search",
    "train": "train",
    "eval": "evaluate",
    "export": "export",
    "ingest": "ingest",
    "serve": "serve",
    "doctor": "doctor",
    "gallery": "gallery",
    "data": "data",
    "bundle": "bundle",
    "audit": "audit",
    "token": "token",
    "bench": "bench",
}
"""The module in `sal_cli.commands` of each command, in the order of the help."""
BAD_INPUT = (InputError, SchemaError, ConfigError, BundleError)
"""Errors that end the command with `EXIT_USAGE`; all others end it with `EXIT_FAILED`."""
ENVIRONMENT = {
    "SAL_BUNDLE": "The bundle to use where no option names one.",
    "SAL_MILVUS_TOKEN": "The token, or USER:PASSWORD, for galleries in Milvus.",
    "SAL_MQTT_USER": "The user that sal serve signs in to the policy's broker as.",
    "SAL_MQTT_PASSWORD": "The password of that user.",
    "XDG_CACHE_HOME": "The folder of caches; sal uses its subfolder sal. Default: ~/.cache.",
    "TZ": "The time zone of moments that name none, such as Europe/Berlin.",
    "ORT_DISABLE_TELEMETRY": "sal sets it to 1, so that ONNX Runtime reports nothing; what you set stays.",
    "RAY_USAGE_STATS_ENABLED": "sal sets it to 0, so that Ray reports nothing; what you set stays.",
    "OPENCV_FFMPEG_CAPTURE_OPTIONS": "Options for the FFmpeg inside of OpenCV; what you name wins over what sal sets.",
    "OPENCV_FFMPEG_LOGLEVEL": "sal ingest hides FFmpeg's lines about damaged video; set a level to see them.",
    "OPENCV_LOG_LEVEL": "sal ingest hides OpenCV's warnings; set a level to see them.",
    "OPENBLAS_NUM_THREADS": "sal search and serve set it to 1: ranking has its own threads; what you set stays.",
    "OMP_WAIT_POLICY": "sal train sets it to PASSIVE, so that waiting threads leave the processor; what you set stays.",
    "NOTIFY_SOCKET": "Set by systemd: sal serve says there that it answers, and that it stops.",
    "COLUMNS": "The width of tables and help on a terminal.",
}
"""Environment variables that change what sal does."""
LEARN_MORE = {
    "sal COMMAND --help": "What a command does, with examples that can be copied.",
    "sal bundle words": "The words that a description may use.",
    "sal doctor": "What works on this machine, and what to install for what does not.",
    "README.md, docs/": "The manual, in the repository; docs/command.md explains what all commands share.",
}


class Commands(Group):
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

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first word names; names that are near are suggested."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        from sal_cli.help_page import help_page

        formatter.write(help_page(self, ctx, {"Environment variables": ENVIRONMENT, "Learn more": LEARN_MORE}))

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
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
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
        bool,
        typer.Option("--version", "-V", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; may follow the command, too.")
    ] = False,
) -> None:
    """Find people by description: train, export and search with attribute encoders.

    Start here:

    ```
    sal search --attrs 'male,backpack,!hat' --gallery demo/gallery
    ```

    Results go to stdout, and all else to stderr: `2>/dev/null` leaves the results only.
    """
