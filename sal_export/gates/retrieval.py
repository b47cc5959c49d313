"""The second gate: an encoder of reduced precision must still find what the fp32 encoder finds.

mAP and rank-1 of full queries are measured on the evaluation protocol, the test split of the data set. They choose
nothing: the calibration is chosen on training crops, and here it passes or fails.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from sal_runtime.arrays import Encode, Float32Array, UInt8Array
from sal_runtime.errors import ParityError
from sal_train.evaluation.metrics import rank_queries, summarise
from sal_train.evaluation.protocol import Protocol

MAX_LOSS = {"fp16": 0.005, "int8": 0.010}
"""Largest loss of mAP and of rank-1 against fp32, as fractions."""
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
    """

    mAP: float  # noqa: N815 - the name people and the JSON contract use
    rank1: float
    num_queries: int
    num_gallery: int
    data: str
    first_hits: Sequence[int]

    def to_json(self) -> dict[str, Any]:
        """The metrics as the manifest holds them."""
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
    relevance = protocol.categories[None, :] == np.arange(len(protocol.queries))[:, None]
    precision, first = rank_queries(task.queries @ np.concatenate(parts).T, relevance)
    metrics = summarise(precision, first, len(protocol.categories))
    first_hits = tuple(np.flatnonzero(first == 1).tolist())
    return Retrieval(metrics.mAP, metrics.rank1, metrics.num_queries, metrics.num_gallery, protocol.name, first_hits)


def check_retrieval(name: str, precision: str, reference: Retrieval, measured: Retrieval) -> None:
    """Refuse an encoder that finds too little.

    Args:
        name: of the encoder, for the message.
        precision: of the encoder; not fp32.
        reference: metrics of the fp32 encoder.
        measured: metrics of the encoder.

    Raises:
        ParityError: mAP or rank-1 fell by more than `MAX_LOSS`.
    """
    limit = MAX_LOSS[precision]
    lost_mean = reference.mAP - measured.mAP
    lost_first = reference.rank1 - measured.rank1
    if max(lost_mean, lost_first) > limit:
        lost = len(set(reference.first_hits) - set(measured.first_hits))
        gained = len(set(measured.first_hits) - set(reference.first_hits))
        raise ParityError(
            f"{name}: mAP lost {100 * lost_mean:.2f} points, rank-1 {100 * lost_first:.2f} (of "
            f"{reference.num_queries} queries {lost} lost their first hit, {gained} gained one) against fp32 on "
            f"{measured.data}; at most {100 * limit:.1f} may be lost. Nothing has been published"
        )
