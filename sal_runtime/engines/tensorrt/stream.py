"""One CUDA stream with all that an engine needs to run on it: execution contexts, buffers, captured graphs."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from sal_runtime.arrays import AnyArray
from sal_runtime.engines.tensorrt.cuda import cuda_call, load_cuda, pinned_array
from sal_runtime.engines.tensorrt.key import Profile
from sal_runtime.engines.tensorrt.library import TensorRT
from sal_runtime.errors import BackendError

MAX_GRAPHS = 3
"""Batch sizes per stream with a captured CUDA graph; each has an execution context with its own device memory."""
RUNS_BEFORE_CAPTURE = 2
"""Runs of a batch size before it is captured: one that occurs once, such as a folder's last, is not worth a graph."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedEngine:
    """A deserialised engine with one input and one output, both with a free first axis.

    Attributes:
        library: library that loaded the engine.
        runtime: `IRuntime` that deserialised the engine and must live as long.
        engine: the `ICudaEngine`.
        input_name: name of the input.
        input_shape: shape of the input without the batch axis.
        input_dtype: dtype of the input.
        output_name: name of the output.
        output_shape: shape of the output without the batch axis.
        output_dtype: dtype of the output.
        profile: batch sizes.
    """

    library: TensorRT
    runtime: Any
    engine: Any
    input_name: str
    input_shape: tuple[int, ...]
    input_dtype: np.dtype[Any]
    output_name: str
    output_shape: tuple[int, ...]
    output_dtype: np.dtype[Any]
    profile: Profile

    @property
    def input_bytes(self) -> int:
        """Size of one input row."""
        return int(np.prod(self.input_shape)) * self.input_dtype.itemsize

    @property
    def output_bytes(self) -> int:
        """Size of one output row."""
        return int(np.prod(self.output_shape)) * self.output_dtype.itemsize


def load_engine(library: TensorRT, plan: bytes) -> LoadedEngine:
    """Deserialise an engine. Plans are executable code: pass only what `read_engine` returned or what was just built.

    Raises:
        BackendError: the library rejects the plan, or it is not an encoder.
    """
    module = library.module
    library.log.clear()
    runtime = module.Runtime(library.log.logger)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise BackendError(f"{library.title} cannot load the engine: {library.log.errors()}")
    names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
    inputs = [name for name in names if engine.get_tensor_mode(name) == module.TensorIOMode.INPUT]
    outputs = [name for name in names if name not in inputs]
    if len(inputs) != 1 or len(outputs) != 1:
        raise BackendError(f"the engine has inputs {inputs} and outputs {outputs}, expected one each")
    smallest, best, largest = (int(shape[0]) for shape in engine.get_tensor_profile_shape(inputs[0], 0))
    return LoadedEngine(
        library=library,
        runtime=runtime,
        engine=engine,
        input_name=inputs[0],
        input_shape=tuple(engine.get_tensor_shape(inputs[0]))[1:],
        input_dtype=np.dtype(module.nptype(engine.get_tensor_dtype(inputs[0]))),
        output_name=outputs[0],
        output_shape=tuple(engine.get_tensor_shape(outputs[0]))[1:],
        output_dtype=np.dtype(module.nptype(engine.get_tensor_dtype(outputs[0]))),
        profile=Profile(smallest, best, largest),
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
            self._device_input = self._allocate(cleanup, largest * loaded.input_bytes, pinned=False)
            self._device_output = self._allocate(cleanup, largest * loaded.output_bytes, pinned=False)
            host_input = self._allocate(cleanup, largest * loaded.input_bytes, pinned=True)
            host_output = self._allocate(cleanup, largest * loaded.output_bytes, pinned=True)
            self._host_input = pinned_array(host_input, (largest, *loaded.input_shape), loaded.input_dtype)
            self._host_output = pinned_array(host_output, (largest, *loaded.output_shape), loaded.output_dtype)
            self._addresses = (host_input, host_output)
            self._context = self._new_context()
            self._cleanup = cleanup.pop_all()

    def run(self, batch: AnyArray) -> AnyArray:
        """Output rows of a batch; the array is overwritten by the next run."""
        # a batch below the profile's smallest runs at that size; the buffer rows behind it are ignored
        size = max(len(batch), self._loaded.profile.min_batch)
        self._host_input[: len(batch)] = batch
        graph = self._graphs.get(size)
        if graph is None:
            self._set_size(self._context, size)
            self._enqueue(self._context, size)
        else:
            cuda_call(self._cuda.cudaGraphLaunch, graph, self._stream)
        cuda_call(self._cuda.cudaStreamSynchronize, self._stream)
        if graph is None:
            self._consider_graph(size)
        return self._host_output[: len(batch)]

    def close(self) -> None:
        """Free all memory; the stream must not run any more."""
        self._cleanup.close()

    def _set_size(self, context: Any, size: int) -> None:
        if not context.set_input_shape(self._loaded.input_name, (size, *self._loaded.input_shape)):
            raise self._failed(f"take a batch of {size}")

    def _enqueue(self, context: Any, size: int) -> None:
        """Enqueue copy in, compute, copy out, in order; `_set_size` has set the context's size."""
        loaded, cuda = self._loaded, self._cuda
        kinds = cuda.cudaMemcpyKind
        host_input, host_output = self._addresses
        nbytes = size * loaded.input_bytes
        to_device = (self._device_input, host_input, nbytes, kinds.cudaMemcpyHostToDevice, self._stream)
        cuda_call(cuda.cudaMemcpyAsync, *to_device)
        if not context.execute_async_v3(int(self._stream)):
            raise self._failed(f"run a batch of {size}")
        nbytes = size * loaded.output_bytes
        to_host = (host_output, self._device_output, nbytes, kinds.cudaMemcpyDeviceToHost, self._stream)
        cuda_call(cuda.cudaMemcpyAsync, *to_host)

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
        for name, address in ((loaded.input_name, self._device_input), (loaded.output_name, self._device_output)):
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
