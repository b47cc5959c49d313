"""Whether an engine gives the embeddings that a bundle's golden vectors must have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sal_runtime.bundle.bundle import Bundle
from sal_runtime.errors import ParityError

MAX_ABS = 1e-4
"""Of fp32."""
MIN_COSINE = {"fp16": 0.999, "int8": 0.95}
"""Golden crops are drawn, far from the photographs that int8 is calibrated on."""


@dataclass(frozen=True)
class GoldenDifference:
    """How far an encoder is from the golden embeddings.

    Attributes:
        max_abs: largest difference of a coordinate.
        min_cosine: smallest cosine of an embedding to the golden one.
    """

    max_abs: float
    min_cosine: float

    def worse(self, other: GoldenDifference) -> GoldenDifference:
        """The worse of each of two."""
        return GoldenDifference(max(self.max_abs, other.max_abs), min(self.min_cosine, other.min_cosine))


def check_golden(
    bundle: Bundle, role: str, precision: str, run: Callable[[NDArray[Any]], NDArray[Any]], name: str
) -> GoldenDifference:
    """Run the golden inputs through an encoder, and refuse it if it does not give the golden embeddings.

    Args:
        bundle: opened.
        role: `image_encoder` or `attribute_encoder`.
        precision: of the encoder's arithmetic; decides the limits.
        run: the encoder, a batch to embeddings float32 `[n, d]`.
        name: of the encoder, for the error.

    Raises:
        ParityError: another shape, or outside the limits: 1e-4 for fp32, cosine 0.999 for fp16 and 0.95 for int8.
    """
    difference = measure_golden(bundle, role, run, name)
    limit = missed_limit(difference, precision)
    if limit:
        raise ParityError(
            f"{name} does not give the golden embeddings of the bundle: difference {difference.max_abs:.1e}, cosine "
            f"{difference.min_cosine:.5f}, expected {limit} for {precision}; export it again or use another device"
        )
    return difference


def measure_golden(
    bundle: Bundle, role: str, run: Callable[[NDArray[Any]], NDArray[Any]], name: str
) -> GoldenDifference:
    """Run the golden inputs through an encoder. Arguments are those of `check_golden`.

    Raises:
        ParityError: another shape than that of the golden embeddings.
    """
    if role == "image_encoder":
        inputs, expected = bundle.golden["images"], bundle.golden["image_embeddings"]
    else:
        inputs, expected = bundle.golden["attributes"].astype(np.float32), bundle.golden["attribute_embeddings"]
    found = run(inputs)
    if found.shape != expected.shape:
        raise ParityError(f"{name} gives {found.shape}, the golden embeddings are {expected.shape}; export it again")
    return _difference(found, expected)


def missed_limit(difference: GoldenDifference, precision: str) -> str:
    """The limit of the precision if the difference is outside it, else nothing."""
    if precision in MIN_COSINE:
        passed = difference.min_cosine >= MIN_COSINE[precision]
        limit = f"a cosine of at least {MIN_COSINE[precision]}"
    else:
        passed = difference.max_abs <= MAX_ABS  # false for NaN, as it must be
        limit = f"a difference of at most {MAX_ABS}"
    return "" if passed else limit


def _difference(found: NDArray[Any], expected: NDArray[Any]) -> GoldenDifference:
    one, other = found.astype(np.float64), expected.astype(np.float64)
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    with np.errstate(invalid="ignore"):  # an embedding of length 0 has no cosine: NaN, which no limit lets pass
        cosines = (one * other).sum(axis=1) / lengths
    return GoldenDifference(float(np.abs(one - other).max()), float(cosines.min()))
