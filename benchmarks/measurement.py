"""What every benchmark shares: rounds in turn, the machine in words, a JSON file with the command that made it."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "onnxruntime", "opencv-python", "torch")


def in_turn(contenders: Mapping[str, Callable[[], float]], rounds: int, warmup: int = 1) -> dict[str, list[float]]:
    """Let each contender measure itself once a round, one after the other, so that a slow minute hits all alike."""
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(warmup + rounds):
        for name, measure in contenders.items():
            value = measure()
            if number >= warmup:
                measured[name].append(value)
        print(f"round {number + 1}/{warmup + rounds}", file=sys.stderr)
    return measured


def summary(values: list[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(numerator: list[float], denominator: list[float]) -> dict[str, float]:
    """Of the pairs of each round."""
    return summary([one / other for one, other in zip(numerator, denominator, strict=True)])


def seconds(work: Callable[[], object]) -> float:
    """Wall time of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def machine() -> dict[str, Any]:
    """Where it was measured, without names of hosts or people."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def commit() -> str:
    """The commit that is measured; `+` marks changes that are not in it."""
    described = subprocess.run(
        ("git", "describe", "--always", "--dirty=+"), capture_output=True, text=True, check=False, cwd=RESULTS.parent
    )
    return described.stdout.strip()


def write_result(name: str, result: Mapping[str, Any]) -> None:
    """Write benchmarks/results/NAME.json and print it."""
    command = " ".join(("python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]))
    document = {"command": command, "commit": commit(), "machine": machine(), **result}
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    print(f"wrote {path}", file=sys.stderr)
