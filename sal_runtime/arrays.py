"""Types that all rooms share: arrays, precisions, progress; and cutting work into batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Literal, TypeVar

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
"""Precision of an image encoder."""
Progress = Callable[[int, int], None]
"""Called with the amount done and the total amount, such as numbers of images."""

Value = TypeVar("Value")


def batched(values: Iterable[Value], size: int) -> Iterator[list[Value]]:
    """Lists of `size` values, the last one shorter (itertools.batched needs Python 3.12)."""
    iterator = iter(values)
    while batch := list(islice(iterator, size)):
        yield batch
