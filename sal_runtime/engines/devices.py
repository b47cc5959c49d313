"""How a graph is opened on a device: one small protocol, one table of devices, and the choice among them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Protocol

from sal_runtime.arrays import AnyArray, Precision
from sal_runtime.errors import BackendError, BundleError

AUTO = "auto"


@dataclass(frozen=True)
class DeviceEntry:
    """How a device is opened.

    Attributes:
        opener: `module:callable`, imported when the device is first used. It is called as `open_backend` is, returns a
            `Backend` that runs on this device and no other, and raises BackendError if it cannot.
        extra: extra of this package that installs the library for the device.
        on_cpu: whether the device shares the CPU cores with the rest of the process.
    """

    opener: str
    extra: str
    on_cpu: bool = False


DEVICE_ENTRIES: dict[str, DeviceEntry] = {
    "trt": DeviceEntry("sal_runtime.engines.tensorrt.backend:open_tensorrt_backend", "trt"),
    "cuda": DeviceEntry("sal_runtime.engines.onnx:OnnxBackend", "gpu"),
    "cpu": DeviceEntry("sal_runtime.engines.onnx:OnnxBackend", "cpu", on_cpu=True),
}
"""Every device by name, in the order in which `auto` tries them."""

DEVICES = (*reversed(DEVICE_ENTRIES), AUTO)


class Backend(Protocol):
    """A loaded graph with one input and one output, both with a free first axis. Threads may share it.

    A backend that knows it also has `placement`, the number of graph nodes by the provider that runs them.
    """

    @property
    def device(self) -> str:
        """Device that the graph runs on."""

    def run(self, batch: AnyArray) -> AnyArray:
        """Run the graph on a batch; its dtype and all axes but the first must be those of the graph's input."""


@dataclass(frozen=True)
class DeviceChoice:
    """The device a graph was opened on, and the reason.

    Attributes:
        device: `cpu`, `cuda` or `trt`.
        reason: one line for people; for `auto` it says why the devices tried before were refused.
    """

    device: str
    reason: str


def open_backend(
    model: bytes, *, device: str = "cpu", precision: Precision = "fp32", threads: int | None = None
) -> Backend:
    """Load an ONNX graph on exactly the given device.

    Args:
        model: content of an .onnx file.
        device: key of `DEVICE_ENTRIES`.
        precision: precision of the graph.
        threads: CPU threads per run, None for all cores; other devices ignore it.

    Raises:
        BackendError: the device is unknown or unavailable, its library is missing, or the graph cannot be loaded.
    """
    _check_device(device, tuple(reversed(DEVICE_ENTRIES)))
    module, _, name = DEVICE_ENTRIES[device].opener.partition(":")
    opener: Callable[..., Backend] = getattr(import_module(module), name)
    return opener(model, device=device, precision=precision, threads=threads)


def choose_backend(
    model_for: Callable[[str], bytes], *, device: str, precision: Precision = "fp32", threads: int | None = None
) -> tuple[Backend, DeviceChoice]:
    """Load a graph on the given device, or with `auto` on the first of trt, cuda and cpu on which it loads.

    Args:
        model_for: returns the content of the .onnx file for a device; files may differ between devices.
        device: one of `DEVICES`.
        precision: precision of the graph.
        threads: as for `open_backend`.

    Raises:
        BackendError: the device is unknown or unavailable, or with `auto` every device is; and whatever `model_for`
            raises.
    """
    _check_device(device, (*reversed(DEVICE_ENTRIES), AUTO))
    open_model = partial(open_backend, precision=precision, threads=threads)
    if device != AUTO:
        return open_model(model_for(device), device=device), DeviceChoice(device, "requested")
    refusals: list[str] = []
    for candidate in DEVICE_ENTRIES:
        try:
            backend = open_model(model_for(candidate), device=candidate)
        except (BackendError, BundleError) as error:
            refusals.append(f"{candidate} is unavailable ({error})")
        else:
            return backend, DeviceChoice(candidate, "; ".join(refusals) or "first choice")
    raise BackendError(f"no device is available: {'; '.join(refusals)}")


def _check_device(device: str, known: tuple[str, ...]) -> None:
    if device not in known:
        raise BackendError(f"device is {device!r}, expected one of {', '.join(known)}")
