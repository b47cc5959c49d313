"""What the commands show to people: a progress bar and a table; results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sal_runtime.errors import InputError, SalError

if TYPE_CHECKING:
    from sal_runtime.arrays import Progress


@contextmanager
def progress_bar(label: str) -> Iterator[Progress]:
    """A bar on stderr that appears with the first call of what it gives, and only where a person is looking.

    Usage: `with progress_bar("encoding") as progress: progress(done, total)`.
    """
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    bar = Bar(TextColumn(label), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(stderr=True))
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
    """The one JSON document of a command, on stdout."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def write_file(path: Path, data: bytes) -> None:
    """Write a file that appears under its name only when whole, and say so on stderr.

    Raises:
        SalError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise SalError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)
    print(f"wrote {path}", file=sys.stderr)


def check_places(*files: Path | None) -> None:
    """Refuse results that cannot be written, before the work is done.

    Raises:
        InputError: the folder of a file does not exist.
    """
    for file in files:
        if file is not None and not file.parent.is_dir():
            raise InputError(f"{file}: the folder {file.parent} does not exist; make it first")


def printable(text: str) -> str:
    """`text` with escapes for what cannot be printed: the name of a file must not steer a terminal."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def print_failed(failed: Sequence[tuple[str, str]]) -> None:
    """Name on stderr what was skipped, and why."""
    for path, reason in failed:
        print(f"sal: skipped {printable(path)}: {printable(reason)}", file=sys.stderr)
