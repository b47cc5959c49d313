"""What runs an encoder graph: one small protocol, and the choice of an implementation."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

from sal_runtime.errors import BackendError

DEVICES = ("cpu", "cuda")


class Backend(Protocol):
    """A loaded graph with one input and one output, both with a free first axis. Safe to call from many threads."""

    device: str

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The output for a batch; the dtype and the other axes must be the graph's."""


def open_backend(model: bytes, device: str = "cpu", threads: int | None = None) -> Backend:
    """Load an ONNX graph.

    Args:
        model: the content of an .onnx file.
        device: `cpu` or `cuda`; no other device is ever used in its place.
        threads: of one run on the CPU; None for all cores.

    Raises:
        BackendError: the device is unknown or cannot be had, the engine library is missing, or the graph is unusable.
    """
    if device not in DEVICES:
        raise BackendError(f"device is {device!r}, expected one of {', '.join(DEVICES)}")
    from sal_runtime.backend_onnx import OnnxBackend

    return OnnxBackend(model, device, threads)
