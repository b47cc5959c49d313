"""Errors of the libraries name settings and parameters; options are the command's words."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("package", ["sal_train", "sal_export"])
def test_errors_do_not_speak_of_options(package: str) -> None:
    raised = 0
    for path in (REPOSITORY / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Raise):
                raised += 1
                texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant)]
                options = [text for text in texts if isinstance(text, str) and re.search(r"(^|[\s`])--[a-z]", text)]
                assert not options, f"{path.relative_to(REPOSITORY)}:{node.lineno}: {options}"
    assert raised > 20
