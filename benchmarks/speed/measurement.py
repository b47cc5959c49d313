"""What every benchmark shares: rounds in turn, the machine in words, a JSON file with the command that made it."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sal_cli.bench.record import command_line, commit
from sal_runtime.doctor.machine import machine, versions

RESULTS = Path(__file__).parents[1] / "results"


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


def write_result(name: str, result: Mapping[str, Any], folder: Path = RESULTS) -> None:
    """Write FOLDER/NAME.json and print it."""
    command = command_line(("python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]))
    where = {**machine(), "load_before": round(os.getloadavg()[0], 2)}
    document = {"command": command, "commit": commit(), "machine": where, "versions": versions(), **result}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    print(f"wrote {path}", file=sys.stderr)
