"""Measures for `sal bench search`: exact top-k of a made-up gallery, its lower bounds, and other libraries.

One query cannot be ranked before all vectors have been read from memory; many queries, not before all vectors have been
multiplied with them. Both bounds are measured in the same run, in several ways of which the fastest counts. Answers are
checked before anything is timed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sal_cli.bench.record import now, result_document
from sal_cli.bench.search_contenders import (
    FAISS,
    GEMM,
    PART_ROWS,
    READ,
    SHARES,
    SearchContender,
    approximate_contender,
    bounds,
    made_up_vectors,
    own_contenders,
    peer_contenders,
)
from sal_cli.bench.statistics import latency_summary
from sal_cli.bench.timing import Clock, Timing, TimingSettings, time_in_turn
from sal_runtime.arrays import BoolArray, Float32Array, Int64Array
from sal_runtime.errors import InputError, ParityError

if TYPE_CHECKING:
    from sal_runtime.arrays import Progress

TOLERANCE = 1e-5
"""Largest difference of scores that count as equal: they are sums of float32 in another order."""
BASELINES = (READ, GEMM, FAISS)
PEERS = ("faiss-cpu", "usearch")


@dataclass(frozen=True)
class SearchOptions:
    """What to measure.

    Attributes:
        items: number of vectors in the gallery.
        dimension: number of coordinates of a vector.
        k: number of hits.
        queries: numbers of queries that are ranked together.
        seed: the same seed gives the same vectors.
        approximate: also measure the approximate index; building it takes minutes.
        timing: how long to measure.
        part_rows: number of vectors in each part of the gallery, as a gallery keeps them in memory.
    """

    items: int = 1_000_000
    dimension: int = 128
    k: int = 10
    queries: Sequence[int] = (1, 64)
    seed: int = 0
    approximate: bool = False
    timing: TimingSettings = field(default_factory=TimingSettings)
    part_rows: int = PART_ROWS

    def __post_init__(self) -> None:
        """Refuse options that cannot be measured.

        Raises:
            InputError: a number is below 1, or the strictest filter would leave fewer than k rows.
        """
        if not self.queries or min(self.items, self.dimension, self.k, *self.queries) < 1:
            raise InputError(f"got {self}, expected items, dimension, k and each number of queries to be at least 1")
        fewest = int(self.items * min(SHARES) / 2)
        if self.k > fewest:
            raise InputError(f"got k = {self.k}, expected at most {fewest} with {self.items} items")


@dataclass(frozen=True)
class SearchRow:
    """One contender with one number of queries.

    Attributes:
        recall: share of the k exact hits that the contender finds; 1 if it is exact, None if it does not rank.
        relative: median latency divided by that of the fastest contender of each baseline that was measured.
    """

    contender: SearchContender
    num_queries: int
    timing: Timing
    recall: float | None
    relative: dict[str, float]


@dataclass(frozen=True)
class SearchBench:
    """The result.

    Attributes:
        created: when the measurement began, UTC.
        notes: a line for each contender that was left out, with the reason.
    """

    options: SearchOptions
    created: str
    rows: tuple[SearchRow, ...]
    notes: tuple[str, ...]


def bench_search(
    options: SearchOptions, progress: Progress | None = None, clock: Clock = time.perf_counter
) -> SearchBench:
    """Make a gallery, check that all exact contenders give the same answers, then measure them in turn.

    Args:
        options: what to measure.
        progress: called with hundredths of steps done and in all; a step is making the gallery, sorting it, checking a
            contender, or timing it with one number of queries.
        clock: returns seconds; tests pass their own.

    Raises:
        BackendError: the approximate index is requested, and usearch is not installed.
        ParityError: an exact contender gives a wrong answer; nothing is measured.
    """
    created = now()
    steps = _Steps(progress or (lambda done, total: None), 1)
    rng = np.random.default_rng(options.seed)
    vectors = made_up_vectors(rng, options.items + max(options.queries), options.dimension, options.part_rows)
    gallery, queries = vectors[: options.items], vectors[options.items :]
    parts = [gallery[start : start + options.part_rows] for start in range(0, len(gallery), options.part_rows)]
    contenders = [*bounds(gallery), *own_contenders(parts, options.k, rng)]
    peers, notes = peer_contenders(gallery, options.k)
    contenders += peers
    rows: list[SearchRow] = []
    with tempfile.TemporaryDirectory(prefix="sal-bench-") as folder:
        if options.approximate:
            contenders.append(approximate_contender(gallery, parts, options.k, Path(folder) / "index"))
        masks = len({id(contender.allowed) for contender in contenders})
        steps.total = 1 + masks + len(contenders) * (1 + len(options.queries))
        steps.add(1)
        recalls = check_answers(contenders, gallery, queries, options, steps)
        for num_queries in options.queries:
            runs = [partial(contender.run, queries[:num_queries]) for contender in contenders]
            timings = time_in_turn(runs, options.timing, clock, steps.show)
            steps.add(len(contenders))
            rows += compare(contenders, num_queries, timings, recalls)
    return SearchBench(options, created, tuple(rows), tuple(notes))


class _Steps:
    """Tells a progress of steps, which may be done in part.

    Args:
        progress: is told.
        total: number of steps; may be set later.
    """

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0
        self.show(0)

    def add(self, steps: int) -> None:
        """Some more steps are done."""
        self.done += steps
        self.show(0)

    def show(self, more: float) -> None:
        """Some more steps are done, but will be told again."""
        self.progress(round(100 * (self.done + more)), 100 * self.total)


def check_answers(
    contenders: Sequence[SearchContender],
    gallery: Float32Array,
    queries: Float32Array,
    options: SearchOptions,
    steps: _Steps,
) -> list[float | None]:
    """The recall of each contender, after its answers to each number of queries have been checked.

    Raises:
        ParityError: an exact contender gives other rows than a full sort does, and not because of equal scores.
    """
    expected: dict[int, Int64Array] = {}
    for mask in {id(contender.allowed): contender.allowed for contender in contenders}.values():
        expected[id(mask)] = by_full_sort(gallery, queries, options.k, mask)
        steps.add(1)
    recalls: list[float | None] = []
    for contender in contenders:
        allowed = contender.allowed
        reference = expected[id(allowed)]
        recall = None
        for num_queries in options.queries if contender.kind != "bound" else ():
            rows = contender.run(queries[:num_queries])
            if contender.kind == "exact":
                check_exact(contender.name, rows, reference[:num_queries], gallery, queries[:num_queries], allowed)
            pairs = zip(rows, reference, strict=False)
            recall = sum(len(np.intersect1d(*pair)) for pair in pairs) / (num_queries * options.k)
        recalls.append(1.0 if contender.kind == "exact" else recall)
        steps.add(1)
    return recalls


def by_full_sort(gallery: Float32Array, queries: Float32Array, k: int, allowed: BoolArray | None) -> Int64Array:
    """The k best rows int64 `[Q, k]`, best first, by sorting all scores."""
    rows = np.arange(len(gallery)) if allowed is None else np.flatnonzero(allowed)
    answers = np.empty((len(queries), k), np.int64)
    for number, query in enumerate(queries):
        scores = (gallery @ query)[rows]
        best = np.argpartition(-scores, k - 1)[:k]
        answers[number] = rows[best[np.argsort(-scores[best], kind="stable")]]
    return answers


def check_exact(
    name: str,
    rows: Int64Array,
    expected: Int64Array,
    gallery: Float32Array,
    queries: Float32Array,
    allowed: BoolArray | None,
) -> None:
    """Refuse an answer with other scores than expected, with a row twice, or with a row that does not compete.

    Raises:
        ParityError: the answer is wrong.
    """
    are_distinct = rows.shape == expected.shape and all(len(np.unique(hits)) == len(hits) for hits in rows)
    if are_distinct and (allowed is None or allowed[rows].all()):
        wanted, got = (np.einsum("qd,qkd->qk", queries, gallery[hits], dtype=np.float64) for hits in (expected, rows))
        if np.abs(wanted - got).max() <= TOLERANCE:
            return
    raise ParityError(f"{name} does not give the rows that a full sort gives for {len(queries)} queries; nothing timed")


def compare(
    contenders: Sequence[SearchContender],
    num_queries: int,
    timings: Sequence[Timing],
    recalls: Sequence[float | None],
) -> list[SearchRow]:
    """The rows of one number of queries."""
    medians = [timing.percentile_ms(50) for timing in timings]
    fastest: dict[str, float] = {}
    for baseline in BASELINES:
        measured = [
            median for contender, median in zip(contenders, medians, strict=True) if contender.baseline == baseline
        ]
        if measured:
            fastest[baseline] = min(measured)
    return [
        SearchRow(contender, num_queries, timing, recall, {name: median / least for name, least in fastest.items()})
        for contender, timing, recall, median in zip(contenders, timings, recalls, medians, strict=True)
    ]


def search_document(bench: SearchBench) -> dict[str, Any]:
    """The JSON document of a result."""
    options = bench.options
    content = {
        "settings": {
            "items": options.items,
            "dimension": options.dimension,
            "k": options.k,
            "seed": options.seed,
            "warmup_ms": options.timing.warmup_ms,
            "min_seconds": options.timing.min_seconds,
            "min_iterations": options.timing.min_iterations,
        },
        "rows": [_row_json(row) for row in bench.rows],
    }
    return result_document("sal bench search", bench.created, content, PEERS)


def _row_json(row: SearchRow) -> dict[str, Any]:
    return {
        "contender": row.contender.name,
        "engine": row.contender.library,
        "kind": row.contender.kind,
        "queries": row.num_queries,
        "recall": row.recall,
        "iterations": len(row.timing.latencies_ms),
        "seconds": row.timing.seconds,
        "latency_ms": latency_summary(row.timing.latencies_ms),
        "coefficient_of_variation": row.timing.variation,
        "stable": row.timing.is_stable,
        "relative_latency": row.relative,
    }
