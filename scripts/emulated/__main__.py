"""Run the tests of the runtime and of the command on an emulated 64-bit ARM processor, and write down how they ended.

    python -m scripts.emulated /var/tmp/arm64 --processor neoverse-n1 --out benchmarks/results/arm64.json

The first run makes the Debian in the folder, from the commit of this clone (minutes). Tests take hours; a run that was
killed goes on with the test files that are left. Name files or folders of tests to run only these. PyTorch, GPUs and
research data are not there: tests that need them are skipped, for the reasons that they give.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import tomllib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sal_runtime.doctor.machine import command_line, cpu_name
from scripts.emulated.processors import PROCESSORS
from scripts.emulated.root import (
    CHECKOUT,
    REPOSITORY,
    VENV,
    EmulationError,
    commit_of,
    features,
    make_root,
    run_in,
    versions_in,
)
from scripts.release.distributions import ReleaseError

TESTS = ("tests/runtime", "tests/cli")
GATE = f"{VENV}/bin/python -m sal_cli bundle verify --bundle bundles/edge --gate demo/gallery --precision int8 --json"
"""fp32 is compared with the golden embeddings before anything is compared with it; fp16 runs as fp32 on a processor."""
EXPLAINED = Path(__file__).with_name("explained.toml")


@dataclass
class Journal:
    """What the lines of `journal.py` say.

    Attributes:
        tests: the last line of each test, by its name.
        ended: files of which every test ended.
        died: tests in which the emulated process ended by itself.
        unfinished: tests that began and did not end; of them, and of those that died, nothing else is known.
        gate: what the gate said; None before it ran.
    """

    tests: dict[str, dict[str, Any]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    died: list[str] = field(default_factory=list)
    unfinished: set[str] = field(default_factory=set)
    gate: dict[str, Any] | None = None


def main() -> int:
    """Make the root, run the tests and the gate; 1 if a failure is not explained."""
    parser = argparse.ArgumentParser(prog="python -m scripts.emulated", description=__doc__)
    parser.add_argument("root", type=Path, help="folder of the emulated Debian, some 2 GB; made if it is missing")
    parser.add_argument("--processor", choices=PROCESSORS, default="neoverse-n1")
    parser.add_argument("--out", type=Path, help="JSON to write, with an entry for each processor")
    parser.add_argument("--update", action="store_true", help="begin again with the commit that this clone is at")
    parser.add_argument(
        "tests", nargs="*", default=TESTS, help=f"files or folders of tests; default: {' '.join(TESTS)}"
    )
    given = parser.parse_intermixed_args()
    try:
        make_root(given.root.resolve(), given.update)
        result = run_tests(given.root.resolve(), given.processor, given.tests)
    except (EmulationError, ReleaseError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)
        return 1
    if given.out is not None:
        written = json.loads(given.out.read_text(encoding="utf-8")) if given.out.is_file() else {}
        written[given.processor] = result
        given.out.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    print(json.dumps({key: result[key] for key in ("counts", "failures", "gate")}, indent=2))
    return int(any(failure["explained"] is None for failure in result["failures"]))


def run_tests(root: Path, processor: str, tests: list[str]) -> dict[str, Any]:
    """Run the test files that are left, and the gate of the shipped bundle; the result for one processor."""
    commit = commit_of(root)
    path = root / f"root/journal-{processor}.jsonl"
    files = _files(root, tests)
    journal = read_journal(path)
    while left := [file for file in files if file not in journal.ended]:
        print(f"{len(left)} of {len(files)} test files are left on {processor}", file=sys.stderr, flush=True)
        command = [
            f"{VENV}/bin/python",
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "scripts.emulated.journal",
        ]
        command += [f"--deselect={test}" for test in journal.died]
        before = path.stat().st_size if path.exists() else 0
        done = run_in(root, processor, [*command, *left], SAL_JOURNAL=f"/root/{path.name}")
        if not path.exists() or path.stat().st_size == before:
            raise EmulationError(f"pytest ran no test:\n{done.stdout}")
        journal = read_journal(path)
        with path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({"died": test}) + "\n" for test in journal.unfinished)
        journal = read_journal(path)
    if journal.gate is None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"gate": run_gate(root, processor)}) + "\n")
        journal = read_journal(path)
    return {
        "command": command_line(("python", "-m", "scripts.emulated", *sys.argv[1:])),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": commit,
        "host": cpu_name(),
        "emulator": _first_line(["qemu-aarch64-static", "--version"]),
        "features": features(root, processor),
        "versions": versions_in(root, processor),
        "tests": list(tests),
        **summary(journal, set(files)),
        "gate": journal.gate,
    }


def run_gate(root: Path, processor: str) -> dict[str, Any]:
    """What `sal bundle verify --gate` says there of the shipped bundle.

    Raises:
        EmulationError: it did not run.
    """
    done = run_in(root, processor, GATE.split())
    start = done.stdout.find("{\n")  # behind warnings, which go the same way
    if start < 0:
        raise EmulationError(f"the gate did not run:\n{done.stdout}")
    said: dict[str, Any] = json.loads(done.stdout[start:])
    return said


def read_journal(path: Path) -> Journal:
    """What is written so far; a last line that was cut short by a kill is left out."""
    journal = Journal()
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for text in lines:
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if "began" in line:
            journal.unfinished.add(line["began"])
        elif "finished" in line:
            journal.unfinished.discard(line["finished"])
        elif "died" in line:
            journal.unfinished.discard(line["died"])
            journal.died.append(line["died"])
        elif "ended" in line:
            journal.ended.add(line["ended"])
        elif "gate" in line:
            journal.gate = line["gate"]
        elif journal.tests.get(line["test"], {}).get("outcome") != "failed" or line["outcome"] == "failed":
            journal.tests[line["test"]] = line
    return journal


def summary(journal: Journal, files: set[str]) -> dict[str, Any]:
    """Counts, reasons of skipped tests, and failures with what explains them, of the tests in some files."""
    lines = [line for line in journal.tests.values() if line["test"].partition("::")[0] in files]
    died = [test for test in journal.died if test.partition("::")[0] in files]
    failed = [(line["test"], line["why"]) for line in lines if line["outcome"] == "failed"]
    failed += [(test, "the emulated process died") for test in died]
    explained = tomllib.loads(EXPLAINED.read_text(encoding="utf-8")).get("failure", [])
    skipped = Counter(line["why"].removeprefix("Skipped: ") for line in lines if line["outcome"] == "skipped")
    counts = Counter(line["outcome"] for line in lines)
    return {
        "counts": {**dict(sorted(counts.items())), "died": len(died), "files": len(files)},
        "test_seconds": round(sum(line["seconds"] for line in lines)),
        "skipped": dict(skipped.most_common()),
        "failures": [
            {
                "test": test,
                "message": _message(why),
                "explained": next((entry["why"] for entry in explained if test.startswith(entry["test"])), None),
            }
            for test, why in sorted(failed)
        ],
    }


def _message(why: str) -> str:
    """The line of a traceback that says what was wrong."""
    lines = [line[1:].strip() for line in why.splitlines() if line.startswith("E ")] or why.splitlines()[-1:]
    return lines[0][:300] if lines else ""


def _files(root: Path, tests: list[str]) -> list[str]:
    """Test files in the emulated checkout, by their names there, in the order in which they are named."""
    checkout = Path(str(root) + CHECKOUT)
    found: list[Path] = []
    for name in tests:
        place = checkout / name
        found += sorted(place.rglob("test_*.py")) if place.is_dir() else [place]
    return list(dict.fromkeys(str(path.relative_to(checkout)) for path in found))


def _first_line(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY).stdout.splitlines()[0]


if __name__ == "__main__":
    sys.exit(main())
