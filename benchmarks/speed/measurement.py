"""Shared by all benchmarks: rounds in turn, ratios, and the result file with its command and machine."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sal_cli.bench.record import commit
from sal_runtime.doctor.machine import command_line, machine, versions

RESULTS = Path(__file__).parents[1] / "results"


def in_turn(contenders: Mapping[str, Callable[[], float]], rounds: int, warmup: int = 1) -> dict[str, list[float]]:
    """Let every contender measure itself once in each round, so that a slow minute affects all alike.

    Args:
        contenders: by name, a function that returns one measurement.
        rounds: number of rounds that count.
        warmup: number of rounds before these.

    Returns:
        The measurements of each contender, one for each round.
    """
    measured: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(warmup + rounds):
        for name, measure in contenders.items():
            value = measure()
            if number >= warmup:
                measured[name].append(value)
        print(f"round {number + 1}/{warmup + rounds}", file=sys.stderr)
    return measured


def summary(values: list[float]) -> dict[str, float]:
    """Median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(numerator: list[float], denominator: list[float]) -> dict[str, float]:
    """Summary of the ratios of the two values of each round."""
    return summary([above / below for above, below in zip(numerator, denominator, strict=True)])


def seconds(work: Callable[[], object]) -> float:
    """Wall-clock seconds of a call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def write_result(name: str, result: Mapping[str, Any], folder: Path = RESULTS) -> None:
    """Write `folder/name.json` with the command, commit, machine and versions in front, and print the result."""
    command = command_line(("python", "-m", f"benchmarks.speed.{Path(sys.argv[0]).stem}", *sys.argv[1:]))
    where = {**machine(), "load_before": round(os.getloadavg()[0], 2)}
    document = {"command": command, "commit": commit(), "machine": where, "versions": versions(), **result}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    print(f"wrote {path}", file=sys.stderr)
