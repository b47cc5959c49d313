"""The commands `sal audit ...`: verify, show and export the audit log of a service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sal_cli.options import EXIT_FAILED, FILTERS, JsonOption, check_texts
from sal_cli.parsing import CommandModule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sal_service.governance.audit_line import AuditLine

app = CommandModule(help="Verify, show and export the audit log of a service: who did what, when and why.")

LogArgument = Annotated[Path, typer.Argument(help="The audit log, a file.", show_default=False)]
WhoOption = Annotated[
    list[str] | None,
    typer.Option(
        "--who", metavar="NAME", rich_help_panel=FILTERS, help="Take only lines of this token or user; repeatable."
    ),
]
ActionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--action", metavar="ACTION", rich_help_panel=FILTERS, help="Take only this action, such as view; repeatable."
    ),
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="MOMENT",
        rich_help_panel=FILTERS,
        help="Take only lines of this moment or later: 2026-11-23T14:00 (local time), today, yesterday, or an age such "
        "as -2h or -7d.",
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option("--until", metavar="MOMENT", rich_help_panel=FILTERS, help="Take only lines before this moment."),
]


@app.command(epilog="See also: sal audit show, docs/governance.md")
def verify(
    log: LogArgument,
    expect: Annotated[
        str | None,
        typer.Option(
            "--expect",
            metavar="HEAD",
            help="A head that was noted earlier, 64 hexadecimal digits. The log must still contain it: this alone "
            "shows that no lines were removed at the end.",
        ),
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="The file with the key that the log was made with.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check that no line of an audit log was changed, removed, inserted or moved, and print its head.

    ```
    sal audit verify audit.log
    ```

    The first thing that is wrong is one line, and makes the exit code 1. Note the head somewhere else now and then, and
    give it with `--expect` later.
    """
    from sal_cli.show.service.audit import print_verified
    from sal_service.governance.audit import verify_log
    from sal_service.governance.private import read_key

    report = verify_log(log, expect, None if key is None else read_key(key))
    print_verified(report, as_json=as_json)
    if not report.ok:
        raise typer.Exit(EXIT_FAILED)


@app.command(epilog="See also: sal audit verify, sal audit export")
def show(
    log: LogArgument,
    who: WhoOption = None,
    action: ActionOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, help="Show at most this many lines.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """Show lines of an audit log, newest first. They are not verified.

    ```
    sal audit show audit.log --who guard --action view --since -7d
    ```
    """
    from itertools import islice

    from sal_cli.show.service.audit import print_lines
    from sal_service.governance.audit import lines_backwards

    print_lines(list(islice(_chosen(lines_backwards(log), who, action, since, until), limit)), as_json=as_json)


@app.command(epilog="See also: sal audit verify, sal audit show")
def export(
    log: LogArgument,
    form: Annotated[
        Literal["csv", "jsonl"],
        typer.Option("--format", help="Write a table for spreadsheets, or the lines as they are in the log."),
    ] = "csv",
    who: WhoOption = None,
    action: ActionOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write here. Default: stdout.")] = None,
) -> None:
    """Export lines of an audit log, oldest first. They are not verified.

    ```
    sal audit export audit.log --since -30d --out november.csv
    ```

    A selection of lines cannot be verified any more; keep the log itself.
    """
    from sal_cli.show.service.audit import write_lines
    from sal_service.governance.audit import lines_forwards

    write_lines(_chosen(lines_forwards(log), who, action, since, until), form, out)


def _chosen(
    lines: Iterable[AuditLine], who: list[str] | None, action: list[str] | None, since: str | None, until: str | None
) -> Iterator[AuditLine]:
    from sal_runtime.gallery.moments import parse_moment

    check_texts({"--who": who, "--action": action})
    start = float("-inf") if since is None else parse_moment(since)
    stop = float("inf") if until is None else parse_moment(until)
    return (
        line
        for line in lines
        if (not who or line.who in who) and (not action or line.action in action) and start <= line.at < stop
    )
