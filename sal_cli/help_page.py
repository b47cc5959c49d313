"""The help of a command: plain text without boxes, which reads the same on a terminal, in a pipe and in a file.

A page says what the command does, with examples that can be copied; how it is called; its options in groups; and its
exit codes. Text is wrapped to the terminal, to at most 80 columns; what stands between backticks and in examples never.
"""

from __future__ import annotations

import inspect
import re
import shutil
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from sal_cli.options import EXIT_CODES, OUTPUT
from sal_cli.show.terminal import UNBROKEN, wrapped

WIDTH = 80
LEFT = 30
"""Where the text about an option begins; on a narrow terminal it begins on a line of its own."""
NARROW = 60
FENCE = "```"
WORDS = {str: "TEXT", Path: "PATH", int: "N", float: "NUMBER", bool: ""}
"""What is typed after an option, by the type of its value."""
EVERYWHERE = "Help"
"""The last group of options."""


def help_page(command: Any, ctx: Any, sections: Mapping[str, Mapping[str, str]] | None = None) -> str:
    """The help of a command or a group of commands.

    Args:
        command: the command of typer.
        ctx: its context.
        sections: more lists of names and what they are, by their headings; printed after the options.
    """
    parameters = [parameter for parameter in command.get_params(ctx) if not getattr(parameter, "hidden", False)]
    declared = declarations(command)
    lists: dict[str, list[tuple[str, str]]] = {}
    if hasattr(command, "list_commands"):
        found = ((name, command.get_command(ctx, name)) for name in command.list_commands(ctx))
        lists["Commands"] = [(name, _first_paragraph(one.help)) for name, one in found]
    for parameter in parameters:
        type_, text = declared.get(parameter.name, (bool, parameter.help or ""))
        row = (_spelling(parameter, type_), _about(parameter, text))
        lists.setdefault(_heading(parameter), []).append(row)
    ordered = sorted(lists, key=lambda heading: (heading == EVERYWHERE, heading == OUTPUT))  # which is stable
    named = {heading: lists[heading] for heading in ordered}
    named |= {heading: list(rows.items()) for heading, rows in (sections or {}).items()}
    width = min(shutil.get_terminal_size((WIDTH, 0)).columns, WIDTH)
    blocks = [
        *_text(inspect.cleandoc(command.help or ""), width),
        "\n".join(wrapped(" ".join(["Usage:", ctx.command_path, *usage_words(command, ctx)]), width, indent=" " * 7)),
        *("\n".join([f"{heading}:", *_rows(rows, width)]) for heading, rows in named.items()),
        _paragraph(EXIT_CODES, width),
        *([_paragraph(_unbroken(command.epilog), width)] if command.epilog else ()),
    ]
    return "\n\n".join(blocks) + "\n"


def usage_words(command: Any, ctx: Any) -> list[str]:
    """The words after a command in its usage: its arguments and the options that it needs, by name."""
    declared = declarations(command)
    words = []
    for parameter in command.get_params(ctx):
        if parameter.param_type_name == "argument":
            words.append(_argument(parameter))
        elif parameter.required:
            words.append(f"{parameter.opts[0]} {_word(parameter, declared[parameter.name][0])}")
    return [*words, "COMMAND" if hasattr(command, "list_commands") else "[OPTIONS]"]


def declarations(command: Any) -> dict[str, tuple[Any, str]]:
    """The type of one value, and the text, of each parameter that the function of a command declares, by name."""
    if command.callback is None:
        return {}
    found = inspect.get_annotations(inspect.unwrap(command.callback), eval_str=True)
    return {name: (_one_value(hint), hint.__metadata__[0].help) for name, hint in found.items() if name != "return"}


def _one_value(declared: Any) -> Any:
    """The type of one value: without metadata, without None, and of a list, that of its items."""
    origin, parts = get_origin(declared), get_args(declared)
    if origin is Annotated or origin is list:
        return _one_value(parts[0])
    if origin in (Union, UnionType):
        return next(_one_value(part) for part in parts if part is not type(None))
    return declared


def _word(parameter: Any, type_: Any) -> str:
    """What is typed after an option; empty for a flag."""
    if parameter.metavar:
        return str(parameter.metavar)
    if get_origin(type_) is Literal:
        return "|".join(get_args(type_))
    return WORDS.get(type_, "")


def _spelling(parameter: Any, type_: Any) -> str:
    if parameter.param_type_name == "argument":
        return _argument(parameter)
    names = ", ".join([*sorted(parameter.opts, key=len), *parameter.secondary_opts])
    return f"{names} {_word(parameter, type_)}".rstrip()


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return (name if parameter.required else f"[{name}]") + ("..." if parameter.nargs == -1 else "")


def _heading(parameter: Any) -> str:
    if parameter.param_type_name == "argument":
        return "Arguments"
    if "--help" in parameter.opts:
        return EVERYWHERE
    return getattr(parameter, "rich_help_panel", None) or "Options"


def _about(parameter: Any, text: str) -> str:
    """The text about an option, with its default where the text does not name one."""
    default = parameter.default
    if not isinstance(default, str | int | float) or default is False or "Default:" in text:
        return text
    return f"{text} Default: {parameter.opts[0] if default is True else default}."


def _first_paragraph(text: str | None) -> str:
    return " ".join(inspect.cleandoc(text or "").partition("\n\n")[0].split()).rstrip(":")


def _text(text: str, width: int) -> Iterator[str]:
    """Paragraphs, wrapped, and examples, as they are."""
    for number, part in enumerate(re.split(rf"^{FENCE}\n?", text, flags=re.MULTILINE)):
        if number % 2:
            yield textwrap.indent(part.rstrip("\n"), "  ")
        else:
            yield from (_paragraph(paragraph, width) for paragraph in part.strip().split("\n\n") if paragraph)


def _rows(rows: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
    """Names, and beside each or below it what it is."""
    rows = list(rows)
    left = min(LEFT, max(len(name) for name, _ in rows) + 4) if width >= NARROW else 6
    for name, about in rows:
        text = wrapped(about, width - left)
        if len(name) + 4 <= left and text:
            yield f"  {name}".ljust(left) + text.pop(0)
        else:
            yield f"  {name}"
        yield from (" " * left + line for line in text)


def _unbroken(listing: str) -> str:
    """A list with commas, in which only the commas let a line end."""
    head, colon, items = listing.partition(": ")
    return head + colon + ", ".join(item.replace(" ", UNBROKEN) for item in items.split(", "))


def _paragraph(text: str, width: int) -> str:
    return "\n".join(wrapped(text, width))
