"""Who runs when and for how long, with a clock that only moves when a contender runs."""

from __future__ import annotations

import itertools
import threading

import pytest

from sal_cli.bench.timing import SLICE_SECONDS, Timing, TimingSettings, time_in_turn


class FakeTime:
    """A clock, and contenders that take the time they are told to take."""

    def __init__(self) -> None:
        self.now = 100.0
        self.log: list[str] = []

    def clock(self) -> float:
        return self.now

    def contender(self, name: str, *seconds: float) -> object:
        durations = itertools.cycle(seconds)

        def run() -> None:
            self.log.append(name)
            self.now += next(durations)

        return run


def rounds(log: list[str]) -> list[tuple[str, int]]:
    """Runs in a row of the same contender."""
    return [(name, len(list(group))) for name, group in itertools.groupby(log)]


def test_contenders_take_turns_until_each_has_enough() -> None:
    fake = FakeTime()
    runs = [fake.contender("fast", 0.0625), fake.contender("slow", 0.25)]
    settings = TimingSettings(warmup_ms=200, min_seconds=1.5, min_iterations=4)
    fast, slow = time_in_turn(runs, settings, fake.clock)  # type: ignore[arg-type]
    # warm-up: 200 ms are 4 runs of 62.5 ms and 1 of 250 ms; a slice is half a second, after one run that is not timed
    assert rounds(fake.log) == [("fast", 4), ("slow", 1)] + 3 * [("fast", 1 + 8), ("slow", 1 + 2)]
    assert fast.latencies_ms == pytest.approx([62.5] * 24)
    assert slow.latencies_ms == pytest.approx([250.0] * 6)
    assert (fast.seconds, slow.seconds) == pytest.approx((1.5, 1.5))
    assert (fast.runs_per_second, slow.runs_per_second) == pytest.approx((16.0, 4.0))


def test_progress_rises_with_what_is_measured() -> None:
    fake = FakeTime()
    told: list[float] = []
    runs = [fake.contender("fast", 0.0625), fake.contender("slow", 0.25)]
    time_in_turn(runs, TimingSettings(min_seconds=1.0, min_iterations=8), fake.clock, told.append)  # type: ignore[arg-type]
    # fast has its second after two slices; slow has two runs in each, and needs eight
    assert told == pytest.approx([0.5, 0.75, 1.25, 1.5, 1.75, 2.0])
    told.clear()
    time_in_turn(runs, TimingSettings(min_seconds=0, min_iterations=1), fake.clock, told.append)  # type: ignore[arg-type]
    assert told == [1.0, 2.0]


def test_a_contender_slower_than_a_slice_goes_on_alone_until_it_has_its_runs() -> None:
    fake = FakeTime()
    runs = [fake.contender("fast", 0.5), fake.contender("slow", 2.0)]
    settings = TimingSettings(min_seconds=1.0, min_iterations=3)
    fast, slow = time_in_turn(runs, settings, fake.clock)  # type: ignore[arg-type]
    assert len(slow.latencies_ms) == 3
    assert slow.seconds == pytest.approx(6.0)
    assert len(fast.latencies_ms) == 3
    assert fake.log[-2:] == ["slow", "slow"]


def test_both_limits_hold() -> None:
    fake = FakeTime()
    (by_seconds,) = time_in_turn([fake.contender("a", 0.01)], TimingSettings(), fake.clock)  # type: ignore[list-item]
    assert by_seconds.seconds >= 3.0
    (by_runs,) = time_in_turn([fake.contender("a", 1.0)], TimingSettings(), fake.clock)  # type: ignore[list-item]
    assert len(by_runs.latencies_ms) == 10


def test_the_time_between_runs_counts_for_throughput_and_not_for_latency() -> None:
    """Wall clock is what throughput is measured in; a clock that moves by itself shows the difference."""
    ticks = itertools.count(0, 0.125)
    (timing,) = time_in_turn([lambda: None], TimingSettings(min_seconds=0.5, min_iterations=2), lambda: next(ticks))
    # each look at the clock takes 125 ms: start; before, after; before, after (0.5 s since the start); end
    assert timing.latencies_ms == pytest.approx([125.0, 125.0])
    assert timing.seconds == pytest.approx(0.625)
    assert timing.runs_per_second == pytest.approx(2 / 0.625)


@pytest.mark.parametrize(("spread", "stable"), [(0.0, True), (0.09, True), (0.11, False)])
def test_latencies_that_vary_are_unstable(spread: float, stable: bool) -> None:
    # two values m - s, m + s (many of each): the standard deviation is s
    timing = Timing([1 - spread, 1 + spread] * 5000, seconds=10)
    assert timing.variation == pytest.approx(spread, rel=1e-3)
    assert timing.is_stable is stable


def test_streams_run_at_the_same_time_and_every_run_counts() -> None:
    together = threading.Barrier(3)
    lock = threading.Lock()
    now = 0.0
    count = 0

    def clock() -> float:
        with lock:
            return now

    def run() -> None:
        """Only returns once three are inside; the clock moves once for the three of them."""
        nonlocal now, count
        if threading.current_thread() is not threading.main_thread():
            if together.wait(timeout=30) == 0:
                with lock:
                    now += 1.0
            together.wait(timeout=30)
            with lock:
                count += 1

    settings = TimingSettings(warmup_ms=0, min_seconds=4 * SLICE_SECONDS, min_iterations=1, streams=3)
    (timing,) = time_in_turn([run], settings, clock)
    # a run lasts a second, so a slice of half a second is one run of each stream; 2 s are two slices
    assert timing.seconds == pytest.approx(2.0)
    assert timing.latencies_ms == pytest.approx([1000.0] * 6)
    assert timing.runs_per_second == pytest.approx(3.0)
    assert count == 3 + 6  # warm-up


def test_what_a_stream_raises_is_raised() -> None:
    def run() -> None:
        raise RuntimeError("out of memory")

    for streams in (1, 2):
        with pytest.raises(RuntimeError, match="out of memory"):
            time_in_turn([run], TimingSettings(streams=streams))
