"""The first gate: an exported encoder must give the embeddings of its source, or nothing is published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sal_runtime.arrays import AnyArray, Float32Array, Float64Array, Precision
from sal_runtime.errors import ParityError

MAX_BATCH = 64
"""Largest batch of one run; larger ones are split."""
BATCHES = (1, 2, 3, 17, MAX_BATCH, MAX_BATCH + 1)
"""Numbers of inputs to compare; the last one needs two runs."""
TOP = 10
TIE = 1e-5
"""Hits whose cosines differ by less than this may swap places."""
UNIT_TOLERANCE = 1e-3
"""Largest difference of the length of an embedding from 1."""

EncodeBatch = Callable[[AnyArray], Float32Array]
"""Crops or attribute vectors `[n, ...]` to unit vectors float32 `[n, d]`."""


@dataclass(frozen=True)
class Limits:
    """Largest differences of an encoder from its source.

    Attributes:
        max_abs: largest difference of a coordinate of a unit vector; None: the cosines decide.
        min_cosine: of the two embeddings of one input, over all inputs; None: the others decide.
        p1_cosine: their first percentile.
        mean_cosine: their mean.
        top10_agreement: smallest mean share of the first ten hits that both encoders agree on.
    """

    max_abs: float | None
    min_cosine: float | None
    p1_cosine: float
    mean_cosine: float
    top10_agreement: float


LIMITS: dict[Precision, Limits] = {
    "fp32": Limits(1e-4, 0.99999, 0.99999, 0.99999, 0.99),
    "fp16": Limits(None, 0.99, 0.999, 0.9999, 0.95),
    "int8": Limits(None, None, 0.80, 0.98, 0.75),
}
"""Limits by precision. In fp16 and int8 the mean decides whether the arithmetic is right: a fault moves every crop. The
worst crops are those whose embedding is short before it is scaled to length 1, so that the same rounding turns it
further; that they can be found is measured by the second gate (`sal_export.gates.retrieval`)."""


@dataclass(frozen=True)
class Parity:
    """Comparison of an exported encoder with its source.

    Attributes:
        batches: numbers of inputs that were encoded together.
        max_abs: largest absolute difference of a coordinate, over all batches.
        min_cosine: smallest cosine between the two embeddings of one input, over all batches.
        p1_cosine: first percentile of the cosines over all inputs.
        mean_cosine: mean of the cosines over all inputs.
        top10_agreement: mean share of common hits among the first ten; None if no ranking was compared.
        num_inputs: number of inputs.
        inputs: description of the inputs.
        source: name of the source.
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
        """The comparison as the manifest holds it."""
        return asdict(self)


@dataclass(frozen=True)
class Comparison:
    """The source of an encoder, run on some inputs.

    Attributes:
        inputs: crops or attribute vectors, at least `MAX_BATCH + 1` rows.
        reference: the source's embeddings of the inputs, float32 [N, d].
        queries: unit vectors float32 [Q, d] to rank the inputs by, or None.
        described: description of the inputs.
        source: name of the source.
    """

    inputs: AnyArray
    reference: Float32Array
    queries: Float32Array | None
    described: str
    source: str


def compare_with(
    source: EncodeBatch, name: str, inputs: AnyArray, queries: Float32Array | None, described: str
) -> Comparison:
    """Run the source of an encoder for a comparison.

    Args:
        source: encodes up to `MAX_BATCH` inputs at once.
        name: of the source.
        inputs: crops or attribute vectors, `[N, ...]`.
        queries: unit vectors float32 [Q, d] to rank the inputs by, or None.
        described: description of the inputs.

    Raises:
        ParityError: there are too few inputs.
    """
    if len(inputs) < max(BATCHES):
        raise ParityError(f"the gate needs {max(BATCHES)} inputs, got {len(inputs)}")
    return Comparison(inputs, in_chunks(source, inputs), queries, described, name)


def measure_parity(name: str, exported: EncodeBatch, comparison: Comparison) -> Parity:
    """Run an exported encoder in batches of 1, 2, 3, 17, 64 and 65 and compare it with its source.

    Args:
        name: for messages.
        exported: the artefact; it must accept every batch size up to `MAX_BATCH`.
        comparison: from `compare_with`.

    Raises:
        ParityError: shapes differ, a value is not finite, or an embedding is not a unit vector.
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
    all_cosines = _cosine(whole, reference)
    queries = comparison.queries
    return Parity(
        batches=BATCHES,
        max_abs=max(*differences, float(np.abs(whole - reference).max())),
        min_cosine=min(*cosines, float(all_cosines.min())),
        p1_cosine=float(np.percentile(all_cosines, 1)),
        mean_cosine=float(all_cosines.mean()),
        top10_agreement=None if queries is None else top_agreement(queries, reference, whole),
        num_inputs=len(inputs),
        inputs=comparison.described,
        source=comparison.source,
    )


def missed_limits(parity: Parity, precision: Precision) -> tuple[str, ...]:
    """Why an encoder is too far from its source: a sentence for each limit of its precision that it misses."""
    limits = LIMITS[precision]
    missed = []
    if limits.max_abs is not None and parity.max_abs > limits.max_abs:
        missed.append(f"the largest difference is {parity.max_abs:.1e}, at most {limits.max_abs:g} is allowed")
    least = (
        ("the smallest cosine", parity.min_cosine, limits.min_cosine),
        ("the first percentile of the cosines", parity.p1_cosine, limits.p1_cosine),
        ("the mean cosine", parity.mean_cosine, limits.mean_cosine),
        ("the share of common hits among the first ten", parity.top10_agreement, limits.top10_agreement),
    )
    missed += [
        f"{name} is {value:.7f}, at least {limit:g} is required"
        for name, value, limit in least
        if value is not None and limit is not None and value < limit
    ]
    return tuple(missed)


def share_of_limits(parity: Parity, precision: Precision) -> float:
    """Largest share of a limit of its precision that an encoder uses up: 0 for the source itself, above 1 is a miss."""
    limits = LIMITS[precision]
    shares = [0.0 if limits.max_abs is None else parity.max_abs / limits.max_abs]
    shares += [
        (1.0 - value) / (1.0 - limit)
        for value, limit in (
            (parity.min_cosine, limits.min_cosine),
            (parity.p1_cosine, limits.p1_cosine),
            (parity.mean_cosine, limits.mean_cosine),
            (parity.top10_agreement, limits.top10_agreement),
        )
        if value is not None and limit is not None
    ]
    return max(shares)


def in_chunks(encode: EncodeBatch, inputs: AnyArray) -> Float32Array:
    """Encode any number of inputs, at most `MAX_BATCH` at a time."""
    return np.concatenate([encode(inputs[start : start + MAX_BATCH]) for start in range(0, len(inputs), MAX_BATCH)])


def top_agreement(queries: Float32Array, reference: Float32Array, exported: Float32Array) -> float:
    """Mean over queries of the share of the exported encoder's first ten hits that are also the source's.

    A hit counts if the source scores it within `TIE` of its own tenth hit, so near-duplicates may swap places.

    Args:
        queries: unit vectors float32 [Q, d].
        reference: the source's embeddings of the gallery, float32 [N, d].
        exported: the exported encoder's embeddings of the gallery, float32 [N, d].
    """
    shares = []
    for query in queries:
        scores = reference @ query
        tenth = np.sort(scores)[-min(TOP, len(scores))]
        hits = np.argsort(-(exported @ query), kind="stable")[:TOP]
        shares.append(float((scores[hits] >= tenth - TIE).mean()))
    return float(np.mean(shares))


def _cosine(left: Float32Array, right: Float32Array) -> Float64Array:
    dot = (left.astype(np.float64) * right).sum(axis=1)
    return np.asarray(dot / (np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)))


def _check_output(name: str, got: Float32Array, wanted: Float32Array) -> None:
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        raise ParityError(f"{name}: gives {got.dtype} {got.shape}, its source gives {wanted.dtype} {wanted.shape}")
    if not np.isfinite(got).all():
        raise ParityError(f"{name}: {int((~np.isfinite(got)).sum())} values are NaN or infinite")
    norms = np.linalg.norm(got, axis=1)
    if np.abs(norms - 1.0).max() > UNIT_TOLERANCE:
        raise ParityError(f"{name}: embeddings have lengths {norms.min():.4f} to {norms.max():.4f}, expected 1")
