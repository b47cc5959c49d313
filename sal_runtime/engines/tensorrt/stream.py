"""One CUDA stream with all that an engine needs to run on it: execution contexts, buffers, captured graphs."""

from __future__ import annotations

import contextlib
import logging
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sal_runtime.arrays import AnyArray
from sal_runtime.engines.tensorrt.cuda import cuda_call, load_cuda, pinned_array
from sal_runtime.engines.tensorrt.key import Profile
from sal_runtime.engines.tensorrt.library import FREE, TensorRT
from sal_runtime.errors import BackendError

MAX_GRAPHS = 3
"""Batch sizes per stream with a captured CUDA graph; each has an execution context with its own device memory."""
RUNS_BEFORE_CAPTURE = 2
"""Runs of a batch size before it is captured: one that occurs once, such as a folder's last, is not worth a graph."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EngineTensor:
    """An input or an output of an engine.

    Attributes:
        name: its name.
        dtype: its dtype.
        rows: length of the first axis; the profile's largest batch if `is_free`.
        row: shape without the first axis.
        is_free: the first axis is as long as the batch.
    """

    name: str
    dtype: np.dtype[Any]
    rows: int
    row: tuple[int, ...]
    is_free: bool

    def shape(self, batch: int) -> tuple[int, ...]:
        """Its shape in a run of that many rows."""
        return (batch if self.is_free else self.rows, *self.row)

    def nbytes(self, batch: int) -> int:
        """Its size in a run of that many rows."""
        return math.prod(self.shape(batch)) * self.dtype.itemsize


@dataclass(frozen=True)
class LoadedEngine:
    """A deserialised engine.

    Attributes:
        library: library that loaded the engine.
        runtime: `IRuntime` that deserialised the engine and must live as long.
        engine: the `ICudaEngine`.
        inputs: its inputs; the first axis of all of them is the batch.
        outputs: its outputs.
        profile: batch sizes.
    """

    library: TensorRT
    runtime: Any
    engine: Any
    inputs: tuple[EngineTensor, ...]
    outputs: tuple[EngineTensor, ...]
    profile: Profile


def load_engine(library: TensorRT, plan: bytes) -> LoadedEngine:
    """Deserialise an engine. Plans are executable code: pass only what `read_engine` returned or what was just built.

    Raises:
        BackendError: the library rejects the plan, or an output has no length that the batch size decides.
    """
    module = library.module
    library.log.clear()
    runtime = module.Runtime(library.log.logger)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise BackendError(f"{library.title} cannot load the engine: {library.log.errors()}")
    names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == module.TensorIOMode.INPUT]
    stated = {name: tuple(engine.get_tensor_shape(name)) for name in names}
    first = inputs[0]
    is_fixed = stated[first][0] != FREE  # then the engine has no profile
    sizes = [stated[first]] * 3 if is_fixed else engine.get_tensor_profile_shape(first, 0)
    profile = Profile(*(int(shape[0]) for shape in sizes))
    context = engine.create_execution_context()  # the engine leaves open what follows from the batch size
    if context is None:
        raise BackendError(f"{library.title} cannot make an execution context: {library.log.errors()}")
    for name in inputs:
        context.set_input_shape(name, (profile.max_batch, *stated[name][1:]))

    def tensor(name: str) -> EngineTensor:
        rows, *row = context.get_tensor_shape(name)
        is_free = not is_fixed and stated[name][0] == FREE
        if FREE in (rows, *row) or (is_free and rows != profile.max_batch):
            raise BackendError(
                f"{library.title} gives {name} {[rows, *row]} in a run of {profile.max_batch}, {FREE} for a length "
                "that the pictures decide; only lengths that the batch size decides can be read"
            )
        return EngineTensor(name, np.dtype(module.nptype(engine.get_tensor_dtype(name))), rows, tuple(row), is_free)

    return LoadedEngine(
        library=library,
        runtime=runtime,
        engine=engine,
        inputs=tuple(tensor(name) for name in inputs),
        outputs=tuple(tensor(name) for name in names if name not in inputs),
        profile=profile,
    )


class EngineStream:
    """Runs batches of up to the profile's largest size, one at a time. Threads must not share it.

    Args:
        loaded: the engine.
        max_graphs: batch sizes that are captured as CUDA graphs.

    Raises:
        BackendError: device or page-locked memory is exhausted, or another CUDA or TensorRT error.
    """

    def __init__(self, loaded: LoadedEngine, max_graphs: int = MAX_GRAPHS) -> None:
        self._loaded = loaded
        self._max_graphs = max_graphs
        self._cuda = load_cuda()
        self._seen: Counter[int] = Counter()
        self._graphs: dict[int, Any] = {}
        self._contexts: list[Any] = []
        self._may_capture = True
        largest = loaded.profile.max_batch
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(self._contexts.clear)
            self._stream = cuda_call(self._cuda.cudaStreamCreateWithFlags, self._cuda.cudaStreamNonBlocking)
            cleanup.callback(cuda_call, self._cuda.cudaStreamDestroy, self._stream)
            self._on_device: dict[str, int] = {}
            self._pinned: dict[str, int] = {}
            self._arrays: dict[str, AnyArray] = {}
            for tensor in (*loaded.inputs, *loaded.outputs):
                nbytes = tensor.nbytes(largest)
                self._on_device[tensor.name] = self._allocate(cleanup, nbytes, pinned=False)
                self._pinned[tensor.name] = self._allocate(cleanup, nbytes, pinned=True)
                self._arrays[tensor.name] = pinned_array(self._pinned[tensor.name], tensor.shape(largest), tensor.dtype)
            self._context = self._new_context()
            self._cleanup = cleanup.pop_all()

    def run(self, inputs: Mapping[str, AnyArray]) -> dict[str, AnyArray]:
        """The outputs of a batch by name; the arrays are overwritten by the next run."""
        rows = max(len(array) for array in inputs.values())
        # a batch below the profile's smallest runs at that size; the buffer rows behind it are ignored
        size = max(rows, self._loaded.profile.min_batch)
        for name, array in inputs.items():
            self._arrays[name][: len(array)] = array
        graph = self._graphs.get(size)
        if graph is None:
            self._set_size(self._context, size)
            self._enqueue(self._context, size)
        else:
            cuda_call(self._cuda.cudaGraphLaunch, graph, self._stream)
        cuda_call(self._cuda.cudaStreamSynchronize, self._stream)
        if graph is None:
            self._consider_graph(size)
        return {
            tensor.name: self._arrays[tensor.name][:rows] if tensor.is_free else self._arrays[tensor.name]
            for tensor in self._loaded.outputs
        }

    def close(self) -> None:
        """Free all memory; the stream must not run any more."""
        self._cleanup.close()

    def _set_size(self, context: Any, size: int) -> None:
        for tensor in self._loaded.inputs:
            if not context.set_input_shape(tensor.name, tensor.shape(size)):
                raise self._failed(f"take a batch of {size}")

    def _enqueue(self, context: Any, size: int) -> None:
        """Enqueue copy in, compute, copy out, in order; `_set_size` has set the context's size."""
        copy, kinds = self._cuda.cudaMemcpyAsync, self._cuda.cudaMemcpyKind
        for tensor in self._loaded.inputs:
            target, source = self._on_device[tensor.name], self._pinned[tensor.name]
            cuda_call(copy, target, source, tensor.nbytes(size), kinds.cudaMemcpyHostToDevice, self._stream)
        if not context.execute_async_v3(int(self._stream)):
            raise self._failed(f"run a batch of {size}")
        for tensor in self._loaded.outputs:
            target, source = self._pinned[tensor.name], self._on_device[tensor.name]
            cuda_call(copy, target, source, tensor.nbytes(size), kinds.cudaMemcpyDeviceToHost, self._stream)

    def _consider_graph(self, size: int) -> None:
        """Capture a size that recurs; a run then costs one launch instead of one for each kernel."""
        self._seen[size] += 1
        if not self._may_capture or self._seen[size] < RUNS_BEFORE_CAPTURE or len(self._graphs) == self._max_graphs:
            return
        try:
            self._graphs[size] = self._capture(size)
        except BackendError as error:
            self._may_capture = False
            del self._contexts[1 + len(self._graphs) :]  # frees the device memory of the failed capture
            _logger.warning("no CUDA graphs on this stream, runs are enqueued one by one: %s", error)

    def _capture(self, size: int) -> Any:
        """Capture a graph with its own context: a shared context's next shape would change what the graph refers to."""
        cuda = self._cuda
        context = self._new_context()
        self._set_size(context, size)
        self._enqueue(context, size)  # so that one-time work of the context is outside the capture
        cuda_call(cuda.cudaStreamSynchronize, self._stream)
        # TensorRT-RTX can tell beforehand that a capture would fail
        if hasattr(context, "is_stream_capturable") and not context.is_stream_capturable(int(self._stream)):
            raise BackendError(f"{self._loaded.library.title} cannot be captured at batch {size}")
        cuda_call(
            cuda.cudaStreamBeginCapture, self._stream, cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        )
        try:
            self._enqueue(context, size)
        except BackendError:
            cuda.cudaStreamEndCapture(self._stream)  # leaves capture mode; its error repeats the enqueue's
            cuda.cudaGetLastError()
            raise
        graph = cuda_call(cuda.cudaStreamEndCapture, self._stream)
        try:
            executable = cuda_call(cuda.cudaGraphInstantiate, graph, 0)
        finally:
            cuda_call(cuda.cudaGraphDestroy, graph)
        self._cleanup.callback(cuda_call, cuda.cudaGraphExecDestroy, executable)
        return executable

    def _new_context(self) -> Any:
        loaded = self._loaded
        loaded.library.log.clear()
        context = loaded.engine.create_execution_context()
        if context is None:
            raise self._failed("make an execution context")
        self._contexts.append(context)
        for name, address in self._on_device.items():
            if not context.set_tensor_address(name, int(address)):
                raise self._failed(f"bind {name}")
        return context

    def _allocate(self, cleanup: contextlib.ExitStack, nbytes: int, pinned: bool) -> int:
        cuda = self._cuda
        allocate, free = (cuda.cudaMallocHost, cuda.cudaFreeHost) if pinned else (cuda.cudaMalloc, cuda.cudaFree)
        address = cuda_call(allocate, nbytes)
        cleanup.callback(cuda_call, free, address)
        return int(address)

    def _failed(self, action: str) -> BackendError:
        library = self._loaded.library
        return BackendError(f"{library.title} cannot {action}: {library.log.errors()}")
