"""A run's image encoder in PyTorch: fp32, fp16, and fp16 as CUDA graphs."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sal_export.encoders import DeployedImageEncoder
from sal_runtime.errors import BackendError
from sal_train.checkpoint import load_run
from scripts.gpu_checks.half_network import half_image_encoder
from scripts.gpu_checks.measures import CheckedEncoder

WARM_UP = 3
"""Runs before a graph is captured, in which libraries choose kernels and allocate workspace."""


def load_modules(run: Path) -> dict[str, nn.Module]:
    """The image encoder of a run by precision, on the CPU; both return float32.

    Raises:
        InputError: the folder is not a finished run.
    """
    networks = load_run(run).networks
    return {"fp32": DeployedImageEncoder(networks).eval(), "fp16": half_image_encoder(networks)}


def check_device(device: str) -> None:
    """Switch TF32 off: fp32 means fp32.

    Raises:
        BackendError: PyTorch has no such device.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendError(f"PyTorch {torch.__version__} finds no CUDA device")
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def describe(device: str) -> dict[str, Any]:
    """Versions of PyTorch, CUDA and cuDNN, and the GPU."""
    found: dict[str, Any] = {"version": torch.__version__, "device": device}
    if device == "cuda":
        capability = ".".join(str(number) for number in torch.cuda.get_device_capability())
        found |= {"gpu": torch.cuda.get_device_name(), "compute_capability": capability}
        found |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}  # type: ignore[no-untyped-call]
    return found


def synchronise(device: str) -> None:
    """Wait until the device has finished all work."""
    if device == "cuda":
        torch.cuda.synchronize()


def as_tensor(batch: NDArray[np.uint8]) -> Tensor:
    """The batch in host memory; copied only if it is read-only, as images mapped from a file are."""
    return torch.from_numpy(np.require(batch, requirements="W"))


class EagerEncoder:
    """An image encoder in eager mode, channels-last.

    Args:
        module: the encoder on the CPU; it is copied.
        device: `cuda` or `cpu`.
    """

    def __init__(self, module: nn.Module, device: str) -> None:
        self._device = device
        self._module = copy.deepcopy(module).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def encode(self, batch: NDArray[np.uint8]) -> NDArray[Any]:
        """Embeddings [N, d] of uint8 [N, H, W, 3], both in host memory."""
        embeddings: NDArray[Any] = self._module(as_tensor(batch).to(self._device)).cpu().numpy()
        return embeddings

    def resident(self, batch: NDArray[np.uint8]) -> Callable[[], None]:
        """A function that encodes the batch, already copied to the device, and waits."""
        images = as_tensor(batch).to(self._device)

        @torch.inference_mode()
        def run() -> None:
            self._module(images)
            synchronise(self._device)

        return run


class GraphEncoder:
    """An image encoder on CUDA that captures a graph for each batch size and replays it. Threads take turns.

    Args:
        module: the encoder on the CPU; it is copied.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = copy.deepcopy(module).cuda().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}
        self._lock = threading.Lock()

    def encode(self, batch: NDArray[np.uint8]) -> NDArray[Any]:
        """Embeddings [N, d] of uint8 [N, H, W, 3], both in host memory."""
        with self._lock:
            graph, images, output = self._graph(batch)
            images.copy_(as_tensor(batch))
            graph.replay()
            embeddings: NDArray[Any] = output.cpu().numpy()
        return embeddings

    def resident(self, batch: NDArray[np.uint8]) -> Callable[[], None]:
        """A function that replays the graph of the batch, already copied to the device, and waits."""
        with self._lock:
            graph, images, _ = self._graph(batch)
            images.copy_(as_tensor(batch))

        def run() -> None:
            graph.replay()
            torch.cuda.synchronize()

        return run

    @torch.no_grad()
    def _graph(self, batch: NDArray[np.uint8]) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor]:
        """The graph for this batch size, its input and its output."""
        if len(batch) not in self._graphs:
            images = as_tensor(batch).cuda()
            side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    self._module(images)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                output = self._module(images)
            self._graphs[len(batch)] = (graph, images, output)
        return self._graphs[len(batch)]


def eager_encoder(name: str, precision: str, module: nn.Module, device: str) -> CheckedEncoder:
    """An `EagerEncoder` to check."""
    encoder = EagerEncoder(module, device)
    return CheckedEncoder(name, precision, encoder.encode, encoder.resident)


def graph_encoder(name: str, precision: str, module: nn.Module) -> CheckedEncoder:
    """A `GraphEncoder` to check."""
    encoder = GraphEncoder(module)
    return CheckedEncoder(name, precision, encoder.encode, encoder.resident)
