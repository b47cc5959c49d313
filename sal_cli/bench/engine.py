"""`sal bench engine`: latency and throughput of a bundle's encoders on every device, golden vectors checked first.

The document is that of the C++ bench (docs/benchmarks.md): same keys, same formulas.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sal_cli.bench.record import commit
from sal_cli.bench.statistics import latency_summary
from sal_cli.bench.timing import Clock, Timing, TimingSettings, time_in_turn
from sal_runtime.bundle.bundle import ATTRIBUTE_ROLE, IMAGE_ROLE, Artefact, Bundle
from sal_runtime.bundle.golden import GoldenDifference, check_golden
from sal_runtime.doctor.machine import machine, versions
from sal_runtime.engines.devices import AUTO, DEVICES, open_backend
from sal_runtime.engines.installed import installed_version
from sal_runtime.errors import BackendError

if TYPE_CHECKING:
    from sal_runtime.arrays import Precision, Progress

BATCH_SIZES = (1, 8, 16, 32)
MEASURED_DEVICES = tuple(device for device in DEVICES if device != AUTO)
ONNX_RUNTIME = "onnxruntime"
ENGINE_PACKAGES = {"trt": ("tensorrt", "tensorrt-rtx")}
"""Of devices that ONNX Runtime does not run."""
HARDWARE = {"trt": "cuda"}
"""Where a device that is an engine of its own computes: TensorRT is compared with ONNX Runtime on the same GPU."""


@dataclass(frozen=True)
class Contender:
    """Something that encodes a batch, from an array in host memory to an array in host memory.

    Attributes:
        role: `image_encoder` or `attribute_encoder`.
        artefact: file in the bundle, or what else it is.
        precision: of its arithmetic: fp32, fp16 or int8.
        device: where it computes.
        engine: library and version.
        run: the embeddings float32 `[n, d]` of a batch; may be called from many threads.
    """

    role: str
    artefact: str
    precision: Precision
    device: str
    engine: str
    run: Callable[[NDArray[Any]], NDArray[Any]]


Beside = Callable[[Bundle, Sequence[str], int], tuple[list[Contender], list[str]]]
"""Bundle, devices and threads to contenders that are not in the bundle, and one line for each that cannot be had."""


@dataclass(frozen=True)
class BenchOptions:
    """What to measure.

    Attributes:
        precisions: of the image encoder; None for all in the bundle.
        devices: each must be had; None for all that are there.
        batch_sizes: rows of a batch.
        threads: of one run on the CPU.
        timing: how long, and in how many streams.
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
        relative_throughput: to ONNX Runtime, fp32, on the same hardware with the same batch size; None if that was not
            measured.
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
        golden: how far each artefact is from its golden embeddings, the worst over all devices.
        notes: what was left out, and why; a line each.
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
    beside: Beside | None = None,
    progress: Progress | None = None,
    clock: Clock = time.perf_counter,
) -> EngineBench:
    """Check every encoder on every device against the golden vectors, then measure them all.

    Args:
        bundle: opened.
        options: what to measure.
        beside: gives contenders from outside the bundle.
        progress: told (rows done, rows in all).
        clock: seconds; tests pass in their own.

    Raises:
        BackendError: a device that was asked for cannot be had, or an encoder fails.
        BundleError: the bundle has no image encoder of a precision.
        ParityError: an encoder does not give the golden embeddings; nothing is measured.
    """
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    contenders, notes = open_contenders(bundle, options)
    golden = check_contenders(bundle, contenders)
    if beside is not None:
        devices = tuple(dict.fromkeys(contender.device for contender in contenders))
        others, reasons = beside(bundle, devices, options.threads)
        contenders, notes = contenders + others, notes + reasons
    rows = measure(bundle, contenders, options, progress or (lambda done, total: None), clock)
    return EngineBench(bundle, options, created, golden, tuple(rows), tuple(notes))


def open_contenders(bundle: Bundle, options: BenchOptions) -> tuple[list[Contender], list[str]]:
    """The chosen image encoders and the attribute encoder on every device; and a line for each that cannot be had.

    Raises:
        BackendError: an encoder cannot be had on a device that was asked for, or there is no device at all.
        BundleError: the bundle has no image encoder of a precision.
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
    """The image encoders that are meant for a device, all or those asked for; the attribute encoder where it runs.

    Raises:
        BackendError: there is no such device.
        BundleError: the bundle has no image encoder of a precision for it.
    """
    if device not in MEASURED_DEVICES:
        raise BackendError(f"device is {device!r}, expected one of {', '.join(MEASURED_DEVICES)}")
    if options.precisions is not None:
        images = [bundle.artefact(IMAGE_ROLE, device=device, precision=precision) for precision in options.precisions]
    else:
        images = [one for one in bundle.artefacts if one.role == IMAGE_ROLE and device in one.devices]
    return [*images, bundle.artefact(ATTRIBUTE_ROLE)] if device == "cpu" else images


def _open(bundle: Bundle, artefact: Artefact, device: str, threads: int) -> Contender:
    backend = open_backend(
        bundle.read_bytes(artefact.file), device=device, precision=artefact.precision, threads=threads
    )
    return Contender(
        artefact.role, artefact.file, artefact.precision, backend.device, _engine(backend.device), backend.run
    )


def _engine(device: str) -> str:
    """Library and version that run a device."""
    for package in ENGINE_PACKAGES.get(device, (ONNX_RUNTIME, "onnxruntime-gpu")):
        version = installed_version(package)
        if version is not None:
            return f"{package.removesuffix('-gpu')} {version}"
    return "unknown"


def check_contenders(bundle: Bundle, contenders: Sequence[Contender]) -> dict[str, GoldenDifference]:
    """The difference of each artefact to its golden embeddings, the worst over all devices.

    Raises:
        ParityError: one of them is outside its limits.
    """
    golden: dict[str, GoldenDifference] = {}
    for one in contenders:
        name = f"{one.artefact} on {one.device} ({one.engine})"
        difference = check_golden(bundle, one.role, one.precision, one.run, name)
        golden[one.artefact] = difference.worse(golden.get(one.artefact, difference))
    return golden


def measure(
    bundle: Bundle, contenders: Sequence[Contender], options: BenchOptions, progress: Progress, clock: Clock
) -> list[Row]:
    """Rows by batch size; those of one batch size are measured in turn."""
    rows: list[Row] = []
    total = len(contenders) * len(options.batch_sizes)
    progress(0, total)
    for batch_size in options.batch_sizes:
        batches = {role: random_batch(bundle, role, batch_size) for role in (IMAGE_ROLE, ATTRIBUTE_ROLE)}
        runs = [_one_run(contender, batches[contender.role]) for contender in contenders]
        timings = time_in_turn(runs, options.timing, clock)
        for contender, timing in zip(contenders, timings, strict=True):
            baseline = _baseline(contender, contenders)
            speed = None if baseline is None else timing.runs_per_second / timings[baseline].runs_per_second
            rows.append(Row(contender, batch_size, timing, speed))
        progress(len(rows), total)
    return rows


def _one_run(contender: Contender, batch: NDArray[Any]) -> Callable[[], object]:
    return lambda: contender.run(batch)


def _baseline(contender: Contender, contenders: Sequence[Contender]) -> int | None:
    """Index of ONNX Runtime's fp32 on the same hardware, if it is among them."""
    wanted = (contender.role, "fp32", HARDWARE.get(contender.device, contender.device))
    for index, one in enumerate(contenders):
        if (one.role, one.precision, one.device) == wanted and one.engine.startswith(ONNX_RUNTIME):
            return index
    return None


def random_batch(bundle: Bundle, role: str, size: int) -> NDArray[Any]:
    """Always the same: crops uint8 `[size, H, W, 3]`, or attribute vectors float32 of 0 and 1, `[size, A]`."""
    rng = np.random.default_rng(0)
    if role == IMAGE_ROLE:
        spec = bundle.image_spec
        return rng.integers(0, 256, (size, spec.height, spec.width, 3), dtype=np.uint8)
    return rng.integers(0, 2, (size, bundle.schema.num_bits)).astype(np.float32)


def bench_document(bench: EngineBench, command: str) -> dict[str, Any]:
    """The JSON document, with machine, versions and commit.

    Args:
        bench: the result.
        command: that made it, as `machine_record.command_line` gives it.
    """
    timing = bench.options.timing
    return {
        "tool": "sal bench engine",
        "command": command,
        "commit": commit(),
        "created": bench.created,
        "machine": machine(),
        "versions": versions(),
        "bundle": {"name": bench.bundle.name, "fingerprint": bench.bundle.fingerprint},
        "settings": {
            "warmup_ms": timing.warmup_ms,
            "min_seconds": timing.min_seconds,
            "min_iterations": timing.min_iterations,
        },
        "golden": {artefact: vars(difference) for artefact, difference in bench.golden.items()},
        "rows": [_row_json(row, bench.options) for row in bench.rows],
    }


def _row_json(row: Row, options: BenchOptions) -> dict[str, Any]:
    return {
        "artefact": row.contender.artefact,
        "precision": row.contender.precision,
        "device": row.contender.device,
        "engine": row.contender.engine,
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
