"""A stand-in for `cuda.bindings.runtime`; see fake_tensorrt.py."""

from __future__ import annotations

import ctypes
import threading
from collections import Counter
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any


class Handle:
    """A stream or a graph."""

    def __init__(self) -> None:
        self.work: list[Callable[[], None]] = []
        self.captured: list[Callable[[], None]] | None = None
        self.taken = threading.Lock()

    def __int__(self) -> int:
        return id(self)

    def put(self, work: Callable[[], None]) -> None:
        (self.work if self.captured is None else self.captured).append(work)


class FakeCuda(ModuleType):
    """The part of `cuda.bindings.runtime` that sal uses; every function returns (code, ...).

    Attributes:
        fails: error codes to give instead, by function.
        calls: how often each function was called.
        memory: what is allocated: (buffer, "device" or "pinned") by address.
        objects: streams and graphs that exist.
        devices: number of GPUs.
    """

    cudaStreamNonBlocking = 1  # noqa: N815
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)  # noqa: N815
    cudaDeviceAttr = SimpleNamespace(  # noqa: N815
        cudaDevAttrComputeCapabilityMajor="major", cudaDevAttrComputeCapabilityMinor="minor"
    )

    def __init__(self) -> None:
        super().__init__("cuda.bindings.runtime")
        self.fails: dict[str, int] = {}
        self.calls: Counter[str] = Counter()
        self.memory: dict[int, tuple[Any, str]] = {}
        self.objects: dict[int, Handle] = {}
        self.devices = 1
        self.lock = threading.Lock()

    def _done(self, name: str, *values: Any) -> tuple[Any, ...]:
        with self.lock:
            self.calls[name] += 1
        return (self.fails.get(name, 0), *values)

    def _object(self, name: str) -> tuple[Any, ...]:
        code, handle = self._done(name, Handle())
        if code == 0:
            self.objects[int(handle)] = handle
        return code, handle

    def _memory(self, name: str, size: int, place: str) -> tuple[Any, ...]:
        code, buffer = self._done(name, (ctypes.c_uint8 * size)())
        if code:
            return code, None
        self.memory[ctypes.addressof(buffer)] = (buffer, place)
        return 0, ctypes.addressof(buffer)

    def cudaGetErrorString(self, error: int) -> tuple[Any, ...]:  # noqa: N802
        return 0, {0: b"no error", 2: b"out of memory", 35: b"driver is too old"}.get(error, b"some failure")

    def cudaGetLastError(self) -> tuple[Any, ...]:  # noqa: N802
        return self._done("cudaGetLastError")

    def cudaRuntimeGetVersion(self) -> tuple[Any, ...]:  # noqa: N802
        return self._done("cudaRuntimeGetVersion", 13000)

    def cudaDriverGetVersion(self) -> tuple[Any, ...]:  # noqa: N802
        return self._done("cudaDriverGetVersion", 13000)

    def cudaGetDeviceCount(self) -> tuple[Any, ...]:  # noqa: N802
        return self._done("cudaGetDeviceCount", self.devices)

    def cudaGetDevice(self) -> tuple[Any, ...]:  # noqa: N802
        return self._done("cudaGetDevice", 0)

    def cudaSetDevice(self, device: int) -> tuple[Any, ...]:  # noqa: N802
        assert device == 0
        return self._done("cudaSetDevice")

    def cudaDeviceGetAttribute(self, attr: str, device: int) -> tuple[Any, ...]:  # noqa: N802
        return self._done("cudaDeviceGetAttribute", {"major": 8, "minor": 9}[attr])

    def cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:  # noqa: N802
        return self._done("cudaGetDeviceProperties", SimpleNamespace(name=b"NVIDIA Pretended\0\0\0"))

    def cudaMalloc(self, size: int) -> tuple[Any, ...]:  # noqa: N802
        return self._memory("cudaMalloc", size, "device")

    def cudaMallocHost(self, size: int) -> tuple[Any, ...]:  # noqa: N802
        return self._memory("cudaMallocHost", size, "pinned")

    def cudaFree(self, devPtr: int) -> tuple[Any, ...]:  # noqa: N802, N803
        assert self.memory.pop(devPtr)[1] == "device"
        return self._done("cudaFree")

    def cudaFreeHost(self, ptr: int) -> tuple[Any, ...]:  # noqa: N802
        assert self.memory.pop(ptr)[1] == "pinned"
        return self._done("cudaFreeHost")

    def cudaMemcpyAsync(self, dst: int, src: int, count: int, kind: int, stream: Handle) -> tuple[Any, ...]:  # noqa: N802
        (target, to_place), (source, from_place) = self.memory[dst], self.memory[src]
        assert (from_place, to_place) == (("pinned", "device") if kind == 1 else ("device", "pinned"))
        assert 0 < count <= min(len(target), len(source))
        stream.put(lambda: ctypes.memmove(dst, src, count) and None)
        return self._done("cudaMemcpyAsync")

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:  # noqa: N802
        assert flags == self.cudaStreamNonBlocking
        return self._object("cudaStreamCreateWithFlags")

    def cudaStreamDestroy(self, stream: Handle) -> tuple[Any, ...]:  # noqa: N802
        del self.objects[int(stream)]
        return self._done("cudaStreamDestroy")

    def cudaStreamSynchronize(self, stream: Handle) -> tuple[Any, ...]:  # noqa: N802
        assert stream.captured is None, "waiting ends a capture"
        assert stream.taken.acquire(blocking=False), "two threads on one stream"
        work, stream.work = stream.work, []
        for piece in work:
            piece()
        stream.taken.release()
        return self._done("cudaStreamSynchronize")

    def cudaStreamBeginCapture(self, stream: Handle, mode: int) -> tuple[Any, ...]:  # noqa: N802
        assert not stream.work
        code, *_ = self._done("cudaStreamBeginCapture")
        stream.captured = [] if code == 0 else None
        return (code,)

    def cudaStreamEndCapture(self, stream: Handle) -> tuple[Any, ...]:  # noqa: N802
        code, graph = self._object("cudaStreamEndCapture")
        graph.work, stream.captured = stream.captured, None
        return code, graph

    def cudaGraphInstantiate(self, graph: Handle, flags: int) -> tuple[Any, ...]:  # noqa: N802
        code, executable = self._object("cudaGraphInstantiate")
        executable.work = graph.work
        return code, executable

    def cudaGraphLaunch(self, graphExec: Handle, stream: Handle) -> tuple[Any, ...]:  # noqa: N802, N803
        assert int(graphExec) in self.objects
        for piece in graphExec.work:
            stream.put(piece)
        return self._done("cudaGraphLaunch")

    def cudaGraphDestroy(self, graph: Handle) -> tuple[Any, ...]:  # noqa: N802
        del self.objects[int(graph)]
        return self._done("cudaGraphDestroy")

    def cudaGraphExecDestroy(self, graphExec: Handle) -> tuple[Any, ...]:  # noqa: N802, N803
        del self.objects[int(graphExec)]
        return self._done("cudaGraphExecDestroy")
