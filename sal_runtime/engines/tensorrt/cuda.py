"""The CUDA runtime through NVIDIA's cuda-bindings: the only file that imports it. Every return code is looked at."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from sal_runtime.errors import BackendError


@dataclass(frozen=True)
class Gpu:
    """A CUDA device.

    Attributes:
        ordinal: among those CUDA_VISIBLE_DEVICES leaves.
        name: the model.
        compute_capability: such as 8.9.
    """

    ordinal: int
    name: str
    compute_capability: str


def load_cuda() -> Any:
    """The module `cuda.bindings.runtime`.

    Raises:
        BackendError: it is not installed.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise BackendError(
            f'cuda-bindings cannot be imported ({error}); pip install "sal-person-search[trt]" brings it'
        ) from error
    return runtime


def cuda_call(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of `cuda.bindings.runtime` returns behind its error code: nothing, one value or a tuple.

    Raises:
        BackendError: the code is not success; says which function and why.
    """
    code, *values = function(*arguments)
    if int(code) != 0:
        _, reason = load_cuda().cudaGetErrorString(code)
        raise BackendError(f"CUDA: {function.__name__} failed with error {int(code)}: {reason.decode()}")
    return values[0] if len(values) == 1 else tuple(values)


def current_gpu() -> Gpu:
    """The device that this thread uses.

    Raises:
        BackendError: there is none, or no driver for it.
    """
    cuda = load_cuda()
    code, count = cuda.cudaGetDeviceCount()
    if int(code) != 0 or not count:
        _, reason = cuda.cudaGetErrorString(code)
        raise BackendError(
            f"no CUDA device: {reason.decode() if int(code) else 'none is visible'}; "
            "TensorRT engines run on an NVIDIA GPU only, use --device cpu here"
        )
    ordinal = cuda_call(cuda.cudaGetDevice)
    attributes = cuda.cudaDeviceAttr
    major = cuda_call(cuda.cudaDeviceGetAttribute, attributes.cudaDevAttrComputeCapabilityMajor, ordinal)
    minor = cuda_call(cuda.cudaDeviceGetAttribute, attributes.cudaDevAttrComputeCapabilityMinor, ordinal)
    name = cuda_call(cuda.cudaGetDeviceProperties, ordinal).name
    return Gpu(int(ordinal), name.split(b"\0")[0].decode(), f"{major}.{minor}")


def pinned_array(address: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """A view of page-locked host memory, which must outlive it."""
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
    view: NDArray[Any] = memory.view(dtype).reshape(shape)
    return view
