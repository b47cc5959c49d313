"""The checks that every encoder of gpu_checks passes through, whatever library runs it."""

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
"""Of the worst crop in a hundred with fp32: an encoder below computes something else. Whether a precision is good
enough to search with is decided by retrieval metrics, not here."""
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
        encoder: checked.
        bundle: has the golden embeddings.
        crops: uint8 [N, H, W, 3].
        reference: their embeddings in fp32.
        largest: batch size of the engines; one more is run, too.
        record: gets what was found.

    Returns:
        Whether the encoder runs at all. If not, nothing else was tried.
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
            # three times: the later ones may replay a CUDA graph
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
    """Time all encoders beside each other, with batches of each of the sizes."""
    for size in sizes:
        batch = crops_of(crops, size)
        record.attempt(f"speed, batch {size}", partial(speeds, encoders, batch, seconds, limits))


def check_retrieved(encoder: CheckedEncoder, task: Task, first: str | None, record: Record) -> str | None:
    """What an encoder finds, and whether it lost too much against fp32.

    Args:
        encoder: checked.
        task: what to find.
        first: name of the first fp32 encoder that was measured; None if there is none yet.
        record: gets what was found; holds what the first one found.

    Returns:
        `first`, or the name of this encoder if it becomes the first.
    """
    from rich.console import Console

    from sal_export.gates.retrieval import Retrieval, check_retrieval, measure_retrieval

    def retrieval() -> dict[str, Any]:
        found = measure_retrieval(encoder.name, encoder.encode, task, Console(stderr=True))
        if encoder.precision != "fp32":
            if first is None:
                raise ParityError(f"found {found}, and no fp32 encoder to compare that with")
            check_retrieval(encoder.name, encoder.precision, Retrieval(**record.parts[f"{first} retrieval"]), found)
        return found.to_json()

    found = record.attempt(f"{encoder.name} retrieval", retrieval)
    return encoder.name if first is None and encoder.precision == "fp32" and found is not None else first
