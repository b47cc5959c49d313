"""Time and memory of a training on a CPU with and without kept freed memory (`sal_train/cpu_memory.py`), in turn.

    python -m benchmarks.speed.freed_memory [KEY=VALUE ...]

KEY=VALUE changes a setting of the recipe `sal`, as in `sal train --set`.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys

import torch

from benchmarks.speed.iteration_cost import Contender
from benchmarks.speed.measurement import in_turn, ratio, summary, write_result
from sal_train.cpu_memory import keep_freed_memory
from sal_train.recipe import load_config

ROUNDS = 7
ITERATIONS = 6
CHILD = "--in-this-process"


def measure_here(kept: bool, settings: list[str]) -> None:
    """Print the median seconds of an iteration and the largest resident set in MiB."""
    if kept and not keep_freed_memory():
        sys.exit("this C library cannot keep freed memory")
    torch.manual_seed(0)
    config = load_config("sal", ["model.weights=none", *settings])
    contender = Contender(config, config.stages[0].phases, unseen=True)
    times = [contender.iterate() for _ in range(2 + ITERATIONS)][2:]
    print(statistics.median(times), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Measure and write the result."""
    if CHILD in sys.argv:
        _, _, which, *settings = sys.argv
        measure_here(which == "kept", settings)
        return
    settings = sys.argv[1:]
    sizes: dict[str, list[float]] = {"kept": [], "default": []}

    def process(which: str) -> float:
        command = [sys.executable, "-m", "benchmarks.speed.freed_memory", CHILD, which, *settings]
        seconds, size = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
        sizes[which].append(size)
        return seconds

    times = in_turn({which: lambda which=which: process(which) for which in sizes}, ROUNDS)  # type: ignore[misc]
    write_result(
        "freed_memory",
        {
            "settings": settings,
            "rounds": ROUNDS,
            "threads": torch.get_num_threads(),
            "seconds_an_iteration": {which: summary(values) for which, values in times.items()},
            "kept_to_default": ratio(times["kept"], times["default"]),
            "peak_mib": {which: max(values) for which, values in sizes.items()},
        },
    )


if __name__ == "__main__":
    main()
