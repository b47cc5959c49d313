"""Run `sal` as a person does, inside the test's process."""

from __future__ import annotations

import pytest

from sal_cli import app as cli

Outcome = tuple[int, str, str]


def run_sal(capsys: pytest.CaptureFixture[str], *arguments: object) -> Outcome:
    """Exit code, stdout and stderr of one command."""
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    code = ended.value.code
    printed = capsys.readouterr()
    return (0 if code is None else int(code)), printed.out, printed.err


def check_one_error(outcome: Outcome, code: int, *words: str) -> None:
    """One line on stderr with these words, nothing on stdout, and this exit code."""
    assert outcome[0] == code
    assert outcome[1] == ""
    (line,) = outcome[2].splitlines()
    assert line.startswith("sal: error: ")
    for word in words:
        assert word in line
