"""The second half of the gate: an encoder of reduced precision must still find what the fp32 one finds.

mAP and rank-1 of full queries are measured on the evaluation protocol, the test split of the data set. Nothing is
chosen by them: which calibration is taken is decided on training crops, here it passes or not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from sal_runtime.arrays import Float32Array
from sal_runtime.errors import ParityError
from sal_train.evaluation.metrics import rank_queries, summarise
from sal_train.evaluation.protocol import Protocol

MAX_LOSS = {"fp16": 0.005, "int8": 0.010}
"""Of mAP and of rank-1 against fp32, as fractions."""
ENCODE_BATCH = 64

Encode = Callable[[NDArray[Any]], Float32Array]


@dataclass(frozen=True)
class Retrieval:
    """What an image encoder finds on the evaluation protocol, as fractions in 0..1.

    Attributes:
        mAP: mean of the plain average precision of full queries.
        rank1: share of queries with a relevant image first.
        num_queries: full queries, one a category.
        num_gallery: images ranked.
        data: of the protocol.
        first_hits: numbers of the queries with a relevant image first, ascending.
    """

    mAP: float  # noqa: N815 - the name people and the JSON contract use
    rank1: float
    num_queries: int
    num_gallery: int
    data: str
    first_hits: Sequence[int]

    def to_json(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)


@dataclass(frozen=True)
class Task:
    """The protocol with everything that does not depend on the image encoder.

    Attributes:
        protocol: queries and relevance.
        images: its gallery, uint8 [N, H, W, 3], in the protocol's order.
        queries: embeddings of its queries, unit vectors float32 [Q, d].
    """

    protocol: Protocol
    images: NDArray[np.uint8]
    queries: Float32Array


def measure_retrieval(name: str, encode: Encode, task: Task, console: Console) -> Retrieval:
    """Encode the gallery and rank it by the cosine.

    Args:
        name: of the encoder, for the progress bar.
        encode: uint8 [n, H, W, 3] to unit vectors float32 [n, d].
        task: what to find.
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
    hits = tuple(np.flatnonzero(first == 1).tolist())
    return Retrieval(metrics.mAP, metrics.rank1, metrics.num_queries, metrics.num_gallery, protocol.name, hits)


def check_retrieval(name: str, precision: str, reference: Retrieval, measured: Retrieval) -> None:
    """Refuse an encoder that lost too much.

    Raises:
        ParityError: mAP or rank-1 is further below that of fp32 than `MAX_LOSS` allows.
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
