"""The TensorRT backend: finds or builds the engine of a graph and runs it for any number of threads."""

from __future__ import annotations

import hashlib
import logging
import queue
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sal_runtime.arrays import AnyArray, Precision
from sal_runtime.engines.tensorrt.build import BuildProgress, build_engine, target_capabilities
from sal_runtime.engines.tensorrt.cuda import CudaDevice, cuda_call, current_gpu, load_cuda
from sal_runtime.engines.tensorrt.key import EngineKey, Profile, this_platform
from sal_runtime.engines.tensorrt.library import TITLES, TensorRT, find_tensorrt
from sal_runtime.engines.tensorrt.store import Mismatch, find_engine, read_engine, save_engine
from sal_runtime.engines.tensorrt.stream import MAX_GRAPHS, EngineStream, EngineTensor, LoadedEngine, load_engine
from sal_runtime.errors import BackendError, SalError
from sal_runtime.files import cache_folder, make_cache

DEFAULT_PROFILE = Profile()
STREAMS = 2
"""Streams of an engine: one copies while the other computes."""

_logger = logging.getLogger(__name__)


class TensorRTBackend:
    """A loaded engine. Threads beyond the number of streams wait for their turn.

    Args:
        loaded: the engine.
        gpu: GPU that the engine was loaded on.
        streams: concurrent runs; each has its own buffers and execution contexts.
        max_graphs: batch sizes per stream that are captured as CUDA graphs.

    Raises:
        BackendError: the GPU does not have enough memory.
    """

    device = "trt"

    def __init__(
        self, loaded: LoadedEngine, gpu: CudaDevice, streams: int = STREAMS, max_graphs: int = MAX_GRAPHS
    ) -> None:
        self._loaded = loaded
        self._gpu = gpu
        self._cuda = load_cuda()
        made: list[EngineStream] = []
        # not at the exit of the process: the driver frees everything then, and may be gone already
        self._finalizer = weakref.finalize(self, _close_all, made)
        self._finalizer.atexit = False
        self._idle: queue.SimpleQueue[EngineStream] = queue.SimpleQueue()
        for _ in range(streams):
            made.append(EngineStream(loaded, max_graphs))
            self._idle.put(made[-1])

    @property
    def profile(self) -> Profile:
        """Batch sizes of the engine; `run` splits larger batches."""
        return self._loaded.profile

    def run(self, batch: AnyArray) -> AnyArray:
        """Run an engine with one input and one output, both with a free first axis, on a batch of any size.

        Raises:
            BackendError: the batch has another dtype or shape than the engine's input, or the GPU failed.
        """
        (taken,), (given,) = self._loaded.inputs, self._loaded.outputs
        _check(taken, batch)
        largest = self._loaded.profile.max_batch
        pieces = (batch[start : start + largest] for start in range(0, len(batch), largest))
        parts = [self.run_all({taken.name: piece})[given.name] for piece in pieces]
        return np.concatenate([np.empty((0, *given.row), given.dtype), *parts])

    def run_all(self, inputs: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """Run any engine on a batch within its profile; returns all outputs by name.

        Args:
            inputs: every input by name, all with as many rows.

        Raises:
            BackendError: an input has another dtype or shape than the engine's, or the GPU failed.
        """
        for taken in self._loaded.inputs:
            _check(taken, inputs[taken.name])
        cuda_call(self._cuda.cudaSetDevice, self._gpu.ordinal)  # the current device is a setting of the thread
        stream = self._idle.get()
        try:
            return {name: array.copy() for name, array in stream.run(inputs).items()}
        finally:
            self._idle.put(stream)

    def close(self) -> None:
        """Free the GPU's memory; also happens when the last reference is dropped."""
        self._finalizer()


def _check(taken: EngineTensor, batch: AnyArray) -> None:
    if (given := (batch.dtype, batch.shape[1:])) != (taken.dtype, taken.row):
        raise BackendError(f"the engine takes {taken.dtype} batches of {taken.row}, got {given[0]} {given[1]}")


def _close_all(streams: list[EngineStream]) -> None:
    for stream in streams:
        stream.close()


def open_tensorrt_backend(
    model: bytes,
    *,
    device: str = "trt",
    precision: Precision | None,
    threads: int | None = None,
    profile: Profile = DEFAULT_PROFILE,
    store: Path | None = None,
    progress: BuildProgress | None = None,
) -> TensorRTBackend:
    """Load the engine of a graph; see `prepare_engine`.

    Args:
        model: content of an .onnx file.
        device: not used, but part of the interface of every opener, as is `threads`.
        threads: not used.
        precision: required precision of an encoder and its engine; None for another graph, which keeps its own.
        profile: batch sizes.
        store: folder of engines; None for `engines` in the user's cache.
        progress: called at each step of a build.

    Raises:
        BackendError: TensorRT, its CUDA bindings or a GPU is missing, the graph cannot be built in that precision, or a
            stored engine was altered.
    """
    library, gpu = find_tensorrt(), current_gpu()
    folder = prepare_engine(model, precision=precision, profile=profile, store=store, progress=progress)
    return TensorRTBackend(load_engine(library, read_engine(folder)), gpu)


def prepare_engine(
    model: bytes,
    *,
    precision: Precision | None,
    profile: Profile = DEFAULT_PROFILE,
    store: Path | None = None,
    compute_capabilities: Sequence[str] | None = None,
    progress: BuildProgress | None = None,
) -> Path:
    """The folder of the engine of a graph; if the store has none that fits, logs why and builds it. Runs nothing.

    Args:
        model: content of an .onnx file.
        precision: required precision of an encoder and its engine; None for another graph, which keeps its own.
        profile: batch sizes.
        store: folder of engines; None for `engines` in the user's cache.
        compute_capabilities: GPUs to build for, with TensorRT-RTX, which needs no GPU for that; None for this GPU.
        progress: called at each step of a build.

    Raises:
        BackendError: TensorRT or, without `compute_capabilities`, a GPU is missing, the graph cannot be built in that
            precision, or the engine cannot be written.
    """
    library = find_tensorrt()
    wanted = engine_key(library, model, precision=precision, profile=profile, compute_capabilities=compute_capabilities)
    store = cache_folder() / "engines" if store is None else store
    found = find_engine(store, wanted)
    if not isinstance(found, Mismatch):
        return found
    try:
        make_cache(store)  # a build takes minutes: learn before it that its result cannot be kept
    except SalError as error:
        raise BackendError(f"cannot keep an engine: {error}") from error
    _logger.warning("building the TensorRT engine, which takes from seconds to minutes: %s", found)
    targets = "-".join(wanted.compute_capabilities)
    built = build_engine(
        model,
        precision=precision,
        profile=profile,
        timing_cache=store / f"timings-{wanted.library}-{wanted.library_version}-sm{targets}.cache",
        progress=progress,
        compute_capabilities=compute_capabilities,
    )
    return save_engine(store, wanted, built.plan, built.proof.to_json())


def engine_key(
    library: TensorRT,
    model: bytes,
    *,
    precision: Precision | None,
    profile: Profile,
    compute_capabilities: Sequence[str] | None = None,
) -> EngineKey:
    """The key that the engine of a graph is stored under. Arguments as for `prepare_engine`.

    Raises:
        BackendError: the library cannot build for these GPUs here.
    """
    return EngineKey(
        artefact_sha256=hashlib.sha256(model).hexdigest(),
        precision=precision,
        library=TITLES[library.kind],
        library_version=library.version,
        compute_capabilities=target_capabilities(library, compute_capabilities),
        gpu=current_gpu().name if library.kind == "tensorrt" else None,
        platform=this_platform(),
        profile=profile,
    )
