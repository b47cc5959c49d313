"""The TensorRT backend: finds or builds the engine of an encoder and runs it from any number of threads."""

from __future__ import annotations

import hashlib
import logging
import queue
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sal_runtime.arrays import Precision
from sal_runtime.engines.tensorrt.build import Progress, build_engine, target_capabilities
from sal_runtime.engines.tensorrt.cuda import Gpu, cuda_call, current_gpu, load_cuda
from sal_runtime.engines.tensorrt.key import EngineKey, Profile, this_platform
from sal_runtime.engines.tensorrt.library import TITLES, TensorRT, find_tensorrt
from sal_runtime.engines.tensorrt.store import Mismatch, default_store, find_engine, read_engine, save_engine
from sal_runtime.engines.tensorrt.stream import EngineStream, LoadedEngine, load_engine
from sal_runtime.errors import BackendError

DEFAULT_PROFILE = Profile()
STREAMS = 2
"""One copies while the other computes."""

_logger = logging.getLogger(__name__)


class TensorRTBackend:
    """A loaded engine on the GPU that its maker used. Threads beyond the number of streams wait for their turn.

    Args:
        loaded: the engine.
        gpu: the device it was loaded on.
        streams: runs at once; each has its own buffers and execution contexts.

    Raises:
        BackendError: the GPU's memory does not suffice.
    """

    device = "trt"

    def __init__(self, loaded: LoadedEngine, gpu: Gpu, streams: int = STREAMS) -> None:
        self._loaded = loaded
        self._gpu = gpu
        self._cuda = load_cuda()
        made: list[EngineStream] = []
        # not at the exit of the process: the driver frees everything then, and may be gone before us
        self._finalizer = weakref.finalize(self, _close_all, made)
        self._finalizer.atexit = False
        self._idle: queue.SimpleQueue[EngineStream] = queue.SimpleQueue()
        for _ in range(streams):
            made.append(EngineStream(loaded))
            self._idle.put(made[-1])

    @property
    def profile(self) -> Profile:
        """Batch sizes; larger batches are cut up."""
        return self._loaded.profile

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The engine's output for a batch of any size.

        Raises:
            BackendError: another dtype or shape than the engine's, or the GPU failed.
        """
        loaded = self._loaded
        if batch.dtype != loaded.input_dtype or batch.shape[1:] != loaded.input_shape:
            raise BackendError(
                f"the engine takes {loaded.input_dtype} batches of {loaded.input_shape}, "
                f"got {batch.dtype} {batch.shape[1:]}"
            )
        output = np.empty((len(batch), *loaded.output_shape), loaded.output_dtype)
        largest = loaded.profile.max_batch
        cuda_call(self._cuda.cudaSetDevice, self._gpu.ordinal)  # each thread has a device of its own
        stream = self._idle.get()
        try:
            for start in range(0, len(batch), largest):
                piece = batch[start : start + largest]
                output[start : start + len(piece)] = stream.run(piece)
        finally:
            self._idle.put(stream)
        return output

    def close(self) -> None:
        """Free the GPU's memory; happens by itself when the last reference goes."""
        self._finalizer()


def _close_all(streams: list[EngineStream]) -> None:
    for stream in streams:
        stream.close()


def open_tensorrt_backend(
    model: bytes,
    precision: Precision,
    profile: Profile = DEFAULT_PROFILE,
    store: Path | None = None,
    progress: Progress | None = None,
) -> TensorRTBackend:
    """Load the engine of an encoder; build it first where the store has none that fits, and log why.

    Args:
        model: the content of an .onnx file.
        precision: of its arithmetic, exactly.
        profile: batch sizes.
        store: of engines; the user's cache if None.
        progress: told about the steps of a build.

    Raises:
        BackendError: TensorRT, its CUDA bindings or a GPU is missing, the graph cannot be built in that precision, or a
            stored engine was altered.
    """
    library = find_tensorrt()
    gpu = current_gpu()
    store = default_store() if store is None else store
    wanted = engine_key(library, gpu, model, precision, profile)
    folder = stored_engine(wanted, model, store, progress)
    return TensorRTBackend(load_engine(library, read_engine(folder)), gpu)


def prepare_engine(
    model: bytes,
    precision: Precision,
    profile: Profile = DEFAULT_PROFILE,
    store: Path | None = None,
    compute_capabilities: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Path:
    """The folder of the engine of an encoder, built now if the store has none that fits; nothing is run.

    Args:
        model: the content of an .onnx file.
        precision: of its arithmetic, exactly.
        profile: batch sizes.
        store: of engines; the user's cache if None.
        compute_capabilities: of the GPUs to build for, with TensorRT-RTX, which needs no GPU for that; None: this GPU.
        progress: told about the steps of a build.

    Raises:
        BackendError: TensorRT or, without `compute_capabilities`, a GPU is missing, or the graph cannot be built in
            that precision.
    """
    library = find_tensorrt()
    gpu = current_gpu() if compute_capabilities is None else None
    wanted = engine_key(library, gpu, model, precision, profile, compute_capabilities)
    return stored_engine(wanted, model, default_store() if store is None else store, progress)


def stored_engine(wanted: EngineKey, model: bytes, store: Path, progress: Progress | None) -> Path:
    """The folder of the engine with this key, built now if there is none.

    Raises:
        BackendError: it cannot be built or written.
    """
    found = find_engine(store, wanted)
    if not isinstance(found, Mismatch):
        return found
    _logger.warning("building the TensorRT engine, which takes from seconds to minutes: %s", found)
    targets = "-".join(wanted.compute_capabilities)
    timings = store / f"timings-{wanted.library}-{wanted.library_version}-sm{targets}.cache".replace(" ", "-")
    capabilities = None if wanted.library == TITLES["tensorrt"] else wanted.compute_capabilities
    built = build_engine(model, wanted.precision, wanted.profile, timings, progress, capabilities)
    return save_engine(store, wanted, built.plan, built.proof.to_json())


def engine_key(
    library: TensorRT,
    gpu: Gpu | None,
    model: bytes,
    precision: Precision,
    profile: Profile,
    compute_capabilities: Sequence[str] | None = None,
) -> EngineKey:
    """What the engine of an encoder is stored under.

    Args:
        library: that builds it.
        gpu: the one here, if any.
        model: the content of the .onnx file.
        precision: of its arithmetic.
        profile: batch sizes.
        compute_capabilities: to build for, with TensorRT-RTX; None: this GPU.

    Raises:
        BackendError: the library cannot build for them here.
    """
    tuned = library.kind == "tensorrt" and gpu is not None
    return EngineKey(
        artefact_sha256=hashlib.sha256(model).hexdigest(),
        precision=precision,
        library=TITLES[library.kind],
        library_version=library.version,
        compute_capabilities=target_capabilities(library, compute_capabilities),
        gpu=gpu.name if tuned and gpu is not None else None,
        platform=this_platform(),
        profile=profile,
    )
