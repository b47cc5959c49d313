"""`sal bench search`: exact top-k of a made-up gallery beside what bounds it and what others take.

One query cannot be ranked before all vectors have been read from memory, many not before they have been multiplied.
Both are measured in the same run, in several ways of which the fastest counts. Answers are checked before.
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

from sal_cli.bench.record import commit
from sal_cli.bench.search_contenders import (
    FAISS,
    GEMM,
    READ,
    SHARES,
    SearchContender,
    approximate_contender,
    bounds,
    made_up_vectors,
    own_contenders,
    peer_contenders,
)
from sal_cli.bench.statistics import latency_summary, percentile
from sal_cli.bench.timing import Clock, Timing, TimingSettings, time_in_turn
from sal_runtime.arrays import BoolArray, Float32Array, Int64Array
from sal_runtime.doctor.machine import machine, versions
from sal_runtime.errors import InputError, ParityError

if TYPE_CHECKING:
    from sal_runtime.arrays import Progress

TOLERANCE = 1e-5
"""Within which scores count as equal: sums of float32 in another order."""
BASELINES = (READ, GEMM, FAISS)
PEERS = ("faiss-cpu", "usearch")


@dataclass(frozen=True)
class SearchOptions:
    """What to measure.

    Attributes:
        items: vectors in the gallery.
        dimension: of the vectors.
        k: hits wanted.
        queries: numbers of queries that are ranked together.
        seed: of the vectors.
        approximate: whether the approximate index is measured too; building it takes minutes.
        timing: how long.
    """

    items: int = 1_000_000
    dimension: int = 128
    k: int = 10
    queries: Sequence[int] = (1, 64)
    seed: int = 0
    approximate: bool = False
    timing: TimingSettings = field(default_factory=TimingSettings)

    def __post_init__(self) -> None:
        """Refuse what cannot be measured.

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
        recall: share of the k exact hits that it finds; 1 where it is exact, None where it is no ranking.
        relative: its median latency over that of the fastest READ, GEMM and FAISS that were measured.
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
        notes: what was left out, and why; a line each.
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
        progress: told (numbers of queries done, numbers of queries in all).
        clock: seconds; tests pass in their own.

    Raises:
        BackendError: the approximate index is wanted, and usearch is not installed.
        ParityError: an exact contender gives a wrong answer; nothing is measured.
    """
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    rng = np.random.default_rng(options.seed)
    vectors = made_up_vectors(rng, options.items + max(options.queries), options.dimension)
    gallery, queries = vectors[: options.items], vectors[options.items :]
    contenders = [*bounds(gallery), *own_contenders(gallery, options.k, rng)]
    peers, notes = peer_contenders(gallery, options.k)
    contenders += peers
    rows: list[SearchRow] = []
    with tempfile.TemporaryDirectory(prefix="sal-bench-") as folder:
        if options.approximate:
            contenders.append(approximate_contender(gallery, options.k, Path(folder) / "index"))
        recalls = check_answers(contenders, gallery, queries, options)
        for done, num_queries in enumerate(options.queries):
            if progress is not None:
                progress(done, len(options.queries))
            runs = [partial(one.run, queries[:num_queries]) for one in contenders]
            rows += compare(contenders, num_queries, time_in_turn(runs, options.timing, clock), recalls)
    return SearchBench(options, created, tuple(rows), tuple(notes))


def check_answers(
    contenders: Sequence[SearchContender], gallery: Float32Array, queries: Float32Array, options: SearchOptions
) -> list[float | None]:
    """The recall of each contender, after its answers to each number of queries have been checked.

    Raises:
        ParityError: an exact one gives other rows than a full sort does, and not because of equal scores.
    """
    expected: dict[int, Int64Array] = {}
    for mask in {id(one.allowed): one.allowed for one in contenders}.values():
        expected[id(mask)] = by_full_sort(gallery, queries, options.k, mask)
    recalls: list[float | None] = []
    for one in contenders:
        reference = expected[id(one.allowed)]
        recall = None
        for num_queries in options.queries if one.kind != "bound" else ():
            rows = one.run(queries[:num_queries])
            if one.kind == "exact":
                check_exact(one.name, rows, reference[:num_queries], gallery, queries[:num_queries], one.allowed)
            pairs = zip(rows, reference, strict=False)
            recall = sum(len(np.intersect1d(*pair)) for pair in pairs) / (num_queries * options.k)
        recalls.append(1.0 if one.kind == "exact" else recall)
    return recalls


def by_full_sort(gallery: Float32Array, queries: Float32Array, k: int, allowed: BoolArray | None) -> Int64Array:
    """The k best rows int64 `[Q, k]`, in the plainest way there is."""
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
    """Refuse an answer with other scores than the expected ones, or with rows that are twice in it or do not compete.

    Raises:
        ParityError: it is one.
    """
    fits = rows.shape == expected.shape and all(len(np.unique(one)) == len(one) for one in rows)
    if fits and (allowed is None or allowed[rows].all()):
        wanted, got = (np.einsum("qd,qkd->qk", queries, gallery[each], dtype=np.float64) for each in (expected, rows))
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
    medians = [percentile(timing.latencies_ms, 50) for timing in timings]
    fastest = {
        baseline: min(median for one, median in zip(contenders, medians, strict=True) if one.baseline == baseline)
        for baseline in BASELINES
        if any(one.baseline == baseline for one in contenders)
    }
    return [
        SearchRow(one, num_queries, timing, recall, {name: median / least for name, least in fastest.items()})
        for one, timing, recall, median in zip(contenders, timings, recalls, medians, strict=True)
    ]


def search_document(bench: SearchBench, command: str) -> dict[str, Any]:
    """The JSON document, with machine, versions and commit.

    Args:
        bench: the result.
        command: that made it, as `machine_record.command_line` gives it.
    """
    options = bench.options
    return {
        "tool": "sal bench search",
        "command": command,
        "commit": commit(),
        "created": bench.created,
        "machine": machine(),
        "versions": versions(PEERS),
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


def _row_json(row: SearchRow) -> dict[str, Any]:
    return {
        "contender": row.contender.name,
        "engine": row.contender.engine,
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
