"""Measures for `sal bench engine`: latency and throughput of a bundle's encoders on every device.

Golden vectors are checked before anything is timed. The JSON document has the keys and formulas of the C++ bench
(docs/benchmarks.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sal_cli.bench.record import now, result_document
from sal_cli.bench.statistics import latency_summary
from sal_cli.bench.timing import Clock, Timing, TimingSettings, time_in_turn
from sal_runtime.bundle.bundle import ATTRIBUTE_ROLE, IMAGE_ROLE, Artefact, Bundle
from sal_runtime.bundle.golden import GoldenDifference, check_golden
from sal_runtime.engines.devices import AUTO, DEVICES, open_backend
from sal_runtime.engines.installed import installed_version
from sal_runtime.errors import BackendError

if TYPE_CHECKING:
    from sal_runtime.arrays import Precision, Progress

BATCH_SIZES = (1, 8, 16, 32)
MEASURED_DEVICES = tuple(device for device in DEVICES if device != AUTO)
ONNX_RUNTIME = "onnxruntime"
ENGINE_PACKAGES = {"trt": ("tensorrt", "tensorrt-rtx")}
"""Distributions that may run a device, first those that are preferred, for devices that ONNX Runtime does not run."""
HARDWARE = {"trt": "cuda"}
"""The hardware below a device that is an engine of its own: TensorRT is compared with ONNX Runtime on the same GPU."""


@dataclass(frozen=True)
class Contender:
    """An encoder that takes a batch from host memory and returns its embeddings to host memory.

    Attributes:
        role: `image_encoder` or `attribute_encoder`.
        artefact: file in the bundle, or a name for an encoder that is not in it.
        precision: arithmetic of the encoder: fp32, fp16 or int8.
        device: device that computes.
        library: name and version of the library that runs it.
        run: takes a batch as `random_batch` makes it, returns embeddings float32 `[n, d]`; safe to call from many
            threads.
    """

    role: str
    artefact: str
    precision: Precision
    device: str
    library: str
    run: Callable[[NDArray[Any]], NDArray[Any]]


OpenOthers = Callable[[Bundle, Sequence[str], int], tuple[list[Contender], list[str]]]
"""Takes a bundle, devices and threads; returns contenders from outside the bundle, and a line for each missing one."""


@dataclass(frozen=True)
class BenchOptions:
    """What to measure.

    Attributes:
        precisions: precisions of the image encoder; None measures all in the bundle.
        devices: devices that must work; None measures all that do.
        batch_sizes: numbers of rows in a batch.
        threads: number of threads of one run on the CPU.
        timing: how long to measure, and in how many streams.
    """

    precisions: Sequence[Precision] | None
    devices: Sequence[str] | None
    batch_sizes: Sequence[int]
    threads: int
    timing: TimingSettings


@dataclass(frozen=True)
class Row:
    """One contender at one batch size.

    Attributes:
        relative_throughput: throughput divided by that of ONNX Runtime in fp32, on the same hardware with the same
            batch size; None if that was not measured.
    """

    contender: Contender
    batch_size: int
    timing: Timing
    relative_throughput: float | None

    @property
    def throughput(self) -> float:
        """Rows of a batch (images) per second of wall clock, all streams together."""
        return self.batch_size * self.timing.runs_per_second


@dataclass(frozen=True)
class EngineBench:
    """The result.

    Attributes:
        created: when the measurement began, UTC.
        golden: difference of each artefact from its golden embeddings, the largest over all devices.
        notes: a line for each contender that was left out, with the reason.
    """

    bundle: Bundle
    options: BenchOptions
    created: str
    golden: Mapping[str, GoldenDifference]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def bench_engine(
    bundle: Bundle,
    options: BenchOptions,
    open_others: OpenOthers | None = None,
    progress: Progress | None = None,
    clock: Clock = time.perf_counter,
) -> EngineBench:
    """Check every encoder on every device against the golden vectors, then measure them all.

    Args:
        bundle: opened.
        options: what to measure.
        open_others: opens contenders from outside the bundle.
        progress: called with hundredths of rows done and in all, many times for each row.
        clock: returns seconds; tests pass their own.

    Raises:
        BackendError: a requested device does not work, or an encoder fails.
        BundleError: the bundle has no image encoder in a requested precision.
        ParityError: an encoder does not reproduce the golden embeddings; nothing is measured.
    """
    created = now()
    contenders, notes = open_contenders(bundle, options)
    golden = check_contenders(bundle, contenders)
    if open_others is not None:
        devices = tuple(dict.fromkeys(contender.device for contender in contenders))
        others, reasons = open_others(bundle, devices, options.threads)
        contenders, notes = contenders + others, notes + reasons
    rows = measure(bundle, contenders, options, progress or (lambda done, total: None), clock)
    return EngineBench(bundle, options, created, golden, tuple(rows), tuple(notes))


def open_contenders(bundle: Bundle, options: BenchOptions) -> tuple[list[Contender], list[str]]:
    """The chosen image encoders and the attribute encoder on every device; and a line for each that does not open.

    Raises:
        BackendError: an encoder does not open on a requested device, or on no device at all.
        BundleError: the bundle has no image encoder in a requested precision.
    """
    contenders: list[Contender] = []
    notes: list[str] = []
    for device in options.devices or MEASURED_DEVICES:
        opened: list[Contender] = []
        failed: dict[str, BackendError] = {}
        artefacts = _artefacts(bundle, options, device)
        for artefact in artefacts:
            try:
                opened.append(_open(bundle, artefact, device, options.threads))
            except BackendError as error:
                if options.devices is not None:
                    raise
                failed[artefact.file] = error
        contenders += opened
        if opened:
            notes += [f"not measured: {file} on {device}: {error}" for file, error in failed.items()]
        else:
            notes.append(f"not measured: {device}: {failed[artefacts[0].file]}")
    if not contenders:
        raise BackendError("; ".join(notes))
    return contenders, notes


def _artefacts(bundle: Bundle, options: BenchOptions, device: str) -> list[Artefact]:
    """The image encoders for a device, all or the requested ones; and the attribute encoder on the CPU, where it runs.

    Raises:
        BackendError: there is no such device.
        BundleError: the bundle has no image encoder in a requested precision for the device.
    """
    if device not in MEASURED_DEVICES:
        raise BackendError(f"device is {device!r}, expected one of {', '.join(MEASURED_DEVICES)}")
    if options.precisions is not None:
        images = [bundle.artefact(IMAGE_ROLE, device=device, precision=precision) for precision in options.precisions]
    else:
        images = [
            artefact for artefact in bundle.artefacts if artefact.role == IMAGE_ROLE and device in artefact.devices
        ]
    return [*images, bundle.artefact(ATTRIBUTE_ROLE)] if device == "cpu" else images


def _open(bundle: Bundle, artefact: Artefact, device: str, threads: int) -> Contender:
    model = bundle.read_bytes(artefact.file)
    backend = open_backend(model, device=device, precision=artefact.precision, threads=threads)
    return Contender(
        artefact.role, artefact.file, artefact.precision, backend.device, _library(backend.device), backend.run
    )


def _library(device: str) -> str:
    """Name and version of the library that runs a device."""
    for package in ENGINE_PACKAGES.get(device, (ONNX_RUNTIME, "onnxruntime-gpu")):
        version = installed_version(package)
        if version is not None:
            return f"{package.removesuffix('-gpu')} {version}"
    return "unknown"


def check_contenders(bundle: Bundle, contenders: Sequence[Contender]) -> dict[str, GoldenDifference]:
    """The difference of each artefact from its golden embeddings, the largest over all devices.

    Raises:
        ParityError: a difference is outside its limits.
    """
    golden: dict[str, GoldenDifference] = {}
    for contender in contenders:
        name = f"{contender.artefact} on {contender.device} ({contender.library})"
        difference = check_golden(bundle, contender.role, contender.precision, contender.run, name)
        golden[contender.artefact] = difference.worse(golden.get(contender.artefact, difference))
    return golden


def measure(
    bundle: Bundle, contenders: Sequence[Contender], options: BenchOptions, progress: Progress, clock: Clock
) -> list[Row]:
    """The rows of each batch size; contenders with one batch size are timed in turn."""
    rows: list[Row] = []
    total = len(contenders) * len(options.batch_sizes)

    def show(done: float) -> None:
        progress(round(100 * (len(rows) + done)), 100 * total)

    show(0)
    for batch_size in options.batch_sizes:
        batches = {role: random_batch(bundle, role, batch_size) for role in (IMAGE_ROLE, ATTRIBUTE_ROLE)}
        runs = [_one_run(contender, batches[contender.role]) for contender in contenders]
        timings = time_in_turn(runs, options.timing, clock, show)
        for contender, timing in zip(contenders, timings, strict=True):
            baseline = _baseline(contender, contenders)
            speed = None if baseline is None else timing.runs_per_second / timings[baseline].runs_per_second
            rows.append(Row(contender, batch_size, timing, speed))
    return rows


def _one_run(contender: Contender, batch: NDArray[Any]) -> Callable[[], object]:
    return lambda: contender.run(batch)


def _baseline(contender: Contender, contenders: Sequence[Contender]) -> int | None:
    """Index of ONNX Runtime in fp32 on the same hardware; None if it is not among the contenders."""
    wanted = (contender.role, "fp32", HARDWARE.get(contender.device, contender.device))
    for index, other in enumerate(contenders):
        if (other.role, other.precision, other.device) == wanted and other.library.startswith(ONNX_RUNTIME):
            return index
    return None


def random_batch(bundle: Bundle, role: str, size: int) -> NDArray[Any]:
    """The same batch at every call: crops uint8 `[size, H, W, 3]`, or vectors of 0 and 1 float32 `[size, A]`."""
    rng = np.random.default_rng(0)
    if role == IMAGE_ROLE:
        spec = bundle.image_spec
        return rng.integers(0, 256, (size, spec.height, spec.width, 3), dtype=np.uint8)
    return rng.integers(0, 2, (size, bundle.schema.num_bits)).astype(np.float32)


def bench_document(bench: EngineBench) -> dict[str, Any]:
    """The JSON document of a result."""
    timing = bench.options.timing
    content = {
        "bundle": {"name": bench.bundle.name, "fingerprint": bench.bundle.fingerprint},
        "settings": {
            "warmup_ms": timing.warmup_ms,
            "min_seconds": timing.min_seconds,
            "min_iterations": timing.min_iterations,
        },
        "golden": {artefact: vars(difference) for artefact, difference in bench.golden.items()},
        "rows": [_row_json(row, bench.options) for row in bench.rows],
    }
    return result_document("sal bench engine", bench.created, content)


def _row_json(row: Row, options: BenchOptions) -> dict[str, Any]:
    return {
        "artefact": row.contender.artefact,
        "precision": row.contender.precision,
        "device": row.contender.device,
        "engine": row.contender.library,
        "batch": row.batch_size,
        "threads": options.threads,
        "streams": options.timing.streams,
        "iterations": len(row.timing.latencies_ms),
        "seconds": row.timing.seconds,
        "throughput": row.throughput,
        "relative_throughput": row.relative_throughput,
        "latency_ms": latency_summary(row.timing.latencies_ms),
        "coefficient_of_variation": row.timing.variation,
        "stable": row.timing.is_stable,
    }
