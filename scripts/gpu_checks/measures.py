"""Measurements of encoders: agreement with a reference, runs from many threads, speed in turn."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sal_cli.bench.statistics import percentile
from sal_cli.bench.timing import Timing, TimingSettings, time_in_turn
from sal_runtime.errors import ParityError

Encode = Callable[[NDArray[np.uint8]], NDArray[Any]]

THREADS = 8
PERCENTILES = (50, 90, 95, 99)
WARM_UP_MS = 200
LEAST_REPEATED = 0.99999
"""Least cosine between two runs of one encoder at the same batch size, which may differ in the order of a sum only."""
BASELINE = "pytorch fp32"
HOST = "host to host"
RESIDENT = "on the device"


@dataclass(frozen=True)
class CheckedEncoder:
    """An image encoder to check.

    Attributes:
        name: library and precision, and the variant if there are several.
        precision: precision of the arithmetic: fp32, fp16 or int8.
        encode: uint8 [N, H, W, 3] to unit vectors [N, d], both in host memory; may be called from many threads.
        resident: copies a batch to the device and returns a function that encodes it there and waits; None if the
            library only takes host memory.
    """

    name: str
    precision: str
    encode: Encode
    resident: Callable[[NDArray[np.uint8]], Callable[[], object]] | None = None


@dataclass(frozen=True)
class Limits:
    """Upper bounds of the device.

    Attributes:
        flops_per_image: floating-point operations of the encoder for one image; a multiply-add is two.
        matmul_tflops: 10^12 operations a second of a large matrix product, by precision.
    """

    flops_per_image: int
    matmul_tflops: Mapping[str, float]


def agreement(embeddings: NDArray[Any], reference: NDArray[Any], least: float) -> dict[str, float]:
    """Cosines between unit vectors, row by row.

    Raises:
        ParityError: a value is not finite, or the cosine of the worst row in a hundred is below `least`.
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
    """Agreement between encoding from many threads at once and from one thread alone, at the same batch sizes.

    Raises:
        ParityError: a thread received other embeddings than alone.
    """
    sizes = [1 + 3 * number for number in range(THREADS)]
    alone = {size: in_batches(encode, crops, size) for size in sizes}
    found: list[dict[str, float] | BaseException] = []

    def work(size: int) -> None:
        try:
            found.append(agreement(in_batches(encode, crops, size), alone[size], LEAST_REPEATED))
        except BaseException as error:
            found.append(error)

    threads = [threading.Thread(target=work, args=(size,)) for size in sizes]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    for outcome in found:
        if isinstance(outcome, BaseException):
            raise outcome
    cosines = [outcome["min_cosine"] for outcome in found if isinstance(outcome, dict)]
    return {"min_cosine": min(cosines), "images_per_second": THREADS * len(crops) / seconds}


def speeds(
    encoders: Sequence[CheckedEncoder], batch: NDArray[np.uint8], seconds: float, limits: Limits | None
) -> dict[str, dict[str, Any]]:
    """Latency and throughput of all encoders in turn, from host memory to host memory and on the device.

    Args:
        encoders: the contenders.
        batch: uint8 [N, H, W, 3] that each encodes.
        seconds: least wall-clock time of each encoder and kind.
        limits: limits of the device, if they are known.

    Returns:
        Measurements by encoder and kind (from host memory, on the device).
    """
    runs: dict[tuple[str, str], Callable[[], object]] = {}
    for encoder in encoders:
        runs[encoder.name, HOST] = partial(encoder.encode, batch)
        if encoder.resident is not None:
            runs[encoder.name, RESIDENT] = encoder.resident(batch)
    settings = TimingSettings(WARM_UP_MS, seconds)
    timings = dict(zip(runs, time_in_turn(list(runs.values()), settings), strict=True))
    precisions = {encoder.name: encoder.precision for encoder in encoders}
    found: dict[str, dict[str, Any]] = {encoder.name: {} for encoder in encoders}
    for (name, kind), timing in timings.items():
        baseline = timings.get((BASELINE, kind))
        found[name][kind] = _speed(timing, baseline, len(batch)) | _use(
            precisions[name], len(batch) * timing.runs_per_second, limits
        )
    return found


def _speed(timing: Timing, baseline: Timing | None, batch_size: int) -> dict[str, float]:
    found = {f"p{percent}_ms": percentile(timing.latencies_ms, percent) for percent in PERCENTILES}
    found["images_per_second"] = batch_size * timing.runs_per_second
    if baseline is not None:
        found["times_pytorch_fp32"] = timing.runs_per_second / baseline.runs_per_second
    return found


def _use(precision: str, images_per_second: float, limits: Limits | None) -> dict[str, float]:
    """The used share of the device; empty if no limit is known for the precision."""
    if limits is None or precision not in limits.matmul_tflops:
        return {}
    tflops = images_per_second * limits.flops_per_image / 1e12
    return {"tflops": tflops, "share_of_matmul_limit": tflops / limits.matmul_tflops[precision]}


def in_batches(encode: Encode, crops: NDArray[np.uint8], size: int) -> NDArray[Any]:
    """Embeddings of all crops, `size` at a time; the last batch may be smaller."""
    return np.concatenate([encode(crops[start : start + size]) for start in range(0, len(crops), size)])


def crops_of(crops: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """`count` crops, repeated from the beginning if there are fewer."""
    return np.ascontiguousarray(crops[np.arange(count) % len(crops)])
