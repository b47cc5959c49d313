"""What a measured number must name: the machine, the versions, the commit and the command that made it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from sal_runtime.doctor.machine import command_line
from sal_runtime.version import __version__

__all__ = ["command_line", "commit"]


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
