"""What decides where an encoder can run and how fast: processor, GPUs, library versions; and what made a result."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sal_runtime.engines.installed import installed_version
from sal_runtime.version import __version__

PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "opencv-python", "tensorrt", "tensorrt-rtx", "torch")
"""Packages whose version may change a result or its speed."""
INT8_INSTRUCTIONS = {
    "flags": ("avx2", "avx_vnni", "avx512_vnni", "amx_int8"),
    "Features": ("asimddp", "i8mm"),
}
"""Instruction sets that make int8 fast, by the line of /proc/cpuinfo that lists them: on x86 and on 64-bit ARM."""
NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total,compute_cap", "--format=csv,noheader")
NVIDIA_SMI_SECONDS = 20
"""Timeout, so that a hung driver cannot block the doctor."""


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU as its driver describes it.

    Attributes:
        name: model name.
        driver: version of the driver.
        memory: size of its memory with the unit.
        compute_capability: for example `8.6`.
    """

    name: str
    driver: str
    memory: str
    compute_capability: str


def int8_instructions(cpuinfo: str | None = None) -> dict[str, bool]:
    """Whether the processor has each of the instruction sets that make int8 fast.

    Args:
        cpuinfo: content of /proc/cpuinfo; None to read it.

    Returns:
        By name; empty if it is unknown.
    """
    if cpuinfo is None:
        file = Path("/proc/cpuinfo")
        cpuinfo = file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in INT8_INSTRUCTIONS:
            has = set(value.split())
            return {name: name in has for name in INT8_INSTRUCTIONS[key.strip()]}
    return {}


def find_gpus(timeout: float = NVIDIA_SMI_SECONDS) -> tuple[tuple[Gpu, ...], str]:
    """The NVIDIA GPUs, and why there are none (empty if there are), after at most `timeout` seconds."""
    try:
        listed = subprocess.run(NVIDIA_SMI, capture_output=True, text=True, timeout=timeout, check=False)
    except FileNotFoundError:
        return (), "nvidia-smi is not installed"
    except (OSError, subprocess.TimeoutExpired) as error:
        return (), f"nvidia-smi cannot be run: {error}"
    if listed.returncode != 0:
        output = (listed.stdout + listed.stderr).strip().splitlines()
        return (), f"nvidia-smi says: {output[0] if output else f'exit code {listed.returncode}'}"
    rows = [[cell.strip() for cell in line.split(",")] for line in listed.stdout.splitlines()]
    found = tuple(Gpu(*row) for row in rows if len(row) == 4)
    return found, "" if found else "nvidia-smi lists none"


def machine() -> dict[str, Any]:
    """Processor, cores, first GPU (None without one) and operating system; no names of hosts or people."""
    gpu = next((gpu.name for gpu in find_gpus()[0]), None)
    return {"cpu": cpu_name(), "cores": os.cpu_count(), "gpu": gpu, "os": platform.platform()}


def versions(packages: Sequence[str] = ()) -> dict[str, str]:
    """Versions of sal and Python, and of each installed package.

    Args:
        packages: names of distributions to look up besides `PACKAGES`.

    Returns:
        Version by name; packages that are not installed are left out.
    """
    found = {package: installed_version(package) for package in (*PACKAGES, *packages)}
    installed = {package: text for package, text in found.items() if text is not None}
    return {"sal": __version__, "python": platform.python_version(), **installed}


def command_line(arguments: Sequence[str]) -> str:
    """A command as it was typed, absolute paths cut to their last part: `/home/me/sal` becomes `sal`.

    Args:
        arguments: as in `sys.argv`, the program first.
    """
    return shlex.join(_without_folder(argument) for argument in arguments)


def _without_folder(argument: str) -> str:
    option, separator, value = argument.rpartition("=") if argument.startswith("-") else ("", "", argument)
    return option + separator + (Path(value).name if Path(value).is_absolute() else value)


def cpu_name(proc: Path = Path("/proc")) -> str:
    """Model of the processor; of the board, where Linux names only that, as on ARM; or else the architecture."""
    cpuinfo, board = proc / "cpuinfo", proc / "device-tree" / "model"
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if board.is_file():
        return board.read_text(encoding="utf-8").strip("\0 \n")
    return platform.processor() or platform.machine()
