"""The commands `sal token ...`: who may use a service."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, cast

import typer

from sal_cli.completion import complete_role
from sal_cli.options import JsonOption, check_words
from sal_cli.parsing import CommandModule

LONGEST_DAYS = 3650
ROLES = ("search", "ingest", "admin")
"""`sal_service.governance.tokens.Role`, which is not imported for every help text."""

app = CommandModule(help="Say who may use a service: add, list and remove tokens.")

NameArgument = Annotated[str, typer.Argument(help="A name for who has the token, such as guard.", show_default=False)]
FileOption = Annotated[Path, typer.Option("--file", metavar="FILE", help="The file of tokens. Default: tokens.toml.")]


@app.command(epilog="See also: sal token list, docs/governance.md")
def add(
    name: NameArgument,
    role: Annotated[
        list[str],
        typer.Option(
            "--role",
            metavar="ROLE",
            autocompletion=complete_role,
            help="What it may do: search (search, see images), ingest (add images) or admin (everything); repeatable.",
        ),
    ],
    days: Annotated[
        int, typer.Option("--days", metavar="N", min=1, max=LONGEST_DAYS, help="End the token after so many days.")
    ] = 90,
    file: FileOption = Path("tokens.toml"),
    as_json: JsonOption = False,
) -> None:
    """Make a token and print it, once: the file keeps only its hash.

    ```
    sal token add guard --role search --days 90
    ```

    A service that runs takes the token at once.
    """
    import time

    from sal_cli.show.terminal import print_json
    from sal_runtime.gallery.moments import moment_text
    from sal_service.governance.tokens import Role, add_token

    roles = cast("list[Role]", check_words("--role", role, ROLES))
    expires_at = time.time() + days * 86400
    token = add_token(file, name, roles, expires_at)
    if as_json:
        print_json({"name": name, "roles": sorted(set(roles)), "expires_at": expires_at, "token": token})
    else:
        print(token)
    ends = moment_text(expires_at)
    print(f"sal: give the token to {name} and keep no copy; it ends {ends} and cannot be shown again", file=sys.stderr)


@app.command("list", epilog="See also: sal token add, sal token remove")
def list_(file: FileOption = Path("tokens.toml"), as_json: JsonOption = False) -> None:
    """List who has a token, with which roles, and until when.

    ```
    sal token list
    ```
    """
    from sal_cli.show.service.token import print_tokens
    from sal_service.governance.tokens import list_tokens

    print_tokens(list_tokens(file), as_json=as_json)


@app.command(epilog="See also: sal token list")
def remove(name: NameArgument, file: FileOption = Path("tokens.toml"), as_json: JsonOption = False) -> None:
    """Remove a token: a service that runs refuses it at once.

    ```
    sal token remove guard
    ```
    """
    from sal_cli.show.terminal import print_json
    from sal_service.governance.tokens import remove_token

    remove_token(file, name)
    if as_json:
        print_json({"removed": name})
    else:
        print(f"removed the token {name}")
