"""The checks that every encoder passes, whichever library runs it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sal_runtime.bundle.bundle import Bundle
from sal_runtime.errors import ParityError
from scripts.gpu_checks.measures import (
    LEAST_REPEATED,
    CheckedEncoder,
    Limits,
    agreement,
    crops_of,
    in_batches,
    many_threads,
    speeds,
)
from scripts.gpu_checks.record import Record

if TYPE_CHECKING:
    from sal_export.gates.retrieval import Task

LEAST_COSINE = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.9}
"""Least cosine with fp32 of the worst crop in a hundred. An encoder below it computes something else; whether a
precision is good enough to search with is decided by retrieval metrics."""
SPEED_BATCHES = (1, 8, 32, 64, 256)


def check_encoder(
    encoder: CheckedEncoder,
    bundle: Bundle,
    crops: NDArray[np.uint8],
    reference: NDArray[Any],
    largest: int,
    record: Record,
) -> bool:
    """Compare an encoder with the golden embeddings, with fp32 on the CPU, and with itself.

    Args:
        encoder: the encoder to check.
        bundle: gives the golden embeddings.
        crops: uint8 [N, H, W, 3].
        reference: embeddings of the crops in fp32, [N, d].
        largest: largest batch size of the engines; one image more is also run.
        record: receives the results.

    Returns:
        Whether the encoder runs at all; if it does not, the other checks are skipped.
    """
    golden = bundle.golden
    least = LEAST_COSINE[encoder.precision]

    def first_run() -> dict[str, float]:
        started = time.perf_counter()
        encoder.encode(golden["images"])
        return {"seconds": time.perf_counter() - started}

    def parity() -> dict[str, Any]:
        found = {}
        for size in (1, 2, 3, 17, largest, largest + 1):
            # three runs, because the later ones may replay a CUDA graph
            runs = [in_batches(encoder.encode, crops, size) for _ in range(3)]
            found[str(size)] = agreement(runs[0], reference, least)
            found[str(size)]["repeated"] = min(
                agreement(run, runs[0], LEAST_REPEATED)["min_cosine"] for run in runs[1:]
            )
        return found

    name = encoder.name
    if record.attempt(f"{name} first run", first_run) is None:
        return False
    record.attempt(
        f"{name} golden", lambda: agreement(encoder.encode(golden["images"]), golden["image_embeddings"], least)
    )
    record.attempt(f"{name} parity", parity)
    record.attempt(f"{name} threads", lambda: many_threads(encoder.encode, crops))
    return True


def check_speed(
    encoders: Sequence[CheckedEncoder],
    crops: NDArray[np.uint8],
    sizes: Sequence[int],
    seconds: float,
    limits: Limits | None,
    record: Record,
) -> None:
    """Time all encoders in turn, at each batch size."""
    for size in sizes:
        batch = crops_of(crops, size)
        record.attempt(f"speed, batch {size}", partial(speeds, encoders, batch, seconds, limits))


def check_retrieved(encoder: CheckedEncoder, task: Task, first: str | None, record: Record) -> str | None:
    """Measure retrieval with an encoder, and compare it with that of the first fp32 encoder.

    Args:
        encoder: the encoder to check.
        task: images and queries.
        first: name of the first fp32 encoder that was measured; None if there is none yet.
        record: receives the metrics; holds those of the first fp32 encoder.

    Returns:
        `first`, or the name of this encoder if it is now the first.
    """
    from rich.console import Console

    from sal_export.gates.retrieval import Retrieval, loss_of, measure_retrieval, refusals

    def retrieval() -> dict[str, Any]:
        found = measure_retrieval(encoder.name, encoder.encode, task, Console(stderr=True))
        if encoder.precision != "fp32":
            if first is None:
                raise ParityError(f"found {found}, and no fp32 encoder to compare that with")
            loss = loss_of(Retrieval(**record.parts[f"{first} retrieval"]), found)
            if reasons := refusals(loss, encoder.precision):
                raise ParityError(f"{encoder.name}: {', '.join(reasons)}")
        return found.to_json()

    found = record.attempt(f"{encoder.name} retrieval", retrieval)
    return encoder.name if first is None and encoder.precision == "fp32" and found is not None else first
