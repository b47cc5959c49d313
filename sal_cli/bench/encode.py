"""Measures for `sal bench encode`: how fast images become embeddings, from JPEG files, crops of frames, and a folder.

The network limits this speed, so the pipeline is compared with the network alone: a bare ONNX Runtime session with its
defaults (all cores on one batch), on the same images decoded beforehand; and the same engine arranged like the
pipeline, which is as fast as the pipeline could be if decoding cost nothing.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sal_cli.bench.drawn import draw_crops, write_people
from sal_cli.bench.record import now, result_document
from sal_cli.bench.timing import Clock
from sal_runtime.arrays import Precision, UInt8Array
from sal_runtime.bundle.bundle import IMAGE_ROLE, Bundle
from sal_runtime.bundle.golden import check_golden
from sal_runtime.encoding.bulk import encode_images
from sal_runtime.encoding.encoders import DEFAULT_BATCH_SIZE, ImageEncoder, bulk_image_encoder, num_encoders
from sal_runtime.engines.devices import DEVICE_ENTRIES, open_backend
from sal_runtime.engines.installed import import_onnxruntime
from sal_runtime.engines.int8_products import keep_exact
from sal_runtime.engines.onnx import CPU, LOG_ERRORS_ONLY
from sal_runtime.errors import InputError, ParityError
from sal_runtime.gallery.folder import gallery_path_for, sync_folder
from sal_runtime.images.sources import ImageSource, read_source

if TYPE_CHECKING:
    from sal_runtime.arrays import Progress

Run = Callable[[UInt8Array], NDArray[np.float32]]

MAX_ABS = {"fp32": 1e-4, "int8": 1e-4, "fp16": 1e-2}
"""Largest accepted difference of a coordinate: the same arithmetic on the same pixels, in batches of another size."""
SESSION, SIDE_BY_SIDE, JPEG, CROPS, GALLERY = "session", "side by side", "jpeg files", "frame crops", "gallery"
WORK = {
    SESSION: "bare session with its defaults, batches in memory",
    SIDE_BY_SIDE: "bare engine arranged like the pipeline, batches in memory",
    JPEG: "JPEG files of the encoder's size, read and decoded",
    CROPS: "boxes of people in 1080p frames in memory, resized",
    GALLERY: "a folder of the same JPEG files, listed, hashed, decoded and stored in a gallery file",
}
"""The work of each contender, by its name; the others are compared with the first."""


@dataclass(frozen=True)
class EncodeBenchOptions:
    """What to measure.

    Attributes:
        precisions: precisions of the image encoder; None measures all in the bundle that the device runs.
        device: `cpu`, `cuda` or `trt`.
        images: number of images in a turn.
        rounds: number of turns of each contender.
    """

    precisions: Sequence[Precision] | None = None
    device: str = "cpu"
    images: int = 1024
    rounds: int = 9


@dataclass(frozen=True)
class EncodeRow:
    """One contender in one precision.

    Attributes:
        precision: arithmetic of the image encoder.
        work: a key of `WORK`.
        throughputs: images per second in each turn, `[rounds]`.
        ratios: throughputs divided by those of the bare session in the same round, `[rounds]`.
    """

    precision: str
    work: str
    throughputs: tuple[float, ...]
    ratios: tuple[float, ...]

    @property
    def images_per_second(self) -> dict[str, float]:
        """`median`, `min` and `max` of the throughputs."""
        return spread(self.throughputs)

    @property
    def to_session(self) -> dict[str, float]:
        """`median`, `min` and `max` of the ratios."""
        return spread(self.ratios)


@dataclass(frozen=True)
class EncodeBench:
    """The result.

    Attributes:
        created: when the measurement began, UTC.
        batch_sizes: batch size of the pipeline, by precision.
        max_abs: largest difference of a coordinate between pipeline and bare session, by precision.
        rows: rows sorted by precision, then in the order of `WORK`.
    """

    bundle: Bundle
    options: EncodeBenchOptions
    created: str
    batch_sizes: Mapping[Precision, int]
    max_abs: dict[str, float]
    rows: tuple[EncodeRow, ...]


@dataclass(frozen=True)
class _Inputs:
    """The images that all contenders encode.

    Attributes:
        folder: JPEG files.
        sources: these files, and crops of frames, by name of the work.
        pixels: the same images decoded, uint8 `[n, H, W, 3]`, by name of the work.
    """

    folder: Path
    sources: dict[str, Sequence[ImageSource]]
    pixels: dict[str, UInt8Array]


def bench_encode(
    bundle: Bundle,
    options: EncodeBenchOptions,
    progress: Progress | None = None,
    clock: Clock = time.perf_counter,
) -> EncodeBench:
    """Check that the pipeline and the bare session give the same embeddings, then measure all contenders in turn.

    Args:
        bundle: opened.
        options: what to measure.
        progress: called with turns done and in all.
        clock: returns seconds; tests pass their own.

    Raises:
        InputError: there is nothing to measure.
        BackendError: the device does not work, or an encoder fails.
        BundleError: the bundle has no image encoder in a requested precision.
        ParityError: embeddings differ from the golden ones or between contenders; nothing is measured.
    """
    if options.images < 1 or options.rounds < 1:
        raise InputError(f"got {options.images} images and {options.rounds} rounds, expected at least 1 of each")
    created = now()
    precisions = options.precisions or [
        artefact.precision
        for artefact in bundle.artefacts
        if artefact.role == IMAGE_ROLE and options.device in artefact.devices
    ]
    encoders = {
        precision: bulk_image_encoder(bundle, device=options.device, precision=precision) for precision in precisions
    }
    max_abs: dict[str, float] = {}
    tasks: dict[tuple[str, str], Callable[[], object]] = {}
    with tempfile.TemporaryDirectory(prefix="sal-bench-") as folder:
        inputs = _draw_inputs(Path(folder, "people"), bundle, options.images)
        for precision, encoder in encoders.items():
            session = open_bare_session(bundle, options.device, precision)
            max_abs[precision] = check_agreement(encoder, precision, session, inputs)
            tasks |= {(precision, work): task for work, task in _tasks(encoder, precision, session, inputs).items()}
        seconds = time_rounds(tasks, options.rounds, progress or (lambda done, total: None), clock)
    sizes = {precision: encoder.batch_size for precision, encoder in encoders.items()}
    return EncodeBench(bundle, options, created, sizes, max_abs, tuple(_rows(seconds, options.images)))


def _draw_inputs(folder: Path, bundle: Bundle, count: int) -> _Inputs:
    folder.mkdir()
    sources: dict[str, Sequence[ImageSource]] = {
        JPEG: write_people(folder, count, bundle.image_spec),
        CROPS: draw_crops(count),
    }
    pixels = {
        work: np.stack([read_source(source, bundle.image_spec) for source in images])
        for work, images in sources.items()
    }
    return _Inputs(folder, sources, pixels)


def open_bare_session(bundle: Bundle, device: str, precision: Precision) -> Run:
    """The engine alone; on the CPU an ONNX Runtime session with its defaults, as a script would open it.

    Returns:
        Images uint8 `[n, H, W, 3]` to embeddings float32 `[n, d]`.
    """
    model = bundle.read_bytes(bundle.artefact(IMAGE_ROLE, device=device, precision=precision).file)
    if not DEVICE_ENTRIES[device].on_cpu:
        return open_backend(model, device=device, precision=precision).run
    onnxruntime = import_onnxruntime()

    options = onnxruntime.SessionOptions()
    options.log_severity_level = LOG_ERRORS_ONLY
    keep_exact(options)
    session = onnxruntime.InferenceSession(model, options, providers=[CPU])
    name = session.get_inputs()[0].name
    return lambda images: np.asarray(session.run(None, {name: images})[0])


def check_agreement(encoder: ImageEncoder, precision: Precision, session: Run, inputs: _Inputs) -> float:
    """The largest difference of a coordinate between the embeddings of the pipeline and of the bare session.

    Raises:
        ParityError: it is too large, or the encoder does not reproduce the golden embeddings.
    """
    device = encoder.choice.device
    check_golden(encoder.bundle, IMAGE_ROLE, precision, encoder.encode, f"{precision} image encoder on {device}")
    largest = 0.0
    for work, sources in inputs.sources.items():
        found = np.concatenate([batch.embeddings for batch in encode_images(encoder, sources)])
        expected = np.concatenate([session(batch) for batch in _batches(inputs.pixels[work], DEFAULT_BATCH_SIZE)])
        difference = float(np.abs(found - expected).max())
        largest = max(largest, difference)
        if not difference <= MAX_ABS[precision]:
            raise ParityError(
                f"{work}: the pipeline and the bare session differ by {difference:.1e} in {precision} on {device}, "
                f"expected at most {MAX_ABS[precision]:.0e}; nothing was measured"
            )
    return largest


def _tasks(encoder: ImageEncoder, precision: str, session: Run, inputs: _Inputs) -> dict[str, Callable[[], object]]:
    """One turn of each contender, by its name."""
    pixels = inputs.pixels[JPEG]
    gallery = gallery_path_for(inputs.folder)

    def bare() -> None:
        for batch in _batches(pixels, DEFAULT_BATCH_SIZE):
            session(batch)

    def side_by_side() -> None:
        with ThreadPoolExecutor(num_encoders()) as pool:
            deque(pool.map(encoder.encode, _batches(pixels, encoder.batch_size)), maxlen=0)

    def pipeline(work: str) -> None:
        deque(encode_images(encoder, inputs.sources[work]), maxlen=0)

    def store() -> None:
        for file in gallery.parent.glob(gallery.name + "*"):
            file.unlink()
        sync_folder(inputs.folder, encoder.bundle, encoder.encode, precision=precision)

    return {
        SESSION: bare,
        SIDE_BY_SIDE: side_by_side,
        JPEG: partial(pipeline, JPEG),
        CROPS: partial(pipeline, CROPS),
        GALLERY: store,
    }


def _batches(images: UInt8Array, size: int) -> Iterator[UInt8Array]:
    for start in range(0, len(images), size):
        yield images[start : start + size]


def time_rounds(
    tasks: Mapping[tuple[str, str], Callable[[], object]], rounds: int, progress: Progress, clock: Clock
) -> dict[tuple[str, str], list[float]]:
    """Seconds of each task in each round; tasks take turns, so that a slow minute of the machine slows all of them."""
    seconds: dict[tuple[str, str], list[float]] = {name: [] for name in tasks}
    total = len(tasks) * (rounds + 1)
    progress(0, total)
    for number in range(rounds + 1):
        for place, (name, task) in enumerate(tasks.items(), 1):
            started = clock()
            task()
            if number > 0:  # the first round is the warm-up
                seconds[name].append(clock() - started)
            progress(number * len(tasks) + place, total)
    return seconds


def _rows(seconds: Mapping[tuple[str, str], Sequence[float]], images: int) -> Iterator[EncodeRow]:
    for (precision, work), turns in seconds.items():
        ratios = (bare / turn for bare, turn in zip(seconds[precision, SESSION], turns, strict=True))
        yield EncodeRow(precision, work, tuple(images / turn for turn in turns), tuple(ratios))


def encode_document(bench: EncodeBench) -> dict[str, Any]:
    """The JSON document of a result."""
    content = {
        "bundle": {"name": bench.bundle.name, "fingerprint": bench.bundle.fingerprint},
        "settings": {
            "device": bench.options.device,
            "images": bench.options.images,
            "rounds": bench.options.rounds,
            "session_batch": DEFAULT_BATCH_SIZE,
            "pipeline_batch": bench.batch_sizes,
        },
        "contenders": WORK,
        "agreement_max_abs": bench.max_abs,
        "rows": [
            {
                "precision": row.precision,
                "contender": row.work,
                "images_per_second": row.images_per_second,
                "to_session": row.to_session,
            }
            for row in bench.rows
        ],
    }
    return result_document("sal bench encode", bench.created, content)


def spread(values: Sequence[float]) -> dict[str, float]:
    """`median`, `min` and `max` of values."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}
