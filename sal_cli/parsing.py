"""What all commands share: an option that takes one value may not be given twice, and help is plain text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from sal_runtime.errors import ConfigError

Body = TypeVar("Body", bound=Callable[..., Any])


class _PlainHelp:
    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words after the name of the command in its usage."""
        from sal_cli.help_page import usage_words

        return usage_words(self, ctx)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        from sal_cli.help_page import help_page

        formatter.write(help_page(self, ctx))


class Command(_PlainHelp, TyperCommand):
    """A command that takes each option once, except for those that collect values."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words after the name of the command.

        Raises:
            ConfigError: an option that takes one value is given twice.
        """
        if not ctx.resilient_parsing:  # which is shell completion, in the middle of a line
            _, _, given = self.make_parser(ctx).parse_args(args=list(args))
            single = [option for option in given if option.param_type_name == "option" and not option.multiple]
            for option, count in Counter(single).items():
                if count > 1:
                    raise ConfigError(f"{max(option.opts, key=len)} is given {count} times, expected once")
        return super().parse_args(ctx, args)


class Group(_PlainHelp, TyperGroup):
    """A group of commands."""


class CommandModule(typer.Typer):
    """The commands of one module in `sal_cli.commands`.

    Args:
        help: describes the group; None where the module holds a single command that is no group.
    """

    def __init__(self, help: str | None = None) -> None:
        super().__init__(
            help=help,
            cls=Group,
            no_args_is_help=help is not None,
            add_completion=False,
            pretty_exceptions_enable=False,
            rich_markup_mode=None,
        )

    def command(  # type: ignore[override]  # no module needs its other parameters
        self, name: str | None = None, *, epilog: str | None = None
    ) -> Callable[[Body], Body]:
        """Make a function a command of this module.

        Args:
            name: of the command; None takes that of the function.
            epilog: the last line of its help.
        """
        return super().command(name, cls=Command, epilog=epilog)
