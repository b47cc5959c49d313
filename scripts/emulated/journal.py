"""A pytest plugin that appends a line to $SAL_JOURNAL for each test that begins, each that ends, and each file.

    SAL_JOURNAL=journal.jsonl python -m pytest -p scripts.emulated.journal tests/runtime

Emulation takes hours. Lines on the disk tell the next run what is left, also where the emulator itself crashed.
Hypothesis draws fewer examples and keeps no deadlines, because they measure the emulator.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

EXAMPLES = 20
"""Examples of each property that asks for no number of its own; 100 on a real processor."""

settings.register_profile("emulated", max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("emulated")


def pytest_runtest_logstart(nodeid: str, location: object) -> None:
    """Note that a test begins."""
    _write({"began": nodeid})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note how a part of a test ended, unless it is the usual beginning or end of one."""
    if report.when == "call" or report.outcome != "passed":
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        _write({"test": report.nodeid, "outcome": report.outcome, "why": why, "seconds": round(report.duration, 1)})


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note a file that cannot be collected, or is skipped whole."""
    if report.outcome != "passed":
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        _write({"test": report.nodeid, "outcome": report.outcome, "why": why, "seconds": 0.0})
        _write({"ended": report.nodeid})


def pytest_runtest_logfinish(nodeid: str, location: object) -> None:
    """Note that a test ended."""
    _write({"finished": nodeid})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> Any:
    """Note that the last test of a file ended."""
    result = yield
    file = item.nodeid.partition("::")[0]
    if nextitem is None or nextitem.nodeid.partition("::")[0] != file:
        _write({"ended": file})
    return result


def _write(line: dict[str, Any]) -> None:
    with open(os.environ["SAL_JOURNAL"], "a", encoding="utf-8") as journal:
        journal.write(json.dumps(line) + "\n")
