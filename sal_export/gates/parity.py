"""The first half of the gate: an exported encoder must give what its source gives, or nothing is published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sal_runtime.arrays import Float32Array
from sal_runtime.errors import ParityError

MAX_BATCH = 64
"""Largest batch that runs at once in the gate; the next larger one is run in two parts."""
BATCHES = (1, 2, 3, 17, MAX_BATCH, MAX_BATCH + 1)
TOP = 10
TIE = 1e-5
"""Cosines closer than this are the same hit to a person."""
UNIT_TOLERANCE = 1e-3
"""How far the length of an embedding may be from 1."""

Encode = Callable[[NDArray[Any]], Float32Array]


@dataclass(frozen=True)
class Limits:
    """What an encoder of a precision may differ from its source.

    Attributes:
        max_abs: largest difference of a coordinate of a unit vector; None where the cosines say enough.
        min_cosine: of the two embeddings of one input, over all inputs.
        p1_cosine: their first percentile.
        mean_cosine: their mean.
        top10_agreement: smallest mean share of the first ten hits that both encoders agree on.
    """

    max_abs: float | None
    min_cosine: float
    p1_cosine: float
    mean_cosine: float
    top10_agreement: float


LIMITS = {
    "fp32": Limits(1e-4, 0.99999, 0.99999, 0.99999, 0.99),
    "fp16": Limits(None, 0.999, 0.9995, 0.9999, 0.95),
    "int8": Limits(None, 0.90, 0.95, 0.98, 0.75),
}
"""Embeddings alone say little about int8: many rows move a little. Whether search still finds what it found is the
second half of the gate (`retrieval_gate`)."""


@dataclass(frozen=True)
class Parity:
    """How an exported encoder compares with its source.

    Attributes:
        batches: sizes that were run.
        max_abs: largest absolute difference of a coordinate, over all batches.
        min_cosine: smallest cosine between the two embeddings of one input, over all batches.
        p1_cosine: first percentile of the cosines over all inputs.
        mean_cosine: mean of the cosines over all inputs.
        top10_agreement: mean share of common hits among the first ten; None where there is no ranking to compare.
        num_inputs: distinct inputs.
        inputs: what they were.
        source: what the encoder was compared with.
    """

    batches: tuple[int, ...]
    max_abs: float
    min_cosine: float
    p1_cosine: float
    mean_cosine: float
    top10_agreement: float | None
    num_inputs: int
    inputs: str
    source: str

    def to_json(self) -> dict[str, Any]:
        """For the manifest."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """What an encoder is compared with, and on what.

    Attributes:
        inputs: crops or attribute vectors, at least `MAX_BATCH + 1` rows.
        reference: embeddings of the inputs as the source gives them, float32 [N, d].
        queries: unit vectors [Q, d] to rank the inputs by, or None.
        described: what the inputs are.
        source: what made the reference.
    """

    inputs: NDArray[Any]
    reference: Float32Array
    queries: Float32Array | None
    described: str
    source: str


def compare_with(
    source: Encode, name: str, inputs: NDArray[Any], queries: Float32Array | None, described: str
) -> Comparison:
    """A comparison with an encoder called `name`, which is run here.

    Raises:
        ParityError: there are too few inputs.
    """
    if len(inputs) < max(BATCHES):
        raise ParityError(f"the gate needs {max(BATCHES)} inputs, got {len(inputs)}")
    return Comparison(inputs, in_chunks(source, inputs), queries, described, name)


def measure_parity(name: str, exported: Encode, comparison: Comparison, precision: str = "fp32") -> Parity:
    """Run an exported encoder in batches of 1, 2, 3, 17, 64 and 65 and compare it with its source.

    Args:
        name: for messages.
        exported: the artefact; must accept every batch size up to `MAX_BATCH`.
        comparison: from `compare_with`.
        precision: whose limits hold.

    Raises:
        ParityError: shapes differ, a value is not finite, or a limit is exceeded.
    """
    inputs, reference = comparison.inputs, comparison.reference
    differences, cosines = [0.0], [1.0]
    for size in BATCHES:
        for start in (0, len(inputs) - size):
            got = in_chunks(exported, inputs[start : start + size])
            wanted = reference[start : start + size]
            _check_output(name, got, wanted)
            differences.append(float(np.abs(got - wanted).max()))
            cosines.append(float(_cosine(got, wanted).min()))
    whole = in_chunks(exported, inputs)
    _check_output(name, whole, reference)
    every = _cosine(whole, reference)
    queries = comparison.queries
    parity = Parity(
        batches=BATCHES,
        max_abs=max(*differences, float(np.abs(whole - reference).max())),
        min_cosine=min(*cosines, float(every.min())),
        p1_cosine=float(np.percentile(every, 1)),
        mean_cosine=float(every.mean()),
        top10_agreement=None if queries is None else top_agreement(queries, reference, whole),
        num_inputs=len(inputs),
        inputs=comparison.described,
        source=comparison.source,
    )
    _check_limits(name, parity, LIMITS[precision])
    return parity


def in_chunks(encode: Encode, inputs: NDArray[Any]) -> Float32Array:
    """Encode any number of inputs, at most `MAX_BATCH` at once."""
    return np.concatenate([encode(inputs[start : start + MAX_BATCH]) for start in range(0, len(inputs), MAX_BATCH)])


def top_agreement(queries: Float32Array, reference: Float32Array, exported: Float32Array) -> float:
    """Mean over queries of the share of the exported encoder's first ten that belong to the source's first ten.

    A hit belongs there if the source scores it within `TIE` of its own tenth: near-duplicates may swap places.
    """
    shares = []
    for query in queries:
        scores = reference @ query
        tenth = np.sort(scores)[-min(TOP, len(scores))]
        found = np.argsort(-(exported @ query), kind="stable")[:TOP]
        shares.append(float((scores[found] >= tenth - TIE).mean()))
    return float(np.mean(shares))


def _cosine(left: Float32Array, right: Float32Array) -> NDArray[np.float64]:
    dot = (left.astype(np.float64) * right).sum(axis=1)
    return np.asarray(dot / (np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)))


def _check_output(name: str, got: Float32Array, wanted: Float32Array) -> None:
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        raise ParityError(f"{name}: gives {got.dtype} {got.shape} where its source gives {wanted.dtype} {wanted.shape}")
    if not np.isfinite(got).all():
        raise ParityError(f"{name}: {int((~np.isfinite(got)).sum())} values are NaN or infinite")
    norms = np.linalg.norm(got, axis=1)
    if np.abs(norms - 1.0).max() > UNIT_TOLERANCE:
        raise ParityError(f"{name}: embeddings have lengths {norms.min():.4f} to {norms.max():.4f}, expected 1")


def _check_limits(name: str, parity: Parity, limits: Limits) -> None:
    passed = [
        limits.max_abs is None or parity.max_abs <= limits.max_abs,
        parity.min_cosine >= limits.min_cosine,
        parity.p1_cosine >= limits.p1_cosine,
        parity.mean_cosine >= limits.mean_cosine,
        parity.top10_agreement is None or parity.top10_agreement >= limits.top10_agreement,
    ]
    if all(passed):
        return
    agreement = "-" if parity.top10_agreement is None else f"{parity.top10_agreement:.3f}"
    raise ParityError(
        f"{name}: max abs {parity.max_abs:.2e}, cosine min {parity.min_cosine:.7f}, 1st percentile "
        f"{parity.p1_cosine:.7f}, mean {parity.mean_cosine:.7f}, top-10 {agreement}; limits {limits.max_abs}, "
        f"{limits.min_cosine}, {limits.p1_cosine}, {limits.mean_cosine}, {limits.top10_agreement}. "
        "Nothing has been published"
    )
