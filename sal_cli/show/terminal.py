"""What all commands show with: tables, JSON, files and a progress bar; results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sal_runtime.errors import InputError, SalError
from sal_runtime.files import whole_file

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from sal_runtime.arrays import Progress

UNCUT = 100_000
"""Width in characters where no person is looking: a pipe gets every line whole."""
UNBROKEN = "\u00a0"
"""Stands for a space at which no line may end."""
SENSITIVE_MARK = "◆"
"""Follows the name of a sensitive attribute, such as gender or age."""


def console(*, stderr: bool = False) -> Console:
    """Stdout or stderr for tables and text: as wide as the terminal; in a pipe, nothing is cut or wrapped."""
    from rich.console import Console

    is_terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(stderr=stderr, highlight=False, markup=False, width=None if is_terminal else UNCUT)


def wrapped(text: str, width: int, indent: str = "", first: str = "") -> list[str]:
    """A paragraph in lines, none of which ends between backticks: what is typed can be copied.

    Args:
        text: the paragraph.
        width: of a line, in characters; only what must not be broken is longer.
        indent: begins all lines but the first.
        first: begins the first line.
    """
    kept = re.sub(r"`[^`]*`", lambda quoted: quoted[0].replace(" ", UNBROKEN), re.sub(r"[ \n]+", " ", text))
    lines = textwrap.wrap(
        kept, width, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )
    return [line.replace(UNBROKEN, " ") for line in lines]


def table(*columns: str, left: int = 1) -> Table:
    """A table without lines.

    Args:
        columns: the headers.
        left: number of columns, from the first, that are aligned to the left; all others are numbers.
    """
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for number, column in enumerate(columns):
        made.add_column(column, justify="left" if number < left else "right", no_wrap=True)
    return made


@contextmanager
def progress_bar(label: str, *, percent: bool = False) -> Iterator[Progress]:
    """A bar on stderr with the time that is left; it appears when its progress is first called, only on a terminal.

    Usage: `with progress_bar("encoding") as progress: progress(done, total)`.

    Args:
        label: what is going on.
        percent: show the share that is done, instead of numbers.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    count = TaskProgressColumn() if percent else MofNCompleteColumn()
    bar = Bar(
        TextColumn(label), BarColumn(), count, TimeRemainingColumn(), TextColumn("left"), console=console(stderr=True)
    )
    task = bar.add_task(label)

    def show(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        if bar.live.is_started:
            bar.stop()


def print_json(document: dict[str, Any]) -> None:
    """Print the one JSON document of a command on stdout."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def write_file(path: Path, data: bytes) -> None:
    """Write a file that appears under its name only when whole, and say so on stderr.

    Raises:
        SalError: it cannot be written.
    """
    try:
        with whole_file(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise SalError(f"{path}: cannot be written ({error.strerror or error})") from error
    print(f"wrote {path}", file=sys.stderr)


def check_places(*files: Path | None) -> None:
    """Refuse files that could not be written, before the work is done.

    Raises:
        InputError: a file is a folder, or its folder does not exist.
    """
    for file in files:
        if file is not None and not file.parent.is_dir():
            raise InputError(f"{file}: the folder {file.parent} does not exist; make it first")
        if file is not None and file.is_dir():
            raise InputError(f"{file}: is a folder; name a file")


def printable(text: str) -> str:
    """`text` with escapes for what cannot be printed: the name of a file must not steer a terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def print_failed(failed: Sequence[tuple[str, str]]) -> None:
    """Name on stderr what was skipped, and why."""
    for path, reason in failed:
        print(f"sal: skipped {printable(path)}: {printable(reason)}", file=sys.stderr)
