"""Checks that an encoder computes the golden embeddings of its bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from sal_runtime.arrays import AnyArray, Precision
from sal_runtime.bundle.bundle import IMAGE_ROLE, Bundle
from sal_runtime.errors import ParityError

MAX_ABS = 1e-4
"""Largest difference of a coordinate in fp32."""
MIN_COSINE: Mapping[Precision, float] = {"fp16": 0.999, "int8": 0.95}
"""Smallest cosine in the other precisions. Golden crops are drawn, unlike the photographs int8 is calibrated on."""


@dataclass(frozen=True)
class GoldenDifference:
    """Difference between the embeddings of an encoder and the golden ones.

    Attributes:
        max_abs: largest difference of a coordinate.
        min_cosine: smallest cosine between an embedding and the golden one.
    """

    max_abs: float
    min_cosine: float

    def worse(self, other: GoldenDifference) -> GoldenDifference:
        """The larger difference and the smaller cosine of the two."""
        return GoldenDifference(max(self.max_abs, other.max_abs), min(self.min_cosine, other.min_cosine))


def check_golden(
    bundle: Bundle, role: str, precision: Precision, run: Callable[[AnyArray], AnyArray], name: str
) -> GoldenDifference:
    """Run the golden inputs through an encoder and compare its embeddings with the golden ones.

    Args:
        bundle: bundle with the golden arrays.
        role: `IMAGE_ROLE` or `ATTRIBUTE_ROLE`.
        precision: precision of the encoder; determines the limit.
        run: the encoder, from a batch to embeddings float32 `[n, d]`.
        name: name of the encoder, for the error.

    Raises:
        ParityError: the embeddings have another shape, or miss the limit `MAX_ABS` (fp32) or `MIN_COSINE`.
    """
    difference = measure_golden(bundle, role, run, name)
    limit = missed_limit(difference, precision)
    if limit:
        raise ParityError(
            f"{name} does not reproduce the golden embeddings: difference {difference.max_abs:.1e}, cosine "
            f"{difference.min_cosine:.5f}, expected {limit} for {precision}; export it again or use another device"
        )
    return difference


def measure_golden(bundle: Bundle, role: str, run: Callable[[AnyArray], AnyArray], name: str) -> GoldenDifference:
    """Run the golden inputs through an encoder and measure the difference. Arguments as for `check_golden`.

    Raises:
        ParityError: the embeddings have another shape than the golden ones.
    """
    if role == IMAGE_ROLE:
        inputs, expected = bundle.golden["images"], bundle.golden["image_embeddings"]
    else:
        inputs, expected = bundle.golden["attributes"].astype(np.float32), bundle.golden["attribute_embeddings"]
    found = run(inputs)
    if found.shape != expected.shape:
        raise ParityError(f"{name} returns {found.shape}, the golden embeddings are {expected.shape}; export it again")
    return _difference(found, expected)


def missed_limit(difference: GoldenDifference, precision: Precision) -> str:
    """The limit for the precision, in words, if the difference misses it; else empty."""
    if precision in MIN_COSINE:
        passed = difference.min_cosine >= MIN_COSINE[precision]
        limit = f"a cosine of at least {MIN_COSINE[precision]}"
    else:
        passed = difference.max_abs <= MAX_ABS  # false for NaN
        limit = f"a difference of at most {MAX_ABS}"
    return "" if passed else limit


def _difference(found: AnyArray, golden: AnyArray) -> GoldenDifference:
    found, golden = found.astype(np.float64), golden.astype(np.float64)
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(golden, axis=1)
    with np.errstate(invalid="ignore"):  # an embedding of length 0 has the cosine NaN, which misses every limit
        cosines = (found * golden).sum(axis=1) / lengths
    return GoldenDifference(float(np.abs(found - golden).max()), float(cosines.min()))
