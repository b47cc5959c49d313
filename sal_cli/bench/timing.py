"""Timing several contenders in turn, in short slices, so that a slow minute of the machine slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from sal_cli.bench.statistics import STABLE_VARIATION, coefficient_of_variation, percentile

SLICE_SECONDS = 0.5

Clock = Callable[[], float]


@dataclass(frozen=True)
class TimingSettings:
    """How long to measure.

    Attributes:
        warmup_ms: untimed runs of each contender before anything is timed; at least one run in each stream.
        min_seconds: least wall clock that each contender is timed for.
        min_iterations: least number of timed runs of each contender.
        streams: number of threads that run one contender at the same time.
    """

    warmup_ms: int = 200
    min_seconds: float = 3.0
    min_iterations: int = 10
    streams: int = 1


@dataclass
class Timing:
    """The timed runs of one contender.

    Attributes:
        latencies_ms: latency of each run of every stream, in milliseconds.
        seconds: wall clock that all these runs took together.
    """

    latencies_ms: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def runs_per_second(self) -> float:
        """Runs of all streams in a second of wall clock."""
        return len(self.latencies_ms) / self.seconds

    def percentile_ms(self, percent: int) -> float:
        """Nearest-rank percentile (1..100) of the latencies, in milliseconds."""
        return percentile(self.latencies_ms, percent)

    @property
    def variation(self) -> float:
        """Coefficient of variation of the latencies."""
        return coefficient_of_variation(self.latencies_ms)

    @property
    def is_stable(self) -> bool:
        """Whether the latencies vary little enough to be quoted."""
        return self.variation <= STABLE_VARIATION


def time_in_turn(
    runs: Sequence[Callable[[], object]],
    settings: TimingSettings,
    clock: Clock = time.perf_counter,
    progress: Callable[[float], None] = lambda done: None,
) -> list[Timing]:
    """Time callables in turn, a slice of `SLICE_SECONDS` each, until each has enough.

    Args:
        runs: one run of each contender; called from several threads at once if there are several streams.
        settings: how long to time them.
        clock: returns seconds; tests pass their own.
        progress: called after each slice with the number of contenders that are done; half done counts half.

    Returns:
        A timing for each of `runs`; no timed run is dropped.
    """
    for run in runs:
        _run_slice(run, settings.warmup_ms / 1000, settings.streams, clock)
    timings = [Timing() for _ in runs]
    while waiting := [pair for pair in zip(runs, timings, strict=True) if not _is_enough(pair[1], settings)]:
        for run, timing in waiting:
            run()  # not timed: the caches still hold the data of another contender
            latencies, seconds = _run_slice(run, SLICE_SECONDS, settings.streams, clock)
            timing.latencies_ms += [1000 * latency for latency in latencies]
            timing.seconds += seconds
            progress(sum(_share_done(timing, settings) for timing in timings))
    return timings


def _is_enough(timing: Timing, settings: TimingSettings) -> bool:
    return timing.seconds >= settings.min_seconds and len(timing.latencies_ms) >= settings.min_iterations


def _share_done(timing: Timing, settings: TimingSettings) -> float:
    """How much of what a contender needs is measured, 0..1."""
    seconds = timing.seconds / settings.min_seconds if settings.min_seconds else 1.0
    return min(1.0, seconds, len(timing.latencies_ms) / settings.min_iterations)


def _run_slice(run: Callable[[], object], length: float, streams: int, clock: Clock) -> tuple[list[float], float]:
    """Run for `length` seconds in every stream, at least once: (latency of each run, wall clock over all), seconds."""
    started = clock()

    def stream() -> list[float]:
        latencies = []
        while True:
            before = clock()
            run()
            after = clock()
            latencies.append(after - before)
            if after - started >= length:
                return latencies

    if streams == 1:
        latencies = stream()
    else:
        with ThreadPoolExecutor(streams, "sal-stream") as pool:
            futures = [pool.submit(stream) for _ in range(streams)]
            latencies = [latency for future in futures for latency in future.result()]
    return latencies, clock() - started
