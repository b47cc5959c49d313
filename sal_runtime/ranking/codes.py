"""Codes of 8 bits for unit vectors, each with its scale and with the length of what it leaves out.

A code takes a quarter of the memory of a vector, and bounds any score of it: a vector x is x' + e, where x' is what the
codes stand for, and the length of e is known. A scale for each vector means that none is coded again when others come
or go. The codes of a part of a gallery are turned, one row for each number of a vector: ONNX Runtime then multiplies a
single query almost as fast as memory is read.

The graph in codes.onnx is one MatMulInteger; tests/runtime/ranking/test_codes.py builds it. Queries get seven bits
because a sum of two products of 8-bit codes overflows on processors without VNNI.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sal_runtime.arrays import AnyArray, BoolArray, Float32Array, Float64Array, Int64Array
from sal_runtime.engines.onnx import open_session
from sal_runtime.errors import InputError

GRAPH = "codes.onnx"
VECTOR_CODES, QUERY_CODES = 127, 63
"""Largest code."""
SHIFT = 64
"""Added to codes of queries, which are multiplied as unsigned numbers."""
SMALLEST_SCALE = 6e-8
"""Of a float16 above 0."""
HEADER_BYTES = 4
"""Of a record behind its codes: scale and error as float16."""
LONGEST_VECTOR = 1.02
"""A little longer than a vector that a gallery takes."""
ROUNDING = 1e-7
"""Largest error of a float32 sum for each of its terms, in units of the lengths of query and vector."""

Records = NDArray[np.int8]
"""Codes `[n, d]`, then the bytes of scale and error, float16 each: `[n, d + HEADER_BYTES]`."""


def encode(vectors: Float32Array) -> Records:
    """The records int8 `[n, d + 4]` of unit vectors float32 `[n, d]`."""
    largest = np.abs(vectors).max(axis=1, initial=0.0).astype(np.float64)
    scales = _rounded_up(largest / VECTOR_CODES)
    steps = np.where(scales > 0, scales, 1).astype(np.float32)[:, None]
    codes = np.clip(np.rint(vectors / steps), -VECTOR_CODES, VECTOR_CODES)
    errors = _rounded_up(_lengths_left_out(vectors, codes * steps))
    records = np.empty((len(vectors), vectors.shape[1] + HEADER_BYTES), np.int8)
    records[:, :-HEADER_BYTES] = codes
    records[:, -HEADER_BYTES:] = np.stack([scales, errors], axis=1).view(np.int8)
    return records


def fit(records: Records, vectors: Float32Array) -> BoolArray:
    """Whether each record bounds what it leaves out of its vector: bool `[n]`."""
    coded, errors = decode(records)
    return np.asarray(_lengths_left_out(vectors, coded) <= errors)


def decode(records: Records) -> tuple[Float32Array, Float64Array]:
    """The vectors float32 `[n, d]` that records stand for, and the lengths float64 `[n]` of the most they leave out."""
    scales, errors = _headers(records)
    return records[:, :-HEADER_BYTES] * scales.astype(np.float32)[:, None], errors.astype(np.float64)


def _headers(records: Records) -> AnyArray:
    """Scales and errors of records, float16 `[2, n]`."""
    return np.ascontiguousarray(records[:, -HEADER_BYTES:]).view("<f2").T


def _lengths_left_out(vectors: Float32Array, coded: Float32Array) -> Float64Array:
    left_out = vectors.astype(np.float64) - coded
    return np.asarray(np.sqrt(np.einsum("nd,nd->n", left_out, left_out)))


def _rounded_up(values: Float64Array) -> AnyArray:
    """The next float16 that is not smaller, `[n]`."""
    near = values.astype("<f2")
    return np.where(near < values, np.nextafter(near, np.float16(np.inf)), near).astype("<f2")


@dataclass(frozen=True)
class CodedPart:
    """The codes of a part of a gallery.

    Attributes:
        turned: the records of all slots of the part, int8 `[d + 4, slots]`; those from `size` on mean nothing.
        size: number of vectors.
        scales: smallest and largest scale.
        error: length of the most that a record leaves out.
        sums: of the codes of each slot, int16 or int32 `[slots]`.
    """

    turned: Records
    size: int
    scales: tuple[float, float]
    error: float
    sums: AnyArray

    @staticmethod
    def of(turned: Records, size: int) -> CodedPart:
        """A part from its turned records, C-contiguous.

        Raises:
            InputError: a scale or an error is not finite.
        """
        dim = len(turned) - HEADER_BYTES
        scales, errors = headers = _headers(turned[:, :size].T).astype(np.float64)
        if not np.isfinite(headers).all():
            raise InputError("the gallery holds codes that are damaged")
        every = np.ones((1, dim), np.uint8)
        sums = _run(every, 0, turned, np.empty(0, np.int32))[0].astype(
            np.int16 if dim * VECTOR_CODES < 2**15 else np.int32
        )
        ends = float(scales.min(initial=np.inf)), float(scales.max(initial=0.0))
        return CodedPart(turned, size, ends, float(errors.max(initial=0.0)), sums)

    def row_scales(self) -> Float32Array:
        """The scale of each row, float32 `[size]`."""
        return np.asarray(_headers(self.turned[:, : self.size].T)[0].astype(np.float32))

    def headers(self, rows: Int64Array) -> AnyArray:
        """Scales and errors of rows of the part, float64 `[2, n]`."""
        return _headers(self.turned[-HEADER_BYTES:].take(rows, axis=1).T).astype(np.float64)

    def records(self, rows: Int64Array) -> Records:
        """The records of rows of the part."""
        return np.asarray(self.turned.take(rows, axis=1).T)


@dataclass(frozen=True)
class CodedForms:
    """Linear forms float32 `[M, d]` as codes uint8 `[M, d]`, `SHIFT` added.

    Attributes:
        codes: uint8 `[M, d]`.
        steps: what a code of 1 stands for, `[M]`.
        lengths: of the forms, `[M]`.
        errors: lengths of what the codes leave out, `[M]`.
    """

    codes: NDArray[np.uint8]
    steps: Float64Array
    lengths: Float64Array
    errors: Float64Array

    @staticmethod
    def of(forms: Float32Array) -> CodedForms:
        """Code finite forms."""
        exact = forms.astype(np.float64)
        largest = np.abs(exact).max(axis=1, initial=0.0)
        steps = np.where(largest > 0, largest, 1.0) / QUERY_CODES
        codes = np.rint(exact / steps[:, None])
        errors = np.linalg.norm(exact - steps[:, None] * codes, axis=1)
        return CodedForms((codes + SHIFT).astype(np.uint8), steps, np.linalg.norm(exact, axis=1), errors)

    def room(self, parts: Sequence[CodedPart]) -> NDArray[np.int32]:
        """Memory for the products with any of the parts, to be used again."""
        return np.empty(len(self.codes) * max((part.turned.shape[1] for part in parts), default=0), np.int32)

    def multiply(self, part: CodedPart, room: NDArray[np.int32]) -> NDArray[np.int32]:
        """Products of codes int32 `[M, slots]`, without the shift; they may lie in `room`."""
        if len(self.codes) > 1:
            return _run(self.codes, SHIFT, part.turned, room)
        # only without a zero point is one row multiplied as fast as memory is read
        products = _run(self.codes, 0, part.turned, room)
        shifted = part.sums.astype(np.int32)
        shifted *= SHIFT
        return np.subtract(products, shifted, out=products, dtype=np.int32)

    def limits(self, part: CodedPart, values: Float64Array) -> NDArray[np.int32]:
        """The product of codes `[M]` that is exceeded by every vector whose product is at least a value, `[M]`.

        Where codes stand for x' and q', x = x' + e, and q = q' + f: qx = q'x' + fx' + qe <= q'x' + |f||x'| + |q||e|.
        """
        slack = self.errors * (LONGEST_VECTOR + part.error) + self.lengths * part.error
        least = values - slack
        scales = np.where(least > 0, part.scales[1], part.scales[0])  # of the vector that needs the smallest product
        limits = np.floor(least / (self.steps * np.maximum(scales, SMALLEST_SCALE))) - 1
        return np.asarray(np.clip(limits, -(2.0**31), 2.0**31 - 1).astype(np.int32))

    def can_reach(
        self, part: CodedPart, values: Float64Array, numbers: Int64Array, rows: Int64Array, products: NDArray[np.int32]
    ) -> BoolArray:
        """As `limits`, more closely: whether the product of a form and a row of a part may be at least a value.

        Args:
            part: of the rows.
            values: `[M]`.
            numbers: of the forms, int64 `[n]`.
            rows: of the part, int64 `[n]`.
            products: of the codes of these forms and rows, int32 `[n]`.
        """
        scales, errors = part.headers(rows)
        upper = products * (self.steps[numbers] * scales)
        upper += self.errors[numbers] * (LONGEST_VECTOR + errors) + self.lengths[numbers] * (errors + ROUNDING)
        return np.asarray(upper >= values[numbers])


def _run(forms: NDArray[np.uint8], zero_point: int, turned: Records, room: NDArray[np.int32]) -> NDArray[np.int32]:
    """Products of codes int32 `[M, slots]`; those of many forms lie in `room`: ONNX Runtime would hold them twice."""
    inputs = {"forms": forms, "zero_point": np.array(zero_point, np.uint8), "codes": turned[:-HEADER_BYTES]}
    if len(forms) == 1:
        return np.asarray(_session().run(None, inputs)[0])
    shape = (len(forms), turned.shape[1])
    products = room[: shape[0] * shape[1]].reshape(shape)
    binding = _session().io_binding()
    for name, array in inputs.items():
        binding.bind_cpu_input(name, array)
    binding.bind_output("products", "cpu", 0, np.int32, shape, products.ctypes.data)
    _session().run_with_iobinding(binding)
    return products


@cache
def _session() -> Any:
    return open_session((files("sal_runtime.ranking") / GRAPH).read_bytes(), device="cpu", threads=1)
