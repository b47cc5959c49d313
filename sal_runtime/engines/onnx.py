"""ONNX Runtime on the CPU or on CUDA.

ONNX Runtime silently runs on the CPU whatever a device cannot do. Here that is an error. Since version 1.24 it reports
which provider runs each node, and every session is checked against that report. An older version is told to refuse CPU
fallback itself, so it also refuses every graph that contains a Shape node.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sal_runtime.arrays import AnyArray, Precision
from sal_runtime.engines.devices import DEVICE_ENTRIES
from sal_runtime.engines.installed import import_onnxruntime, wheels_conflict
from sal_runtime.errors import BackendError, first_line, install

CPU = "CPUExecutionProvider"
PROVIDERS: Mapping[str, tuple[str, dict[str, str]]] = {
    "cpu": (CPU, {}),
    # fp32 means fp32: by default CUDA rounds the factors of convolutions and products to TF32, 10 bits of mantissa
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0"}),
}
"""Execution provider and its options by device."""
SHAPE_ARITHMETIC = frozenset({"Shape", "Size", "Gather", "Slice", "Concat", "Squeeze", "Unsqueeze"})
"""Operations on a handful of integers, the sizes of tensors. ONNX Runtime keeps them off the GPU on purpose."""
LOG_WARNINGS = 2
LOG_ERRORS_ONLY = 3
LOG_NOTHING = 4


@dataclass(frozen=True)
class AssignedNode:
    """A graph node: its operation, its name, and the provider that runs it."""

    operation: str
    name: str
    provider: str


class OnnxBackend:
    """One graph in one session.

    Args:
        model: content of an .onnx file.
        device: `cpu` or `cuda`; the whole graph must run there.
        precision: precision of the graph; not used, because the graph's nodes determine it.
        threads: CPU threads per run, None for all cores.

    Raises:
        BackendError: ONNX Runtime is not installed, does not provide the device, cannot load the graph, or would run
            part of it elsewhere.
    """

    def __init__(
        self, model: bytes, *, device: str = "cpu", precision: Precision = "fp32", threads: int | None = None
    ) -> None:
        self.device = device
        self._session = open_session(model, device=device, threads=threads)
        self._input = self._session.get_inputs()[0].name

    @property
    def placement(self) -> dict[str, int] | None:
        """Number of graph nodes by provider; None if this version of ONNX Runtime does not report it."""
        nodes = assigned_nodes(self._session)
        return None if nodes is None else dict(Counter(node.provider for node in nodes))

    def run(self, batch: AnyArray) -> AnyArray:
        """Run the graph on a batch; threads may share the session.

        Raises:
            BackendError: ONNX Runtime failed, for example on a batch of another dtype or shape.
        """
        if self.device != "cpu":
            return run_on_device(self._session, {self._input: to_device(batch, self.device)}, self.device)[0]
        try:
            output: AnyArray = self._session.run(None, {self._input: batch})[0]
        except Exception as error:
            raise BackendError(
                f"ONNX Runtime on {self.device} failed on a batch {batch.dtype} {batch.shape}: {first_line(error)}"
            ) from error
        return output


def open_session(model: bytes, *, device: str, threads: int | None = None) -> Any:
    """An InferenceSession that runs the whole graph on one device.

    Args:
        model: content of an .onnx file.
        device: `cpu` or `cuda`.
        threads: CPU threads per run, None for all cores.

    Raises:
        BackendError: ONNX Runtime is not installed, does not provide the device, cannot load the graph, or would run
            part of it elsewhere.
    """
    if device not in PROVIDERS:
        raise BackendError(f"device is {device!r}, expected one of {', '.join(PROVIDERS)} for ONNX Runtime")
    onnxruntime = _import_onnxruntime(device)
    title, provider = f"device {device}: this ONNX Runtime {onnxruntime.__version__}", PROVIDERS[device][0]
    if provider not in onnxruntime.get_available_providers():
        remedy = wheels_conflict() or install("gpu", "pip uninstall onnxruntime")
        raise BackendError(f"{title} has no {provider}; {remedy}")
    options = _session_options(onnxruntime, device, threads)
    if device == "cpu" and b"QuantizeLinear" in model:
        from sal_runtime.engines.int8_products import keep_exact

        keep_exact(options)
    try:
        with _quiet(onnxruntime, device):
            # enable_fallback=0: the default retries on the CPU after printing a line
            session = onnxruntime.InferenceSession(model, options, providers=[PROVIDERS[device]], enable_fallback=0)
    except Exception as error:  # ONNX Runtime raises its own classes, which share no base but Exception
        reason = _cuda_problem(onnxruntime, device) or f"cannot load the graph: {first_line(error)}"
        raise BackendError(f"{title} {reason}") from error
    first_provider = session.get_providers()[0]
    if first_provider != provider:
        reason = _cuda_problem(onnxruntime, device) or f"took {first_provider} instead of {provider}"
        raise BackendError(f"{title} {reason}")
    nodes = assigned_nodes(session)
    if nodes is not None:
        check_placement(nodes, provider)
    return session


def to_device(array: AnyArray, device: str) -> Any:
    """Copy an array to the memory of a device, as an OrtValue; on the CPU it may share the array's memory.

    Args:
        array: must not change while the value is in use.
        device: `cuda` (the first GPU) or `cpu`.

    Raises:
        BackendError: the device does not have enough memory.
    """
    ort_value = import_onnxruntime().OrtValue
    try:
        return ort_value.ortvalue_from_numpy(np.ascontiguousarray(array), device, 0)
    except Exception as error:  # ONNX Runtime raises its own classes, which share no base but Exception
        raise BackendError(f"device {device}: no room for {array.nbytes / 1e6:,.0f} MB: {first_line(error)}") from error


def run_on_device(session: Any, inputs: Mapping[str, Any], device: str) -> list[AnyArray]:
    """Run a session on inputs that are in the memory of a device; returns copies of the outputs, in graph order.

    Args:
        session: an InferenceSession.
        inputs: an OrtValue for each input of the graph, from `to_device`.
        device: device of the session: `cuda` (the first GPU) or `cpu`.

    Raises:
        BackendError: ONNX Runtime failed.
    """
    try:
        binding = session.io_binding()
        for name, value in inputs.items():
            binding.bind_ortvalue_input(name, value)
        for output in session.get_outputs():
            binding.bind_output(output.name, device, 0)
        session.run_with_iobinding(binding)
        outputs: list[AnyArray] = binding.copy_outputs_to_cpu()
    except Exception as error:
        raise BackendError(f"ONNX Runtime on {device} failed: {first_line(error)}") from error
    return outputs


def assigned_nodes(session: Any) -> list[AssignedNode] | None:
    """Every node of a session's graph; None if this version of ONNX Runtime does not report what runs them."""
    if not _reports_placement(session):
        return None
    return [
        AssignedNode(node.op_type, node.name, part.ep_name)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]


def check_placement(nodes: Sequence[AssignedNode], provider: str) -> None:
    """Refuse a graph if anything but its shape arithmetic runs elsewhere than on `provider`.

    Raises:
        BackendError: names such nodes, or says that no node runs on `provider`.
    """
    strays = [
        node
        for node in nodes
        if node.provider != provider and not (node.provider == CPU and node.operation in SHAPE_ARITHMETIC)
    ]
    if strays:
        named = ", ".join(f"{node.operation} {node.name} on {node.provider}" for node in strays[:3])
        raise BackendError(
            f"requested {provider} from ONNX Runtime, but it would run {len(strays)} of {len(nodes)} nodes elsewhere: "
            f"{named}{', ...' if len(strays) > 3 else ''}; use device cpu, or export a graph for this device"
        )
    if all(node.provider != provider for node in nodes):
        raise BackendError(f"requested {provider} from ONNX Runtime, but it runs no node of the graph there")


def _import_onnxruntime(device: str) -> Any:
    """Import ONNX Runtime on first use: it takes long to load, and may not be installed."""
    extra = DEVICE_ENTRIES[device].extra
    try:
        onnxruntime = import_onnxruntime()
    except Exception as error:  # half of an installation fails in many ways
        if isinstance(error, ModuleNotFoundError) and error.name == "onnxruntime":
            raise BackendError(f"ONNX Runtime is not installed; {install(extra)}") from error
        raise BackendError(f"ONNX Runtime cannot be imported ({first_line(error)}); {_reinstall(extra)}") from error
    if not hasattr(onnxruntime, "InferenceSession"):
        raise BackendError(f"ONNX Runtime is damaged: its module is there, but empty; {_reinstall(extra)}")
    return onnxruntime


def _reinstall(extra: str) -> str:
    return wheels_conflict() or install(extra, "pip uninstall onnxruntime onnxruntime-gpu")


def _session_options(onnxruntime: Any, device: str, threads: int | None) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = LOG_ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    if _reports_placement(onnxruntime.InferenceSession):
        # not disable_cpu_ep_fallback as well: it would refuse shape arithmetic, which is kept off the GPU on purpose
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    elif device != "cpu":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _reports_placement(session: Any) -> bool:
    return hasattr(session, "get_provider_graph_assignment_info")


@contextlib.contextmanager
def _quiet(onnxruntime: Any, device: str) -> Iterator[None]:
    """Keep ONNX Runtime from printing lines about a GPU that it cannot use; the error reports it."""
    if device == "cpu":
        yield
        return
    if hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints which libraries it does not find
            onnxruntime.preload_dlls()
    onnxruntime.set_default_logger_severity(LOG_NOTHING)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(LOG_WARNINGS)  # its default; the earlier value cannot be queried


def _cuda_problem(onnxruntime: Any, device: str) -> str:
    """Why the CUDA provider cannot be loaded, and what to do; empty if it can.

    Call it only after ONNX Runtime has tried: its library must not be loaded before it is ready for it.
    """
    if device != "cuda":
        return ""
    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        for name in ("shared", "cuda"):
            ctypes.CDLL(str(folder / f"libonnxruntime_providers_{name}.so"), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        missing = first_line(error)
        remedy = (
            "there is no NVIDIA driver here; install it, or start the container with its GPUs"
            if "libcuda.so" in missing
            else wheels_conflict() or 'pip install "onnxruntime-gpu[cuda,cudnn]"'
        )
        return f"cannot start CUDA ({missing}); {remedy}"
    return ""
