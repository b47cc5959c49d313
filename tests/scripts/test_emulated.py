"""The run on an emulated processor: what it writes down, and how a killed one goes on. No emulator is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sal_runtime.doctor.machine import int8_instructions
from scripts.emulated import __main__ as emulated
from scripts.emulated.processors import ASK, FEATURES, HWCAP, HWCAP2, PROCESSORS, cpuinfo, features_of

REPOSITORY = Path(__file__).parents[2]
TESTS = """
import os
import pytest

def test_passes():
    pass

def test_fails():
    assert 1 == 2, "they differ"

@pytest.mark.skip(reason="not on a box")
def test_skipped():
    pass

@pytest.fixture
def broken():
    raise OSError("no such thing")

def test_error(broken):
    pass

def test_dies():
    if not os.environ.get("SURVIVES"):
        os._exit(3)
"""


def run_journaled(folder: Path, *arguments: str, **variables: str) -> Path:
    """Run the tests in a folder with the plugin; returns the journal."""
    journal = folder / "journal.jsonl"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "scripts.emulated.journal"]
    subprocess.run(
        [*command, *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(REPOSITORY), "SAL_JOURNAL": str(journal), "PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        check=False,
    )
    return journal


def test_the_journal_tells_how_each_test_ended_also_where_the_process_died(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test_all.py").write_text(TESTS)
    (tmp_path / "test_more.py").write_text("import no_such_module\n")
    (tmp_path / "test_last.py").write_text("def test_one():\n    pass\n")
    journal = emulated.read_journal(run_journaled(tmp_path, "--continue-on-collection-errors"))
    assert journal.unfinished == {"test_all.py::test_dies"}
    assert journal.ended == {"test_more.py"}
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write(json.dumps({"died": "test_all.py::test_dies"}) + "\n")
        file.write('{"began": "test_all.py::te')  # cut short by a kill
    assert emulated.read_journal(tmp_path / "journal.jsonl").died == ["test_all.py::test_dies"]
    (tmp_path / "journal.jsonl").write_text((tmp_path / "journal.jsonl").read_text().rpartition("\n")[0] + "\n")

    rest = ("test_all.py", "test_last.py", "--deselect=test_all.py::test_dies")
    journal = emulated.read_journal(run_journaled(tmp_path, *rest))
    assert journal.unfinished == set()
    assert journal.ended == {"test_all.py", "test_last.py", "test_more.py"}

    explained = tmp_path / "explained.toml"
    explained.write_text('[[failure]]\ntest = "test_more.py"\nwhy = "it is not installed there"\n')
    monkeypatch.setattr(emulated, "EXPLAINED", explained)
    result = emulated.summary(journal, {"test_all.py", "test_last.py", "test_more.py"})
    assert result["counts"] == {"failed": 3, "passed": 2, "skipped": 1, "died": 1, "files": 3}
    assert result["skipped"] == {"not on a box": 1}
    assert [(line["test"], line["explained"]) for line in result["failures"]] == [
        ("test_all.py::test_dies", None),
        ("test_all.py::test_error", None),
        ("test_all.py::test_fails", None),
        ("test_more.py", "it is not installed there"),
    ]
    messages = [line["message"] for line in result["failures"]]
    assert messages[0] == "the emulated process died"
    assert messages[1:3] == ["OSError: no such thing", "AssertionError: they differ"]
    assert "no_such_module" in messages[3]


def test_a_processor_says_what_it_can_as_linux_does() -> None:
    entries = {HWCAP: 1 << 0 | 1 << 1 | 1 << 20, HWCAP2: 1 << 13}
    features = features_of(f"{entries[HWCAP]} {entries[HWCAP2]}\n")
    assert features == ["fp", "asimd", "asimddp", "i8mm"]
    for processor in PROCESSORS:
        content = cpuinfo(processor, features, 2)
        assert content.count("processor\t: ") == 2
        assert int8_instructions(content) == {"asimddp": True, "i8mm": True}
    assert int8_instructions(cpuinfo("cortex-a72", ["fp", "asimd"], 1)) == {"asimddp": False, "i8mm": False}
    assert "CPU part\t: 0xd08\n" in cpuinfo("cortex-a72", [], 1)


def test_the_question_for_features_is_answered_here_too() -> None:
    """`ASK` is a program for any Linux; the numbers mean something else on x86, but there are two."""
    answer = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True).stdout
    assert len(answer.split()) == len(FEATURES)


def test_every_failure_of_the_committed_runs_is_explained() -> None:
    runs = json.loads((REPOSITORY / "benchmarks" / "results" / "arm64.json").read_text(encoding="utf-8"))
    assert [line["test"] for run in runs.values() for line in run["failures"] if line["explained"] is None] == []
    assert runs["neoverse-n1"]["tests"] == list(emulated.TESTS)  # all of them
    assert runs["neoverse-n1"]["counts"]["passed"] > 1_900
    assert all(run["gate"]["ok"] and not run["counts"]["died"] for run in runs.values())
