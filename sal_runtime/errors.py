"""The errors of sal: one small tree, so that a caller can catch `SalError` and print one line.

A message says what was got, what was expected and what to do about it.
"""


class SalError(Exception):
    """Anything sal refuses to do; the text is meant for the person at the screen.

    Args:
        message: what was got, what was expected, what to do.
        parameter: name of the parameter at fault, so that a command can name its option.
    """

    def __init__(self, message: str = "", *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


class ConfigError(SalError):
    """A recipe, an override or a command-line option is wrong."""


class SchemaError(SalError, ValueError):
    """An attribute schema, or a query written in its words, is wrong."""


class BundleError(SalError):
    """A bundle is incomplete, altered, or of a format this version does not know."""


class InputError(SalError, ValueError):
    """An image, a data set, a gallery or another input cannot be used."""


class ReindexedError(InputError):
    """A gallery was encoded anew with another bundle while it was open: open it again, with that bundle."""


class BusyError(SalError):
    """More work is waiting than is taken; try again later."""


class BackendError(SalError, RuntimeError):
    """An engine library is missing, or the asked device or precision cannot be had."""


class ParityError(SalError):
    """An exported encoder does not give what its source gives."""


def install(extra: str, *before: str) -> str:
    """How an extra of sal is installed: from the checkout, because sal is on no package index.

    Args:
        extra: an extra of pyproject.toml, or several with commas between them.
        before: commands to run first.
    """
    commands = " && ".join((*before, f'pip install ".[{extra}]"'))
    return f"in the checkout of sal: `{commands}`"


def first_line(error: BaseException) -> str:
    """The first line of an error's text, or the name of its type where it has no text."""
    return (str(error).strip() or type(error).__name__).partition("\n")[0]
