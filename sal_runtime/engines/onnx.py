"""ONNX Runtime, on the CPU or on CUDA; the only file that imports it.

ONNX Runtime likes to help: what a device cannot do, it does on the CPU. Here that is an error. Since version 1.24 it
can say which provider runs each node, and every session is checked against that; an older one is told to refuse by
itself, which it does for any graph with a Shape in it.
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
from numpy.typing import NDArray

from sal_runtime.engines.installed import wheels_conflict
from sal_runtime.errors import BackendError

CPU = "CPUExecutionProvider"
PROVIDERS: Mapping[str, tuple[str, dict[str, str]]] = {
    "cpu": (CPU, {}),
    # fp32 means fp32: by default CUDA rounds the factors of convolutions and products to TF32, 10 bits of mantissa
    "cuda": ("CUDAExecutionProvider", {"use_tf32": "0"}),
}
EXTRAS = {"cpu": "cpu", "cuda": "gpu"}
SHAPE_ARITHMETIC = frozenset({"Shape", "Size", "Gather", "Slice", "Concat", "Squeeze", "Unsqueeze"})
"""Operations on a handful of integers, the sizes of tensors. ONNX Runtime keeps them off the GPU on purpose."""
INSTALL_GPU = 'pip uninstall onnxruntime && pip install "sal-person-search[gpu]"'
LOG_WARNINGS = 2
LOG_ERRORS_ONLY = 3
LOG_NOTHING = 4


@dataclass(frozen=True)
class AssignedNode:
    """A node of the graph: its operation, its name, and the provider that runs it."""

    operation: str
    name: str
    provider: str


def open_cpu_backend(model: bytes, precision: str, threads: int | None) -> OnnxBackend:
    """An ONNX graph on the CPU; its precision is that of its nodes. Raises as `OnnxBackend`."""
    return OnnxBackend(model, "cpu", threads)


def open_cuda_backend(model: bytes, precision: str) -> OnnxBackend:
    """An ONNX graph on CUDA; its precision is that of its nodes. Raises as `OnnxBackend`."""
    return OnnxBackend(model, "cuda", None)


class OnnxBackend:
    """One graph in one session.

    Attributes:
        device: `cpu` or `cuda`.
        placement: nodes of the graph by provider; None where this version of ONNX Runtime cannot tell.

    Args:
        model: the content of an .onnx file.
        device: where all of it must run.
        threads: of one run on the CPU; None for all cores.

    Raises:
        BackendError: ONNX Runtime is not installed, does not give the device, cannot load the graph, or would run a
            part of it elsewhere.
    """

    def __init__(self, model: bytes, device: str, threads: int | None) -> None:
        self.device = device
        self._session = open_session(model, device, threads)
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name
        nodes = assigned_nodes(self._session)
        self.placement = None if nodes is None else dict(Counter(node.provider for node in nodes))

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The graph's output for a batch; sessions may run from many threads at once."""
        try:
            if self.device != "cpu":
                return run_bound(self._session, self._input, self._output, batch, self.device)
            output: NDArray[Any] = self._session.run(None, {self._input: batch})[0]
        except Exception as error:
            raise BackendError(
                f"ONNX Runtime on {self.device} failed on a batch {batch.dtype} {batch.shape}: {_first_line(error)}"
            ) from error
        return output


def open_session(model: bytes, device: str, threads: int | None = None) -> Any:
    """An InferenceSession of a graph, all of it on one device.

    Args:
        model: the content of an .onnx file.
        device: `cpu` or `cuda`.
        threads: of one run on the CPU; None for all cores.

    Raises:
        BackendError: ONNX Runtime is not installed, does not give the device, cannot load the graph, or would run a
            part of it elsewhere.
    """
    if device not in PROVIDERS:
        raise BackendError(f"device is {device!r}, expected one of {', '.join(PROVIDERS)} for ONNX Runtime")
    onnxruntime = _import_onnxruntime(device)
    provider = PROVIDERS[device][0]
    if provider not in onnxruntime.get_available_providers():
        raise BackendError(
            f"device {device}: this ONNX Runtime {onnxruntime.__version__} has no {provider}; "
            f"{wheels_conflict() or INSTALL_GPU}"
        )
    session = _open_session(onnxruntime, model, device, threads)
    nodes = assigned_nodes(session)
    if nodes is not None:
        check_placement(nodes, provider)
    return session


def to_device(array: NDArray[Any], device: str) -> Any:
    """An OrtValue of an array in the memory of a device, in one piece; on the CPU it may be the array itself.

    Args:
        array: not to be changed as long as the value is used.
        device: `cuda` (the first one), or `cpu`.

    Raises:
        BackendError: the device has no room for it.
    """
    from onnxruntime import OrtValue

    try:
        return OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), device, 0)
    except Exception as error:  # ONNX Runtime raises its own classes, which share no base but Exception
        raise BackendError(
            f"device {device}: no room for {array.nbytes / 1e6:,.0f} MB: {_first_line(error)}"
        ) from error


def run_on_device(session: Any, inputs: Mapping[str, Any], device: str) -> list[NDArray[Any]]:
    """One run on inputs that lie in a device's memory already; the outputs are copied back, in the graph's order.

    Args:
        session: an InferenceSession.
        inputs: an OrtValue for each input of the graph.
        device: that computes: `cuda` (the first one), or `cpu`.

    Raises:
        BackendError: ONNX Runtime failed.
    """
    binding = session.io_binding()
    for name, value in inputs.items():
        binding.bind_ortvalue_input(name, value)
    for output in session.get_outputs():
        binding.bind_output(output.name, device, 0)
    try:
        session.run_with_iobinding(binding)
        outputs: list[NDArray[Any]] = binding.copy_outputs_to_cpu()
    except Exception as error:
        raise BackendError(f"ONNX Runtime on {device} failed: {_first_line(error)}") from error
    return outputs


def run_bound(session: Any, source: str, target: str, batch: NDArray[Any], device: str) -> NDArray[Any]:
    """One run with input and output in the memory of a device: one copy there, one copy back.

    Args:
        session: an InferenceSession.
        source: name of the graph's input.
        target: name of its output.
        batch: for the input.
        device: `cuda` (the first one), or `cpu`.
    """
    from onnxruntime import OrtValue

    # has a name so that it outlives the run: on the CPU it is the array's own memory, and the binding does not hold it
    on_device = OrtValue.ortvalue_from_numpy(np.ascontiguousarray(batch), device, 0)
    binding = session.io_binding()
    binding.bind_ortvalue_input(source, on_device)
    binding.bind_output(target, device, 0)
    session.run_with_iobinding(binding)
    output: NDArray[Any] = binding.copy_outputs_to_cpu()[0]
    return output


def assigned_nodes(session: Any) -> list[AssignedNode] | None:
    """What runs each node of a session's graph; None where this version of ONNX Runtime cannot tell."""
    if not _tells_placement(session):
        return None
    return [
        AssignedNode(node.op_type, node.name, part.ep_name)
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]


def check_placement(nodes: Sequence[AssignedNode], provider: str) -> None:
    """Refuse a graph of which anything but shape arithmetic runs elsewhere than on `provider`.

    Raises:
        BackendError: names nodes that do, or says that nothing runs there at all.
    """
    strays = [
        node
        for node in nodes
        if node.provider != provider and not (node.provider == CPU and node.operation in SHAPE_ARITHMETIC)
    ]
    if strays:
        named = ", ".join(f"{node.operation} {node.name} on {node.provider}" for node in strays[:3])
        raise BackendError(
            f"asked ONNX Runtime for {provider}, and it would run {len(strays)} of {len(nodes)} nodes elsewhere: "
            f"{named}{', ...' if len(strays) > 3 else ''}; use --device cpu, or export for that device"
        )
    if all(node.provider != provider for node in nodes):
        raise BackendError(f"asked ONNX Runtime for {provider}, and it runs no node of the graph there")


def _import_onnxruntime(device: str) -> Any:
    """The module; late, because it takes long to load and some installations have none."""
    install = f'pip install "sal-person-search[{EXTRAS[device]}]"'
    remedy = wheels_conflict() or f"pip uninstall onnxruntime onnxruntime-gpu && {install}"
    try:
        import onnxruntime
    except Exception as error:  # half of an installation fails in many ways
        if isinstance(error, ModuleNotFoundError) and error.name == "onnxruntime":
            raise BackendError(f"ONNX Runtime is not installed; {install}") from error
        raise BackendError(f"ONNX Runtime cannot be imported ({_first_line(error)}); {remedy}") from error
    if not hasattr(onnxruntime, "InferenceSession"):
        raise BackendError(f"ONNX Runtime is damaged: its module is there, but empty; {remedy}")
    return onnxruntime


def _open_session(onnxruntime: Any, model: bytes, device: str, threads: int | None) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = LOG_ERRORS_ONLY
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if threads is not None:
        options.intra_op_num_threads = threads
    if _tells_placement(onnxruntime.InferenceSession):
        # not disable_cpu_ep_fallback as well: it would refuse shape arithmetic, which is kept off the GPU on purpose
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    elif device != "cpu":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if device == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it does not find
            onnxruntime.preload_dlls()
    provider = PROVIDERS[device]
    try:
        with _quiet(onnxruntime, device):
            # enable_fallback=0: the default retries on the CPU after printing a line
            session = onnxruntime.InferenceSession(model, options, providers=[provider], enable_fallback=0)
    except Exception as error:  # ONNX Runtime raises its own classes, which share no base but Exception
        reason = _cuda_problem(onnxruntime, device) or f"cannot load the graph: {_first_line(error)}"
        raise BackendError(f"device {device}: ONNX Runtime {onnxruntime.__version__} {reason}") from error
    if session.get_providers()[0] != provider[0]:
        reason = _cuda_problem(onnxruntime, device) or f"took {session.get_providers()[0]} in place of {provider[0]}"
        raise BackendError(f"device {device}: ONNX Runtime {onnxruntime.__version__} {reason}")
    return session


def _tells_placement(session: Any) -> bool:
    return hasattr(session, "get_provider_graph_assignment_info")


@contextlib.contextmanager
def _quiet(onnxruntime: Any, device: str) -> Iterator[None]:
    """Keep ONNX Runtime from printing lines about a GPU that it cannot use; the error says it."""
    if device == "cpu":
        yield
        return
    onnxruntime.set_default_logger_severity(LOG_NOTHING)
    try:
        yield
    finally:
        onnxruntime.set_default_logger_severity(LOG_WARNINGS)  # its default; it cannot be asked what it was


def _cuda_problem(onnxruntime: Any, device: str) -> str:
    """Why the CUDA provider cannot be loaded, and what to do; empty if it can.

    Only after ONNX Runtime has tried: its library must not be loaded before it is ready for it.
    """
    if device != "cuda":
        return ""
    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        for name in ("shared", "cuda"):
            ctypes.CDLL(str(folder / f"libonnxruntime_providers_{name}.so"), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        missing = _first_line(error)
        remedy = (
            "there is no NVIDIA driver here; install it, or start the container with its GPUs"
            if "libcuda.so" in missing
            else wheels_conflict() or 'pip install "onnxruntime-gpu[cuda,cudnn]"'
        )
        return f"cannot start CUDA ({missing}); {remedy}"
    return ""


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
