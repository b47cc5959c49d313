"""Who has a token: `sal token list`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sal_cli.show.terminal import console, print_json, table
from sal_runtime.gallery.moments import moment_text

if TYPE_CHECKING:
    from sal_service.governance.tokens import Token


def print_tokens(tokens: Sequence[Token], *, as_json: bool) -> None:
    """Print the tokens of a file, without their hashes."""
    rows = [
        {
            "name": token.principal.name,
            "roles": sorted(token.principal.roles),
            "expires_at": token.expires_at,
            "expired": token.expires_at <= time.time(),
        }
        for token in tokens
    ]
    if as_json:
        print_json({"tokens": rows})
        return
    made = table("name", "roles", "ends", left=3)
    for row, token in zip(rows, tokens, strict=True):
        ends = moment_text(token.expires_at) + (" (has ended)" if row["expired"] else "")
        made.add_row(token.principal.name, ", ".join(sorted(token.principal.roles)), ends)
    console().print(made if tokens else "no tokens")
