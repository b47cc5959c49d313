"""The CUDA runtime through NVIDIA's cuda-bindings; the only file that imports it. Every return code is checked."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from sal_runtime.arrays import AnyArray
from sal_runtime.errors import BackendError, install


@dataclass(frozen=True)
class CudaDevice:
    """A GPU as the CUDA runtime sees it.

    Attributes:
        ordinal: number among the devices that CUDA_VISIBLE_DEVICES leaves visible, from 0.
        name: model name.
        compute_capability: for example `8.9`.
    """

    ordinal: int
    name: str
    compute_capability: str


def load_cuda() -> Any:
    """Import the module `cuda.bindings.runtime`.

    Raises:
        BackendError: it is not installed.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        raise BackendError(f"cuda-bindings cannot be imported ({error}); {install('trt')}") from error
    return runtime


def cuda_call(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of `cuda.bindings.runtime`; returns its values without the error code: one value or a tuple.

    Raises:
        BackendError: the error code is not success; names the function and the reason.
    """
    code, *values = function(*arguments)
    if int(code) != 0:
        _, reason = load_cuda().cudaGetErrorString(code)
        raise BackendError(f"CUDA: {function.__name__} failed with error {int(code)}: {reason.decode()}")
    return values[0] if len(values) == 1 else tuple(values)


def current_gpu() -> CudaDevice:
    """The GPU that this thread uses.

    Raises:
        BackendError: no GPU is visible, or its driver is missing.
    """
    cuda = load_cuda()
    code, count = cuda.cudaGetDeviceCount()
    if int(code) != 0 or not count:
        _, reason = cuda.cudaGetErrorString(code)
        raise BackendError(
            f"no CUDA device: {reason.decode() if int(code) else 'none is visible'}; "
            "TensorRT engines run on NVIDIA GPUs only, use device cpu here"
        )
    ordinal = cuda_call(cuda.cudaGetDevice)
    attributes = cuda.cudaDeviceAttr
    major = cuda_call(cuda.cudaDeviceGetAttribute, attributes.cudaDevAttrComputeCapabilityMajor, ordinal)
    minor = cuda_call(cuda.cudaDeviceGetAttribute, attributes.cudaDevAttrComputeCapabilityMinor, ordinal)
    name = cuda_call(cuda.cudaGetDeviceProperties, ordinal).name
    return CudaDevice(int(ordinal), name.split(b"\0")[0].decode(), f"{major}.{minor}")


def pinned_array(address: int, shape: tuple[int, ...], dtype: DTypeLike) -> AnyArray:
    """View page-locked host memory as an array; the memory must outlive it."""
    nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
    view: AnyArray = memory.view(dtype).reshape(shape)
    return view
