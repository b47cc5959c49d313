"""What the commands `sal audit ...` found."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from sal_cli.show.terminal import check_places, console, print_json, printable, wrapped
from sal_runtime.errors import SalError
from sal_runtime.files import whole_file
from sal_runtime.gallery.moments import moment_text

if TYPE_CHECKING:
    from sal_service.governance.audit import AuditReport
    from sal_service.governance.audit_line import AuditLine

COLUMNS = ("sequence", "at", "who", "action", "why", "what", "hash")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of a cell that spreadsheets would compute; whoever may search could write one into a reason."""

MOST_NAMED = 5
"""Entries of a list that people are shown; JSON and exports have all."""


def print_verified(report: AuditReport, *, as_json: bool) -> None:
    """Print whether a log is in order, in one line, and its head; on stderr what a kill left in it."""
    if as_json:
        print_json({"ok": report.ok, **vars(report)})
        return
    if report.problem is not None:
        print(f"broken: {report.problem}")
        return
    print(f"ok: {report.lines:,} {'line' if report.lines == 1 else 'lines'}, head {report.head}")
    if report.cut:
        print(f"sal: note: {report.cut:,} times a writer was killed in the middle of a line", file=sys.stderr)
    if report.unfinished:
        print("sal: note: the last line is incomplete; a writer was killed, or is just writing", file=sys.stderr)


def print_lines(lines: Sequence[AuditLine], *, as_json: bool) -> None:
    """Print lines for people, with the first few of long lists; or, as JSON, as they are in the log."""
    if as_json:
        print_json({"lines": [line.to_json() for line in lines]})
        return
    width = console().width
    for line in lines:
        print(f"{line.sequence}  {moment_text(line.at)}  {printable(line.who)}  {printable(line.action)}")
        what = ", ".join(f"{name} {_text(value)}" for name, value in line.what.items())
        for title, text in (("why ", line.why), ("what", what)):
            if text:
                print("\n".join(wrapped(printable(text), width, indent=" " * 8, first=f"  {title}  ")))
    if not lines:
        print("no lines")


def write_lines(lines: Iterable[AuditLine], form: str, out: Path | None) -> None:
    """Write lines as CSV or as they are in the log, into a file or on stdout.

    Raises:
        InputError: the folder of the file does not exist.
        SalError: the file cannot be written.
    """
    check_places(out)
    try:
        with ExitStack() as stack:
            file: TextIO = sys.stdout
            if out is not None:
                temporary = stack.enter_context(whole_file(out))
                file = stack.enter_context(temporary.open("w", encoding="utf-8", newline=""))
            count = _write(lines, form, file)
    except OSError as error:
        raise SalError(f"{out or 'stdout'}: cannot be written ({error.strerror or error})") from error
    if out is not None:
        print(f"wrote {count:,} lines to {out}", file=sys.stderr)


def _write(lines: Iterable[AuditLine], form: str, file: TextIO) -> int:
    writer = csv.writer(file, lineterminator="\n")
    if form == "csv":
        writer.writerow(COLUMNS)
    count = 0
    for line in lines:
        document, count = line.to_json(), count + 1
        if form == "csv":
            document |= {"what": json.dumps(document["what"], sort_keys=True)}
            writer.writerow([_cell(document[name]) for name in COLUMNS])
        else:
            file.write(json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n")
    return count


def _cell(value: Any) -> Any:
    is_formula = isinstance(value, str) and value.startswith(FORMULA)
    return f"'{value}" if is_formula else value


def _text(value: Any) -> str:
    if isinstance(value, list):
        more = f" and {len(value) - MOST_NAMED:,} more" if len(value) > MOST_NAMED else ""
        return "; ".join(map(_text, value[:MOST_NAMED])) + more
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
