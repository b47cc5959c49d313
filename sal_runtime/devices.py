"""What this machine has that decides where an encoder can run: processor, GPUs, and the installed engine libraries."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from sal_runtime.machine_record import installed_version

INT8_INSTRUCTIONS = {
    "flags": ("avx2", "avx_vnni", "avx512_vnni", "amx_int8"),
    "Features": ("asimddp", "i8mm"),
}
"""That make int8 fast, by the line of /proc/cpuinfo that names them: on x86 and on 64-bit ARM."""
ONNX_RUNTIME_WHEELS = ("onnxruntime", "onnxruntime-gpu")
NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total,compute_cap", "--format=csv,noheader")
NVIDIA_SMI_SECONDS = 20
"""A driver that hangs must not hang us."""


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU as its driver describes it.

    Attributes:
        name: of the model.
        driver: version.
        memory: with its unit.
        compute_capability: such as 8.6.
    """

    name: str
    driver: str
    memory: str
    compute_capability: str


def int8_instructions(cpuinfo: str | None = None) -> dict[str, bool]:
    """Whether the processor has each of the instruction sets that make int8 fast.

    Args:
        cpuinfo: the content of /proc/cpuinfo; read if None.

    Returns:
        By name; empty where it is not known.
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


def find_gpus() -> tuple[tuple[Gpu, ...], str]:
    """The NVIDIA GPUs, and why there are none (empty if there are)."""
    try:
        listed = subprocess.run(NVIDIA_SMI, capture_output=True, text=True, timeout=NVIDIA_SMI_SECONDS, check=False)
    except FileNotFoundError:
        return (), "nvidia-smi is not installed"
    except (OSError, subprocess.TimeoutExpired) as error:
        return (), f"nvidia-smi cannot be asked: {error}"
    if listed.returncode != 0:
        said = (listed.stdout + listed.stderr).strip().splitlines()
        return (), f"nvidia-smi says: {said[0] if said else f'exit code {listed.returncode}'}"
    rows = [[cell.strip() for cell in line.split(",")] for line in listed.stdout.splitlines()]
    found = tuple(Gpu(*row) for row in rows if len(row) == 4)
    return found, "" if found else "nvidia-smi lists none"


def wheels_conflict() -> str:
    """What to do where both packages that bring the module onnxruntime are installed; empty where they are not."""
    found = {wheel: installed_version(wheel) for wheel in ONNX_RUNTIME_WHEELS}
    if None in found.values():
        return ""
    both = " and ".join(f"{wheel} {version}" for wheel, version in found.items())
    return (
        f"{both} are both installed and have overwritten each other's files; "
        f'pip uninstall {" ".join(found)} && pip install "sal-person-search[gpu]" (or [cpu])'
    )
