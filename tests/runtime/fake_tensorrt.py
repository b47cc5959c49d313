"""Stand-ins for TensorRT and cuda-bindings on a machine without a GPU.

"Device" memory is host memory, an "engine" computes in numpy, and nothing that is put on a stream happens before the
stream is waited for: code that forgets to wait, copies too much, shares a stream between threads, or changes a context
that a captured graph refers to, fails here. What is offered is a part of the real interface; test_backend_tensorrt.py
compares the two where the real libraries are installed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.runtime.fake_cuda import FakeCuda

HEIGHT, WIDTH, DIM = 6, 4, 5
# whole numbers: sums are exact, whatever the order and the batch
_WEIGHT = np.random.default_rng(3).integers(-9, 10, (HEIGHT * WIDTH * 3, DIM)).astype(np.float32)
TYPES = {"UINT8": np.uint8, "FLOAT": np.float32, "HALF": np.float16, "INT64": np.int64}


def answer(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the pretended engine gives: [N, 6, 4, 3] -> [N, 5]."""
    return images.reshape(len(images), HEIGHT * WIDTH * 3).astype(np.float32) @ _WEIGHT


@dataclass(frozen=True)
class FakeGraph:
    """What engines compute, whatever was asked to be built.

    Attributes:
        inputs: type and shape by name; -1 where the batch decides.
        outputs: the same.
        answer: the outputs for inputs, both by name.
    """

    inputs: dict[str, tuple[str, tuple[int, ...]]]
    outputs: dict[str, tuple[str, tuple[int, ...]]]
    answer: Callable[[dict[str, Any]], dict[str, Any]]


def encoder(height: int, width: int, dim: int, embed: Callable[[Any], Any]) -> FakeGraph:
    """The graph of an image encoder."""
    return FakeGraph(
        {"images": ("UINT8", (-1, height, width, 3))},
        {"embeddings": ("FLOAT", (-1, dim))},
        lambda inputs: {"embeddings": embed(inputs["images"])},
    )


def plan(smallest: int = 1, best: int = 8, largest: int = 32) -> bytes:
    """A serialised engine as the pretended runtime reads it."""
    return json.dumps({"profile": [smallest, best, largest]}).encode()


class FakeContext:
    """An `IExecutionContext`."""

    def __init__(self, library: FakeTensorRT, profile: list[int]) -> None:
        self._library = library
        self._profile = profile
        self._addresses: dict[str, int] = {}
        self.size = 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        stated = self._library.graph.inputs[name][1]
        assert shape[1:] == stated[1:]
        if not self._profile[0] <= shape[0] <= self._profile[2] or stated[0] not in (-1, shape[0]):
            return False
        self.size = shape[0]
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._library.undecided:
            return (-1, *self._library.graph.outputs[name][1][1:])
        graph = self._library.graph
        return self._shape({**graph.inputs, **graph.outputs}[name][1], self.size)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert self._library.cuda.memory[memory][1] == "device"
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        captured = self._library.cuda.objects[stream_handle].captured is not None
        if self._library.refuses or (captured and self._library.refuses_capture):
            self._library.logger.log(1, self._library.refuses)
            return False
        size = self.size
        self._library.executed.append(size)
        self._library.cuda.objects[stream_handle].put(lambda: self._compute(size))
        return True

    def _compute(self, size: int) -> None:
        assert self.size == size, "the context's shape was changed under work that refers to it"
        graph = self._library.graph
        inputs = {name: self._array(name, *stated, size) for name, stated in graph.inputs.items()}
        for name, value in graph.answer(inputs).items():
            self._array(name, *graph.outputs[name], size)[...] = value

    def _array(self, name: str, kind: str, stated: tuple[int, ...], size: int) -> NDArray[Any]:
        shape = self._shape(stated, size)
        buffer = self._library.cuda.memory[self._addresses[name]][0]
        return np.frombuffer(buffer, TYPES[kind], int(np.prod(shape))).reshape(shape)

    @staticmethod
    def _shape(stated: tuple[int, ...], size: int) -> tuple[int, ...]:
        return tuple(size if length == -1 else length for length in stated)


class FakeEngine:
    """An `ICudaEngine`."""

    def __init__(self, library: FakeTensorRT, profile: list[int]) -> None:
        self._library = library
        self._profile = profile
        self._tensors = {**library.graph.inputs, **library.graph.outputs}

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self._tensors)[index]

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if name in self._library.graph.inputs else "OUTPUT"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name][1]

    def get_tensor_dtype(self, name: str) -> str:
        return self._tensors[name][0]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        assert (name in self._library.graph.inputs, profile_index) == (True, 0)
        assert self._tensors[name][1][0] == -1, "an engine of a fixed batch has no profile"
        return [(size, *self._tensors[name][1][1:]) for size in self._profile]

    def create_execution_context(self) -> FakeContext:
        return FakeContext(self._library, self._profile)

    def create_engine_inspector(self) -> FakeInspector:
        return FakeInspector(self._library.inspected)


class FakeInspector:
    """An `EngineInspector`: as the real one, it knows types only for a shape."""

    def __init__(self, types: list[str]) -> None:
        self._types = types
        self.execution_context: FakeContext | None = None

    def get_engine_information(self, format: str) -> str:
        assert format == "JSON"
        known = self.execution_context is not None and self.execution_context.size > 0
        types = self._types if known else ["N/A due to dynamic shapes"] * len(self._types)
        return json.dumps({"Layers": [{"LayerType": "gemm", "Inputs": [{"DataType": name}]} for name in types]})


class FakeTensorRT(ModuleType):
    """The part of `tensorrt` that running an engine takes.

    Attributes:
        executed: batch sizes given to execute_async_v3, in order.
        deserialised: plans given to the runtime.
        refuses: the error that executions fail with, if any.
        inspected: types that the engine inspector reports.
        refuses_capture: executions fail while their stream is captured.
        graph: what engines compute.
        undecided: outputs whose length the values of the inputs decide.
    """

    ILogger = type(
        "ILogger",
        (),
        {"Severity": SimpleNamespace(INTERNAL_ERROR=0, ERROR=1, WARNING=2, INFO=3, VERBOSE=4)},
    )
    TensorIOMode = SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT")
    LayerInformationFormat = SimpleNamespace(JSON="JSON")

    def __init__(self, cuda: FakeCuda, name: str = "tensorrt") -> None:
        super().__init__(name)
        self.__version__ = "11.4.0.106"
        self.cuda = cuda
        self.executed: list[int] = []
        self.deserialised: list[bytes] = []
        self.refuses = ""
        self.inspected: list[str] = []
        self.refuses_capture = False
        self.graph = encoder(HEIGHT, WIDTH, DIM, answer)
        self.undecided: set[str] = set()
        self.logger: Any = None

    def Runtime(self, logger: Any) -> Any:  # noqa: N802
        self.logger = logger
        return SimpleNamespace(deserialize_cuda_engine=self._deserialise)

    def _deserialise(self, serialized_engine: bytes) -> FakeEngine | None:
        self.deserialised.append(serialized_engine)
        try:
            return FakeEngine(self, json.loads(serialized_engine)["profile"])
        except ValueError:
            self.logger.log(1, "magic tag does not match")
            return None

    @staticmethod
    def nptype(trt_type: str) -> type:
        return TYPES[trt_type]


def install(monkeypatch: pytest.MonkeyPatch) -> FakeTensorRT:
    """Put both libraries where imports find them."""
    cuda = FakeCuda()
    library = FakeTensorRT(cuda)
    bindings = ModuleType("cuda.bindings")
    bindings.runtime = cuda  # type: ignore[attr-defined]
    package = ModuleType("cuda")
    package.bindings = bindings  # type: ignore[attr-defined]
    for module in (library, package, bindings, cuda):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return library
