"""What a result says about its origin: the machine, the versions, the commit and the command that made it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sal_runtime.doctor.machine import command_line, machine, versions
from sal_runtime.version import __version__


def now() -> str:
    """The time in UTC, such as `2026-11-23T14:00:00Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def result_document(
    tool: str, created: str, content: Mapping[str, Any], packages: Sequence[str] = ()
) -> dict[str, Any]:
    """The JSON document of a result.

    Args:
        tool: the command that measured, such as `sal bench engine`.
        created: when the measurement began, from `now`.
        content: settings and rows of the tool.
        packages: distributions whose versions matter besides those that all results name.
    """
    return {
        "tool": tool,
        "command": command_line(sys.argv),
        "commit": commit(),
        "created": created,
        "machine": machine(),
        "versions": versions(packages),
        **content,
    }


def commit() -> str:
    """The commit of the checkout this code runs from (`+` marks changes that are not in it), else sal's version.

    A repository that merely contains the virtual environment is not sal's and is not asked.
    """
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists():
        try:
            described = subprocess.run(
                ("git", "describe", "--always", "--dirty=+"), capture_output=True, text=True, check=True, cwd=root
            )
            return described.stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            pass  # without git, or in a checkout git refuses, the version is all that is known
    return __version__
