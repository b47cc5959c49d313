"""The second gate: an encoder of reduced precision must still find what the fp32 encoder finds.

mAP and rank-1 of full queries are measured on the evaluation protocol, the test split of the data set. They choose
nothing: the calibration is chosen on training crops, and here it passes or fails. Both encoders answer the same
queries, so what is judged are the differences query by query, which vary much less than the queries do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from sal_runtime.arrays import AnyArray, Encode, Float32Array, UInt8Array
from sal_train.evaluation.metrics import summarise
from sal_train.evaluation.protocol import Protocol

MAX_LOSS = {"fp16": 0.005, "int8": 0.010}
"""Largest loss of mAP and of rank-1 against fp32, as fractions."""
ENOUGH_QUERIES = 200
"""From this number of queries on, a loss is refused for its size alone. With fewer, it must also be no chance."""
CHANCE = 0.05
"""A loss is no chance if fewer than this share of encoders that lose nothing appear to lose as much."""
NUM_FLIPS = 10_000
"""Random assignments of signs in the paired test."""
ENCODE_BATCH = 64


@dataclass(frozen=True)
class Retrieval:
    """Retrieval metrics of an image encoder on the evaluation protocol, as fractions in 0..1.

    Attributes:
        mAP: mean of the plain average precision of full queries.
        rank1: share of queries with a relevant image first.
        num_queries: full queries, one per category.
        num_gallery: images ranked.
        data: name of the protocol.
        first_hits: numbers of the queries with a relevant image first, ascending.
        average_precisions: of each query, rounded to 5 digits, so that another encoder can be compared query by query.
    """

    mAP: float  # noqa: N815 - the name people and the JSON contract use
    rank1: float
    num_queries: int
    num_gallery: int
    data: str
    first_hits: Sequence[int]
    average_precisions: Sequence[float]

    def to_json(self) -> dict[str, Any]:
        """The metrics as the manifest holds them."""
        return asdict(self)


@dataclass(frozen=True)
class Loss:
    """What an encoder finds less than the fp32 encoder on the same queries; negative if it finds more.

    Attributes:
        mAP: lost mAP, a fraction.
        rank1: lost rank-1, a fraction.
        mAP_chance: probability that an encoder that loses nothing appears to lose this much mAP, in 0..1.
        rank1_chance: the same for rank-1.
        lost_first_hits: number of queries that lost their first hit.
        gained_first_hits: number of queries that gained one.
        num_queries: number of queries.
    """

    mAP: float  # noqa: N815 - as in Retrieval
    rank1: float
    mAP_chance: float  # noqa: N815
    rank1_chance: float
    lost_first_hits: int
    gained_first_hits: int
    num_queries: int

    def to_json(self) -> dict[str, Any]:
        """The loss as the manifest holds it."""
        return asdict(self)


@dataclass(frozen=True)
class Task:
    """The evaluation protocol with decoded images and encoded queries.

    Attributes:
        protocol: queries and relevance.
        images: the gallery in the order of the protocol, uint8 RGB [N, H, W, 3].
        queries: embeddings of the queries, unit vectors float32 [Q, d].
    """

    protocol: Protocol
    images: UInt8Array
    queries: Float32Array


def measure_retrieval(name: str, encode: Encode, task: Task, console: Console) -> Retrieval:
    """Encode the gallery and rank it by the cosine.

    Args:
        name: of the encoder, for the progress bar.
        encode: the encoder.
        task: gallery and queries.
        console: for progress; standard error.
    """
    starts = range(0, len(task.images), ENCODE_BATCH)
    parts = [
        encode(np.asarray(task.images[start : start + ENCODE_BATCH]))
        for start in track(starts, f"retrieval with {name}", console=console, disable=not console.is_terminal)
    ]
    protocol = task.protocol
    precision, first = protocol.rank(task.queries @ np.concatenate(parts).T)
    metrics = summarise(precision, first, len(protocol.categories))
    return Retrieval(
        mAP=metrics.mAP,
        rank1=metrics.rank1,
        num_queries=metrics.num_queries,
        num_gallery=metrics.num_gallery,
        data=protocol.name,
        first_hits=tuple(np.flatnonzero(first == 1).tolist()),
        average_precisions=tuple(np.round(precision, 5).tolist()),
    )


def loss_of(reference: Retrieval, measured: Retrieval) -> Loss:
    """Compare an encoder with the fp32 encoder, query by query.

    Args:
        reference: metrics of the fp32 encoder.
        measured: metrics of the other encoder on the same queries.
    """
    precision = np.subtract(reference.average_precisions, measured.average_precisions)
    before, after = set(reference.first_hits), set(measured.first_hits)
    first = np.zeros(len(precision))
    first[sorted(before - after)] = 1
    first[sorted(after - before)] = -1
    return Loss(
        mAP=reference.mAP - measured.mAP,
        rank1=reference.rank1 - measured.rank1,
        mAP_chance=chance_of_loss(precision),
        rank1_chance=chance_of_loss(first),
        lost_first_hits=len(before - after),
        gained_first_hits=len(after - before),
        num_queries=len(precision),
    )


def chance_of_loss(differences: AnyArray) -> float:
    """Probability that paired differences have at least this mean if either sign was as likely for each of them.

    This is the one-sided randomisation test for two systems on the same queries (Smucker, Allan and Carterette, CIKM
    2007). For differences of -1, 0 and 1 it is the sign test. With fewer than five queries it cannot fall below 0.05.

    Args:
        differences: float `[Q]`, positive where the second system is worse.
    """
    rng = np.random.default_rng(0)
    signs = rng.integers(0, 2, (NUM_FLIPS, len(differences)), dtype=np.int8) * 2 - 1
    sums = signs @ np.asarray(differences, np.float64)
    return float((1 + np.sum(sums >= np.sum(differences) - 1e-9)) / (1 + NUM_FLIPS))


def refusals(loss: Loss, precision: str) -> tuple[str, ...]:
    """Why an encoder finds too little; empty if it finds enough.

    Args:
        loss: against the fp32 encoder.
        precision: of the encoder; not fp32.

    Returns:
        A clause for each of mAP and rank-1 that fell by more than `MAX_LOSS`, and, with fewer than `ENOUGH_QUERIES`
        queries, by more than chance explains.
    """
    return tuple(text for text, is_chance in _large_losses(loss, precision) if not is_chance)


def doubts(loss: Loss, precision: str) -> tuple[str, ...]:
    """Losses above `MAX_LOSS` that are not refused because there are too few queries to tell them from chance."""
    return tuple(text for text, is_chance in _large_losses(loss, precision) if is_chance)


def _large_losses(loss: Loss, precision: str) -> list[tuple[str, bool]]:
    """Each loss above `MAX_LOSS` as a clause, and whether it may be chance."""
    limit = MAX_LOSS[precision]
    flips = f"; {loss.lost_first_hits} lost their first hit, {loss.gained_first_hits} gained one"
    measured = (("mAP", loss.mAP, loss.mAP_chance, ""), ("rank-1", loss.rank1, loss.rank1_chance, flips))
    return [
        (
            f"{name} falls by {100 * lost:.2f} points of at most {100 * limit:.1f} "
            f"({loss.num_queries} queries{more}; probability of chance {100 * chance:.0f} %)",
            loss.num_queries < ENOUGH_QUERIES and chance >= CHANCE,
        )
        for name, lost, chance, more in measured
        if lost > limit
    ]
