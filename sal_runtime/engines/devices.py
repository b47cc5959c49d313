"""What runs an encoder graph: one small protocol, the engines there are, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from numpy.typing import NDArray

from sal_runtime.errors import BackendError, BundleError

AUTO = "auto"


@dataclass(frozen=True)
class Engine:
    """How a device is opened.

    Attributes:
        opener: `module:function`, imported when the device is asked for. The function takes the content of an .onnx
            file and the precision of its arithmetic (and `threads`, if `on_cpu`), gives a `Backend` that runs on this
            device and no other, and raises BackendError if it cannot.
        extra: of this package that installs what it needs.
        on_cpu: it computes on the cores that everything else computes on.
    """

    opener: str
    extra: str
    on_cpu: bool = False


ENGINES: dict[str, Engine] = {
    "trt": Engine("sal_runtime.engines.tensorrt.backend:open_tensorrt_backend", "trt"),
    "cuda": Engine("sal_runtime.engines.onnx:open_cuda_backend", "gpu"),
    "cpu": Engine("sal_runtime.engines.onnx:open_cpu_backend", "cpu", on_cpu=True),
}
"""By device, in the order in which `auto` tries them."""

DEVICES = (*reversed(ENGINES), AUTO)


class Backend(Protocol):
    """A loaded graph with one input and one output, both with a free first axis. Safe to call from many threads.

    One that can tell also has `placement`, the number of the graph's nodes by what runs them.
    """

    @property
    def device(self) -> str:
        """Where it runs."""

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The output for a batch; the dtype and the other axes must be the graph's."""


@dataclass(frozen=True)
class DeviceChoice:
    """Where a graph was opened, and why there.

    Attributes:
        device: `cpu`, `cuda` or `trt`.
        reason: one line for people; where `auto` chose, it says why what it tried before cannot be had.
    """

    device: str
    reason: str


def open_backend(model: bytes, device: str = "cpu", threads: int | None = None, precision: str = "fp32") -> Backend:
    """Load an ONNX graph.

    Args:
        model: the content of an .onnx file.
        device: `cpu`, `cuda` or `trt`, and no other is ever used in its place; or `auto`, see `choose_backend`.
        threads: of one run on the CPU; None for all cores. Other devices do without.
        precision: of the graph's arithmetic: fp32, fp16 or int8.

    Raises:
        BackendError: the device is unknown or cannot be had, the engine library is missing, or the graph is unusable.
    """

    def open_on(chosen: str) -> Backend:
        engine = ENGINES[chosen]
        module, _, function = engine.opener.partition(":")
        opener = getattr(import_module(module), function)
        backend: Backend = opener(model, precision, threads) if engine.on_cpu else opener(model, precision)
        return backend

    return choose_backend(device, open_on)[0]


def choose_backend(device: str, open_on: Callable[[str], Backend]) -> tuple[Backend, DeviceChoice]:
    """Open a graph on a device, or with `auto` on the first of trt, cuda and cpu on which it really opens.

    Args:
        device: one of `DEVICES`.
        open_on: opens the graph on one of `ENGINES`; which file that is may depend on the device.

    Raises:
        BackendError: the device is unknown, or with `auto` none can be had; and whatever `open_on` raises.
    """
    if device not in DEVICES:
        raise BackendError(f"device is {device!r}, expected one of {', '.join(DEVICES)}")
    if device != AUTO:
        return open_on(device), DeviceChoice(device, "asked for")
    refused: list[str] = []
    for candidate in ENGINES:
        try:
            backend = open_on(candidate)
        except (BackendError, BundleError) as error:
            refused.append(f"{candidate} cannot be had ({error})")
        else:
            return backend, DeviceChoice(candidate, "; ".join(refused) or "the first choice")
    raise BackendError(f"no device can be had: {'; '.join(refused)}")
