"""What gpu_checks measures of an encoder: agreement with a reference, the same from many threads, speed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sal_runtime.errors import ParityError
from sal_runtime.latency import percentile

Encode = Callable[[NDArray[np.uint8]], NDArray[Any]]

THREADS = 8
PERCENTILES = (50, 90, 95, 99)
WARM_UP = 20
ROUNDS = 200
LEAST_REPEATED = 0.99999
"""Between two runs of one engine: other batch sizes take other kernels, but nothing else may change."""


def agreement(embeddings: NDArray[Any], reference: NDArray[Any], least: float) -> dict[str, float]:
    """Cosines between unit vectors, row by row.

    Raises:
        ParityError: a value is not finite, or the worst row in a hundred is below `least`.
    """
    if not np.isfinite(embeddings).all():
        raise ParityError(f"{np.sum(~np.isfinite(embeddings).all(axis=1))} embeddings are not finite")
    cosines = np.sum(embeddings.astype(np.float64) * reference, axis=1)
    found = {
        "min_cosine": float(cosines.min()),
        "p1_cosine": percentile(cosines.tolist(), 1),
        "mean_cosine": float(cosines.mean()),
        "rows": len(cosines),
    }
    if found["p1_cosine"] < least:
        raise ParityError(f"cosines {found}, expected at least {least} in all but the worst of a hundred")
    return found


def many_threads(encode: Encode, crops: NDArray[np.uint8]) -> dict[str, float]:
    """Every thread must get what one alone gets, whatever the others ask for."""
    alone = in_batches(encode, crops, 16)
    found: list[dict[str, float] | BaseException] = []

    def work(number: int) -> None:
        try:
            found.append(agreement(in_batches(encode, crops, 1 + 3 * number), alone, LEAST_REPEATED))
        except BaseException as error:
            found.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    for one in found:
        if isinstance(one, BaseException):
            raise one
    cosines = [one["min_cosine"] for one in found if isinstance(one, dict)]
    return {"min_cosine": min(cosines), "images_per_second": THREADS * len(crops) / seconds}


def speed(encode: Encode, others: Mapping[str, Encode], batch: NDArray[np.uint8]) -> dict[str, Any]:
    """Wall time of a run from host memory to host memory, copies included; all contenders in turn, nothing dropped."""
    everybody = {"tensorrt": encode, **others}
    seconds: dict[str, list[float]] = {name: [] for name in everybody}
    for number in range(-WARM_UP, ROUNDS):
        for name, run in everybody.items():
            started = time.perf_counter()
            run(batch)
            if number >= 0:
                seconds[name].append(time.perf_counter() - started)
    found: dict[str, Any] = {}
    for name, times in seconds.items():
        found[name] = {f"p{percent}_ms": 1000 * percentile(times, percent) for percent in PERCENTILES}
        found[name]["images_per_second"] = len(batch) * len(times) / sum(times)
        if name != "tensorrt":
            ratios = [theirs / ours for theirs, ours in zip(times, seconds["tensorrt"], strict=True)]
            found[name]["times_as_long_as_tensorrt"] = percentile(ratios, 50)
    return found


def in_batches(encode: Encode, crops: NDArray[np.uint8], size: int) -> NDArray[Any]:
    """All crops, `size` at a time; the last batch is what is left."""
    return np.concatenate([encode(crops[start : start + size]) for start in range(0, len(crops), size)])


def crops_of(crops: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """`count` crops, from the beginning again where there are not as many."""
    return np.ascontiguousarray(crops[np.arange(count) % len(crops)])
