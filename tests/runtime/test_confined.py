"""The process in which hostile input is tried: whatever happens there is reported with the number of the case."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from tests.runtime.confined import check_confined

BAD_CASE = 3


def is_odd(number: int) -> str:
    return "odd" if number % 2 else "even"


def crashes(number: int) -> str:
    if number == BAD_CASE:
        os.kill(os.getpid(), signal.SIGSEGV)
    return "fine"


def hangs(number: int) -> str:
    while number == BAD_CASE:
        pass
    return "fine"


def eats_memory(number: int) -> str:
    return str(len(bytes(200_000_000 if number == BAD_CASE else 1)))


def is_wrong(number: int) -> str:
    assert number != BAD_CASE, "what is wrong"
    return "fine"


def test_answers_are_counted() -> None:
    assert check_confined(is_odd, range(7), megabytes=100) == {"even": 4, "odd": 3}


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (crashes, "ended the process with SIGSEGV"),
        (hangs, "ended the process with SIGALRM"),
        (eats_memory, "MemoryError"),
        (is_wrong, "what is wrong"),
    ],
)
def test_what_goes_wrong_names_the_case(check: Callable[[int], str], words: str) -> None:
    with pytest.raises(pytest.fail.Exception, match=rf"(?s)case {BAD_CASE}\b.*{words}"):
        check_confined(check, range(6), megabytes=100, seconds=1)
