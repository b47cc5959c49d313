"""The page on the command says what its help says."""

from __future__ import annotations

import re
from pathlib import Path

from sal_cli import options
from sal_cli.app import ENVIRONMENT

PAGE = (Path(__file__).parents[2] / "docs" / "command.md").read_text(encoding="utf-8")


def test_exit_codes_are_those_of_the_command() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, flags=re.MULTILINE)}
    assert codes == {0, options.EXIT_FAILED, options.EXIT_USAGE, options.EXIT_INTERRUPTED}
    assert codes == {int(code) for code in re.findall(r"\b\d+\b", options.EXIT_CODES)}


def test_environment_variables_are_those_of_the_help() -> None:
    assert re.findall(r"^\| `([A-Z_]+)` \|", PAGE, flags=re.MULTILINE) == list(ENVIRONMENT)
