"""What a measured number must name: the machine, the versions, the commit and the command that made it."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sal_runtime import __version__

PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "opencv-python", "tensorrt", "tensorrt-rtx", "torch")
"""Whatever may decide how fast something is."""


def machine() -> dict[str, Any]:
    """Processor, cores, GPU (None without one) and operating system; no names of hosts or people."""
    return {"cpu": _cpu_name(), "cores": os.cpu_count(), "gpu": _gpu_name(), "os": platform.platform()}


def versions() -> dict[str, str]:
    """Of sal, Python and those of `PACKAGES` that are installed."""
    found = {package: installed_version(package) for package in PACKAGES}
    installed = {package: text for package, text in found.items() if text is not None}
    return {"sal": __version__, "python": platform.python_version(), **installed}


def installed_version(package: str) -> str | None:
    """Of a package, or None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit() -> str:
    """The commit of the checkout this code runs from (`+` marks changes that are not in it), else sal's version.

    A repository that merely contains the virtual environment is not sal's and is not asked.
    """
    root = Path(__file__).resolve().parents[1]
    if (root / ".git").exists():
        try:
            described = subprocess.run(
                ("git", "describe", "--always", "--dirty=+"), capture_output=True, text=True, check=True, cwd=root
            )
            return described.stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            pass  # without git, or in a checkout git refuses, the version is all that is known
    return __version__


def command_line(arguments: Sequence[str]) -> str:
    """A command as it was typed, absolute paths cut to their last part: `/home/me/sal` becomes `sal`.

    Args:
        arguments: as in `sys.argv`, the program first.
    """
    return shlex.join(_without_folder(argument) for argument in arguments)


def _without_folder(argument: str) -> str:
    option, separator, value = argument.rpartition("=") if argument.startswith("-") else ("", "", argument)
    return option + separator + (Path(value).name if Path(value).is_absolute() else value)


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpu_name() -> str | None:
    """Of the first NVIDIA GPU."""
    try:
        listed = subprocess.run(
            ("nvidia-smi", "--query-gpu=name", "--format=csv,noheader"), capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return next(iter(listed.stdout.splitlines()), None)
