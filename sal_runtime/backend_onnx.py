"""ONNX Runtime, on the CPU or on CUDA; the only file that imports it."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from sal_runtime.errors import BackendError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
EXTRAS = {"cpu": "cpu", "cuda": "gpu"}
LOG_ERRORS_ONLY = 3


class OnnxBackend:
    """One graph in one session.

    Raises:
        BackendError: ONNX Runtime is not installed, does not give the device, or cannot load the graph.
    """

    def __init__(self, model: bytes, device: str, threads: int | None) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise BackendError(
                f'ONNX Runtime is not installed; pip install "sal-person-search[{EXTRAS[device]}]"'
            ) from error
        provider = PROVIDERS[device]
        if provider not in onnxruntime.get_available_providers():
            raise BackendError(
                f"device {device}: this ONNX Runtime {onnxruntime.__version__} has no {provider}; "
                'pip uninstall onnxruntime && pip install "sal-person-search[gpu]"'
            )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = LOG_ERRORS_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if threads is not None:
            options.intra_op_num_threads = threads
        if device != "cpu":
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        try:
            # enable_fallback=0: the default retries on the CPU after printing a line
            self._session = onnxruntime.InferenceSession(model, options, providers=[provider], enable_fallback=0)
        except Exception as error:  # ONNX Runtime raises its own classes, which share no base but Exception
            raise BackendError(f"ONNX Runtime on {device} cannot load the graph: {_first_line(error)}") from error
        if self._session.get_providers()[0] != provider:
            raise BackendError(f"asked ONNX Runtime for {provider}, it took {self._session.get_providers()[0]}")
        self.device = device
        self._input = self._session.get_inputs()[0].name

    def run(self, batch: NDArray[Any]) -> NDArray[Any]:
        """The graph's output for a batch; sessions may run from many threads at once."""
        try:
            output: NDArray[Any] = self._session.run(None, {self._input: batch})[0]
        except Exception as error:
            raise BackendError(
                f"ONNX Runtime failed on a batch {batch.dtype} {batch.shape}: {_first_line(error)}"
            ) from error
        return output


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
