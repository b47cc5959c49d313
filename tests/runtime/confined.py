"""Checks that may crash, hang or eat memory, in a process of their own, so that the test can say which case did it."""

from __future__ import annotations

import faulthandler
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest


def check_confined(check: Callable[[int], str], cases: range, *, megabytes: int, seconds: float = 30) -> dict[str, int]:
    """Call `check` with the number of each case in a new process, and count its answers.

    Args:
        check: a function of a module; answers with a word that says how the case went, raises where it went wrong.
        cases: their numbers.
        megabytes: of address space the process may take beyond what it has after the first case.
        seconds: a case that takes longer hangs. The slowest takes three, a usual one less than a thousandth.
    """
    context = get_context("spawn")
    current = context.Value("q", -1, lock=False)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(check, cases, megabytes, seconds, current, sender))
    process.start()
    sender.close()
    try:
        counts, failure = receiver.recv()
    except EOFError:
        counts, failure = {}, None
    process.join()
    if process.exitcode != 0:
        how = signal.Signals(-process.exitcode).name if (process.exitcode or 0) < 0 else str(process.exitcode)
        pytest.fail(f"case {current.value} ended the process with {how} (SIGALRM: more than {seconds} seconds)")
    if failure is not None:
        pytest.fail(f"case {current.value}: {failure}")
    return dict(counts)


def _work(
    check: Callable[[int], str], cases: range, megabytes: int, seconds: float, current: Any, sender: Connection
) -> None:
    counts: dict[str, int] = {}
    check(cases[0])  # imports, threads and caches are not the memory of a case
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + megabytes * 2**20,) * 2)
    # the default action of the signal ends the process wherever it hangs, in C++ too; first the stack is printed
    faulthandler.register(signal.SIGALRM, file=sys.__stderr__, chain=True)
    failure = None
    for case in cases:
        current.value = case
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            answer = check(case)
        except Exception:
            failure = traceback.format_exc(limit=-4)
            break
        counts[answer] = counts.get(answer, 0) + 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    sender.send((counts, failure))
