"""The messages that docs/troubleshooting.md quotes are those that sal prints."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"^### `(.+)`$", PAGE, flags=re.MULTILINE)


@cache
def messages() -> tuple[str, ...]:
    """Every text of the packages, with `{}` where a value is put in."""
    return tuple(
        " ".join(text.split())
        for package in ("sal_cli", "sal_export", "sal_runtime", "sal_service", "sal_train")
        for path in sorted((REPOSITORY / package).rglob("*.py"))
        for text in texts(ast.parse(path.read_text(encoding="utf-8")))
    )


def texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield "".join(map(str, parts))


def is_printed(quoted: str) -> bool:
    """Whether a message has all fixed parts of a quotation, in their order and from its beginning to its end."""
    fixed = [re.escape(part) for part in quoted.split("...")]
    pattern = re.compile(r"[^\n]*?".join(fixed))
    return any(pattern.fullmatch(message) for message in messages())


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_quoted_message_exists(quoted: str) -> None:
    assert is_printed(quoted)


def test_other_messages_do_not_exist() -> None:
    assert len(QUOTED) > 20
    assert not is_printed("gallery ...: no such thing")
    assert not is_printed("is open for reading")
    assert is_printed("gallery ...: an item was removed meanwhile; search again")
