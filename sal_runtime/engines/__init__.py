"""From the bytes of an .onnx file to `run(batch)` on a device, exactly the one that was asked for.

devices.py    the devices, and how an encoder is opened on one
onnx.py       ONNX Runtime on CPU and CUDA
installed.py  installed packages that decide what can run
tensorrt/     TensorRT and TensorRT-RTX
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sal_runtime.lazy import lazy_names

if TYPE_CHECKING:
    from sal_runtime.engines.devices import DeviceChoice as DeviceChoice
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__,
        {
            "devices": ("DeviceChoice",),
        },
    )
