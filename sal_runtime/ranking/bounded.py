"""Exact top-k from codes in memory and the few vectors that could be among the best.

    for asked in ask(queries):
        promising = find_promising(asked, parts, k, allowed)  # multiplies codes
        rows, scores = settle(asked, promising, k, read)  # reads vectors, the most promising first

Codes bound every score from below and from above (`codes.py`). The k-th best of the lower bounds is a bar, and a row
whose upper bound is below it cannot be among the best. What is left is read until the k-th best score excludes the
rest. So the answer is that of ranking all vectors in float32, equal scores included.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from sal_runtime.arrays import AnyArray, BoolArray, Float32Array, Float64Array, Int64Array
from sal_runtime.errors import InputError
from sal_runtime.ranking import core
from sal_runtime.ranking.codes import LONGEST_VECTOR, ROUNDING, CodedForms, CodedPart, decode
from sal_runtime.ranking.scoring import Queries, Scoring

FORMS = 64
"""Linear forms multiplied at a time, unless one query has more."""
PAIRS = 2048
"""Pairs of a query and a row that are bounded at a time."""
FEW_PAIRS = 512
"""With so few pairs of a query and an allowed row in a part, these are bounded without multiplying the part."""
HEAD_ROWS = 64
"""Rows of the largest products that are bounded first, to find a bar for the others."""
BAR_SCORES = 2**18
"""Products among which these are looked for."""
READ_ROWS = 2048
"""Vectors read at a time."""
MORE_READ = 3
"""Each time that the vectors read do not exclude the rest, so many times as many are read."""

Read = Callable[[Int64Array], Float32Array]
"""Ascending, distinct rows int64 `[n]` to their vectors float32 `[n, d]`."""


@dataclass(frozen=True)
class Asked:
    """Q queries that are ranked together.

    Attributes:
        forms: float32 `[M, d]`; a score is at most the largest product with those of its query plus their offset.
        offsets: `[M]`.
        owners: the query of each form, int64 `[M]`, ascending.
        slopes: the most by which a score changes for each unit that a vector moves, `[Q]`.
        slacks: the most by which two computed scores differ beside that, `[Q]`.
        scores: takes numbers of queries int64 `[n]` and a vector for each, float32 `[n, d]`; gives float32 `[n]`.
    """

    forms: Float32Array
    offsets: Float64Array
    owners: Int64Array
    slopes: Float64Array
    slacks: Float64Array
    scores: Callable[[Int64Array, Float32Array], Float32Array]


@dataclass(frozen=True)
class Promising:
    """Pairs of a query and a row that can be among the best: their numbers and the bounds of their scores, `[n]` each.

    Attributes:
        numbers: of the queries, int64.
        rows: int64.
        lower: float64.
        upper: float64.
    """

    numbers: Int64Array
    rows: Int64Array
    lower: Float64Array
    upper: Float64Array


def ask(queries: Queries, embedding_dim: int) -> Iterator[Asked]:
    """The queries in the same order, some at a time.

    Args:
        queries: float32 `[Q, d]`, or the scoring of each.
        embedding_dim: d of the vectors.

    Raises:
        InputError: they do not fit, or are not finite.
    """
    if isinstance(queries, np.ndarray):
        for start in range(0, len(queries), FORMS):
            yield _ask_cosines(_checked(queries[start : start + FORMS], embedding_dim))
        return
    waiting: list[Scoring] = []
    for scoring in queries:
        if waiting and sum(len(other.bounds) for other in (*waiting, scoring)) > FORMS:
            yield _ask_scores(waiting, embedding_dim)
            waiting = []
        waiting.append(scoring)
    if waiting:
        yield _ask_scores(waiting, embedding_dim)


def _checked(forms: Float32Array, embedding_dim: int) -> Float32Array:
    core.check_shapes(forms, [np.empty((0, embedding_dim), np.float32)])
    if not np.isfinite(forms).all():
        raise InputError("the queries hold numbers that are not finite")
    return np.ascontiguousarray(forms)


def _ask_cosines(queries: Float32Array) -> Asked:
    def scores(numbers: Int64Array, vectors: Float32Array) -> Float32Array:
        if len(queries) == 1:
            return np.asarray(np.einsum("nd,d->n", vectors, queries[0]))
        return np.asarray(np.einsum("nd,nd->n", vectors, queries[numbers]))

    lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
    slacks = lengths * (2 * ROUNDING * LONGEST_VECTOR * queries.shape[1])
    return Asked(queries, np.zeros(len(queries)), np.arange(len(queries)), lengths, slacks, scores)


def _ask_scores(scorings: Sequence[Scoring], embedding_dim: int) -> Asked:
    def scores(numbers: Int64Array, vectors: Float32Array) -> Float32Array:
        found = np.empty(len(numbers), np.float32)
        for number in set(numbers.tolist()):
            places = np.flatnonzero(numbers == number)
            directions = scorings[number].directions
            found[places] = scorings[number].score(core.Products(directions, len(places)).multiply(vectors, places))
        return found

    return Asked(
        _checked(np.concatenate([scoring.bounds for scoring in scorings]), embedding_dim),
        np.concatenate([scoring.offsets for scoring in scorings]).astype(np.float64),
        np.repeat(np.arange(len(scorings)), [len(scoring.bounds) for scoring in scorings]),
        np.array([scoring.slope for scoring in scorings]),
        np.array([scoring.slack for scoring in scorings]),
        scores,
    )


def find_promising(asked: Asked, parts: Sequence[CodedPart], k: int, allowed: BoolArray | None = None) -> Promising:
    """All pairs of a query and a row that can be among the k best; safe to call from many threads.

    Args:
        asked: the queries.
        parts: of the gallery, in order; rows are numbered across them.
        k: at most the number of rows that compete.
        allowed: bool `[N]`, the rows that compete; None for all.
    """
    forms, bars = CodedForms.of(asked.forms), np.full(len(asked.slopes), -np.inf)
    firsts = np.cumsum([0, *(part.size for part in parts)]).tolist()
    waiting = iter(list(zip(parts, firsts, strict=False)))

    def work() -> Promising:
        found, room = _Found(asked, k, bars), forms.room(parts)
        for part, first in waiting:  # shared by the threads
            mask = None if allowed is None else allowed[first : first + part.size]
            competing = part.size if mask is None else int(np.count_nonzero(mask))
            if competing:
                _look_through(asked, forms, part, first, mask, competing, found, room)
        return found.sorted_out()

    threads = min(os.cpu_count() or 1, len(parts)) if k else 0
    if threads <= 1:
        return work()
    with ThreadPoolExecutor(threads, "sal-codes") as pool:
        results = list(pool.map(lambda _: work(), range(threads)))
    together = _Found(asked, k, bars)
    for result in results:
        together.add(result)
    return together.sorted_out()


def _look_through(
    asked: Asked,
    forms: CodedForms,
    part: CodedPart,
    first: int,
    mask: BoolArray | None,
    competing: int,
    found: _Found,
    room: AnyArray,
) -> None:
    """Add what a part holds; `mask` bool `[part.size]` lets `competing` of its rows compete."""
    if competing * len(asked.slopes) <= FEW_PAIRS:
        rows = np.arange(part.size) if mask is None else np.flatnonzero(mask)
        numbers = np.repeat(np.arange(len(asked.slopes)), competing)
        _bound(asked, part, first, numbers, np.tile(rows, len(asked.slopes)), found)
        return
    products = forms.multiply(part, room)[:, : part.size]
    if competing >= found.k and not np.isfinite(found.bars).all():
        _set_bars(asked, forms, part, products, mask, found)
    values = (found.bars - asked.slacks)[asked.owners] - asked.offsets
    passing = products > forms.limits(part, values)[:, None]
    if mask is not None:
        passing &= mask
    owned, rows = np.divmod(np.flatnonzero(passing), part.size)
    if not len(rows):
        return
    close = forms.can_reach(part, values, owned, rows, products[owned, rows])
    numbers, rows = asked.owners[owned[close]], rows[close]
    if len(asked.owners) > len(asked.slopes):  # a row may pass by several forms of a query
        numbers, rows = np.divmod(np.unique(numbers * part.size + rows), part.size)
    _bound(asked, part, first, numbers, rows, found)


def _set_bars(
    asked: Asked,
    forms: CodedForms,
    part: CodedPart,
    products: AnyArray,
    mask: BoolArray | None,
    found: _Found,
) -> None:
    """Raise the bars by those of the first rows of a part that score best by their codes."""
    head = max(2 * found.k, HEAD_ROWS)
    rows = np.arange(part.size) if mask is None else np.flatnonzero(mask)
    rows = rows[: max(2 * head, BAR_SCORES // len(products))]
    scores = products[:, rows] * (forms.steps[:, None] * part.row_scales()[rows]).astype(np.float32)
    scores += asked.offsets[:, None]
    if len(asked.owners) > len(asked.slopes):
        scores = np.maximum.reduceat(scores, np.searchsorted(asked.owners, np.arange(len(asked.slopes))), axis=0)
    best = np.argpartition(-scores, head, axis=1)[:, :head] if head < len(rows) else np.argsort(-scores, axis=1)
    numbers, rows = np.repeat(np.arange(len(best)), best.shape[1]), rows[best.ravel()]
    tried = _Found(asked, found.k, found.bars)
    _bound(asked, part, 0, numbers, rows, tried)
    tried.sorted_out()


def _bound(asked: Asked, part: CodedPart, first: int, numbers: Int64Array, rows: Int64Array, found: _Found) -> None:
    """Bound the scores of pairs of queries and rows of a part, and add those that can be among the best."""
    for start in range(0, len(rows), PAIRS):
        block = slice(start, start + PAIRS)
        vectors, errors = decode(part.records(rows[block]))
        scores = asked.scores(numbers[block], vectors).astype(np.float64)
        error = asked.slopes[numbers[block]] * errors + asked.slacks[numbers[block]]
        found.add(Promising(numbers[block], first + rows[block], scores - error, scores + error))


@dataclass
class _Found:
    """What one thread has found.

    Attributes:
        asked: the queries.
        k: rows wanted.
        bars: `[Q]`, shared by the threads; a row whose score is below does not matter.
    """

    asked: Asked
    k: int
    bars: Float64Array
    _pairs: list[Promising] = field(default_factory=list)
    _added: int = 0

    def add(self, pairs: Promising) -> None:
        """Add pairs; now and then they are sorted out, and raise the bars."""
        passing = pairs.upper >= self.bars[pairs.numbers]
        self._pairs.append(_pick(pairs, passing))
        self._added += int(np.count_nonzero(passing))
        if self._added >= self.k * len(self.bars):
            self.sorted_out()

    def sorted_out(self) -> Promising:
        """The pairs that can still be among the best."""
        if not self._pairs or self.k == 0:
            nothing = np.empty(0, np.int64)
            return Promising(nothing, nothing, np.empty(0), np.empty(0))
        pairs = Promising(
            *(np.concatenate([getattr(some, name) for some in self._pairs]) for name in vars(self._pairs[0]))
        )
        order = np.lexsort((-pairs.lower, pairs.numbers))
        counts = np.bincount(pairs.numbers, minlength=len(self.bars))
        enough = counts >= self.k
        places = (np.cumsum(counts) - counts + self.k - 1)[enough]
        self.bars[enough] = np.maximum(self.bars[enough], pairs.lower[order[places]])
        pairs = _pick(pairs, pairs.upper >= self.bars[pairs.numbers])
        self._pairs, self._added = [pairs], 0
        return pairs


def _pick(pairs: Promising, which: AnyArray) -> Promising:
    return Promising(pairs.numbers[which], pairs.rows[which], pairs.lower[which], pairs.upper[which])


def settle(asked: Asked, promising: Promising, k: int, read: Read) -> tuple[Int64Array, Float32Array]:
    """Rows int64 and scores float32 `[Q, k]` of the best, best first; among equal scores the lower row comes first.

    Args:
        asked: the queries.
        promising: what was found for them and k.
        k: rows wanted.
        read: called several times, with up to `READ_ROWS` rows.

    Raises:
        InputError: vectors are not finite.
    """
    pairs = _pick(promising, np.lexsort((-promising.upper, promising.numbers)))
    counts = np.bincount(pairs.numbers, minlength=len(asked.slopes))
    places = np.arange(len(pairs.rows)) - np.repeat(np.cumsum(counts) - counts, counts)  # among those of its query
    found = core.Candidates(len(asked.slopes), k)
    waiting, most = np.ones(len(places), np.bool_), max(k, HEAD_ROWS // 2)
    while waiting.any():
        now = np.flatnonzero(waiting & (places < most))
        waiting[now] = False
        now = now[np.argsort(pairs.rows[now], kind="stable")]
        for start in range(0, len(now), READ_ROWS):
            some = now[start : start + READ_ROWS]
            rows, inverse = np.unique(pairs.rows[some], return_inverse=True)
            vectors = read(rows)
            if not np.isfinite(vectors).all():
                raise InputError("the gallery holds numbers that are not finite")
            scores = asked.scores(pairs.numbers[some], vectors[inverse])
            found.add(pairs.numbers[some], pairs.rows[some], scores)
        found.kept()  # raises the bar
        waiting &= pairs.upper >= found.bar[pairs.numbers]
        most *= MORE_READ
    scores, rows = core.best(*found.kept(), k)
    return rows, scores
