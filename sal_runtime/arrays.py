"""Types that all rooms share: arrays, precisions, and how long work says how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

AnyArray = NDArray[Any]
BoolArray = NDArray[np.bool_]
Float32Array = NDArray[np.float32]
Float64Array = NDArray[np.float64]
Int64Array = NDArray[np.int64]
UInt8Array = NDArray[np.uint8]

Encode = Callable[[UInt8Array], Float32Array]
"""Images uint8 `[n, H, W, 3]` to unit vectors float32 `[n, d]`."""
Precision = Literal["fp32", "fp16", "int8"]
"""Of an image encoder's arithmetic."""
Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is to do, such as images."""
