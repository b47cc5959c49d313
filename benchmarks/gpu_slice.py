"""Trainings on a rented GPU, in slices: what goes there, what is done there, what comes home (docs/gpu_training.md).

    python -m benchmarks.gpu_slice pack --data DATA --weights resnet50.safetensors      here
    python -m benchmarks.gpu_slice unpack                                               there, after each part
    python -m benchmarks.gpu_slice run --plan benchmarks/plans/gpu.toml --minutes 8 --out OUT
    python -m benchmarks.gpu_slice expect --out OUT
    python -m benchmarks.gpu_slice collect HOME                                         here again

There, everything lies below one folder that git ignores: packs/, data/, cache/, runs/ and results/. While the machine
lasts, each `run` goes on where the last one stopped. A new machine knows the result files that are committed; what has
none, and what others start from, it trains from the beginning.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.data_packs import WEIGHTS, missing_of, pack, unpack
from benchmarks.home_packs import Door, bring_home, collect
from benchmarks.measurement import RESULTS, write_result
from benchmarks.step_throughput import Limits, Step, expectation
from benchmarks.training_campaign import Places, PlannedRun, carry_out, load_plan
from sal_runtime.errors import InputError, SalError
from sal_train.training_log import METRICS_FILE

MIB = 1 << 20
WORK = Path("slice")
TRAININGS = RESULTS / "training"


def remaining(planned: Sequence[PlannedRun], only: str, committed: Path) -> list[PlannedRun]:
    """The runs without a committed result, and those that they start from, whose models a new machine does not have.

    Args:
        planned: of a plan, in its order.
        only: a regular expression; runs whose name it matches are wanted.
        committed: the folder of result files of earlier machines.
    """
    needed: set[str | None] = set()
    todo = []
    for run in reversed(planned):
        measured = (committed / run.plan / f"{run.file_name}.json").is_file()
        if run.file_name in needed or (re.search(only, run.file_name) and not measured):
            needed.add(run.start_from)
            todo.append(run)
    return todo[::-1]


def run_slice(options: argparse.Namespace) -> int:
    """Unpack, train until time is up, and write what comes home after every run; 3 when there is more to do."""
    started = time.monotonic()
    deadline = started + 60 * options.minutes
    missing = unpack(options.work / "packs", options.work / "data")
    todo = remaining(load_plan(options.plan), options.only, options.committed)
    absent = missing_of(missing, (WEIGHTS, *dict.fromkeys(run.dataset for run in todo)))
    if absent:
        named = "; ".join(f"{group}: {', '.join(names)}" for group, names in absent.items())
        raise InputError(f"parts are missing: {named}; bring them, or choose other runs with --only")
    work: Path = options.work
    places = Places(work / "data", work / "runs", work / "results", work / "cache")
    door = Door(int(options.file_mib * MIB), int(options.total_mib * MIB))
    done = True
    left_out = bring_home(places.runs, places.results, options.models, options.out, door)
    for run in todo:
        if (places.results / run.plan / f"{run.file_name}.json").is_file():
            continue
        try:
            done = carry_out([run], places, deadline)
        finally:
            left_out = bring_home(places.runs, places.results, options.models, options.out, door)
        if not done:
            break
    _report(todo, places, left_out, started)
    return 0 if done else 3


def _report(todo: Sequence[PlannedRun], places: Places, left_out: Sequence[str], started: float) -> None:
    for run in todo:
        curve = places.runs / run.file_name / METRICS_FILE
        finished = (places.results / run.plan / f"{run.file_name}.json").is_file()
        epochs = len(curve.read_text(encoding="utf-8").splitlines()) if curve.is_file() else 0
        print(f"{run.file_name}: {epochs} epochs, {'finished' if finished else 'to do'}")
    if left_out:
        print(f"models left out (not there yet, or too much for one command): {', '.join(left_out)}")
    print(f"{time.monotonic() - started:.0f} s")


def pack_here(options: argparse.Namespace) -> int:
    """Write the pack and list its parts."""
    parts = pack(options.data, options.datasets, options.weights, options.work / "packs", options.part_mib * MIB)
    for part in parts:
        print(f"{options.work / 'packs' / part.file}: {part.files} files, {part.bytes / MIB:.1f} MiB")
    return 0


def unpack_there(options: argparse.Namespace) -> int:
    """Lay out the parts that have come; 0 when all have."""
    missing = unpack(options.work / "packs", options.work / "data")
    print(f"missing: {', '.join(part.file for part in missing) or 'nothing'}")
    return 3 if missing else 0


def collect_here(options: argparse.Namespace) -> int:
    """Sort what came home and say what it was."""
    found = collect(options.home, options.runs, options.results)
    for name in found.results:
        print(f"new: {options.results / name}")
    for name in found.kept:
        print(f"kept, was here already: {options.results / name}")
    for name in found.models:
        print(f"run with a model: {options.runs / name}")
    if found.left_out:
        print(f"models that did not come along: {', '.join(found.left_out)}")
    if not found.same_sources:
        print("the code there is not the code here: the new results name no commit; add it by hand")
    return 0


def expect_there(options: argparse.Namespace) -> int:
    """What the device should give and what it gives."""
    step = Step(options.batch, options.height, options.width, options.device, options.seconds)
    limits = Limits.of(options.device, options.peak_tflops, options.copy_gb_per_second)
    write_result("gpu_slice_expect", expectation(step, limits, _variants(options)), options.out)
    return 0


def _variants(options: argparse.Namespace) -> tuple[bool, ...]:
    """Whether the trunk is compiled, for each measurement."""
    if options.limits_only:
        return ()
    return (False, True) if options.compile else (False,)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Trainings on a rented GPU, in slices (docs/gpu_training.md).")
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("pack", help="here: put data sets and weights into parts that can be carried")
    one.add_argument("--data", type=Path, required=True, help="folder with Market-1501 and PETA")
    one.add_argument("--datasets", nargs="+", default=["market1501", "peta"])
    one.add_argument("--weights", nargs="*", default=[], help="files of weights, or efficientnet_lite0")
    one.add_argument("--part-mib", type=int, default=32, help="largest part")
    one.set_defaults(command=pack_here)
    two = commands.add_parser("unpack", help="there: lay out the parts that have come")
    two.set_defaults(command=unpack_there)
    three = commands.add_parser("run", help="there: go on with a plan, and write what comes home")
    three.add_argument("--plan", type=Path, required=True)
    three.add_argument("--only", default="", help="a regular expression: runs whose DATASET-NAME-seedN it matches")
    three.add_argument("--minutes", type=float, required=True, help="stop after the epoch in which they have passed")
    three.add_argument("--models", nargs="*", default=[], help="runs whose model comes home, most important first")
    three.add_argument("--out", type=Path, required=True, help="where what comes home is written")
    three.add_argument("--file-mib", type=float, default=15.5, help="largest file that may leave")
    three.add_argument("--total-mib", type=float, default=60, help="of all files together")
    three.add_argument("--committed", type=Path, default=TRAININGS, help="result files of earlier slices")
    three.set_defaults(command=run_slice)
    four = commands.add_parser("collect", help="here: sort what came home into runs and results")
    four.add_argument("home", type=Path)
    four.add_argument("--runs", type=Path, default=Path("runs/gpu"))
    four.add_argument("--results", type=Path, default=TRAININGS)
    four.set_defaults(command=collect_here)
    five = commands.add_parser("expect", help="images a second that the device should give, and those it gives")
    five.add_argument("--device", default="cuda")
    five.add_argument("--batch", type=int, default=128)
    five.add_argument("--height", type=int, default=256)
    five.add_argument("--width", type=int, default=128)
    five.add_argument("--seconds", type=float, default=5.0, help="that each measurement takes")
    five.add_argument("--peak-tflops", type=float, help="of bf16 products; measured if not given")
    five.add_argument("--copy-gb-per-second", type=float, help="read and written together; measured if not given")
    five.add_argument("--compile", action="store_true", help="measure with torch.compile, too")
    five.add_argument("--limits-only", action="store_true", help="compute what it should give and measure nothing")
    five.add_argument("--out", type=Path, default=RESULTS, help="folder of gpu_slice_expect.json")
    five.set_defaults(command=expect_there)
    for command in (one, two, three):
        command.add_argument("--work", type=Path, default=WORK, help="folder of everything that git ignores")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 3 when there is more to do or to bring."""
    options = _options(arguments)
    try:
        status: int = options.command(options)
    except SalError as error:
        print(f"gpu_slice: {error}", file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
