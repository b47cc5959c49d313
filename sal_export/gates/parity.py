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


LIMITS: dict[Precision, Limits] = {
    "fp32": Limits(1e-4, 0.99999, 0.99999, 0.99999, 0.99),
    "fp16": Limits(None, 0.999, 0.9995, 0.9999, 0.95),
    "int8": Limits(None, 0.90, 0.95, 0.98, 0.75),
}
"""Limits by precision. For int8 they are wide, because many embeddings move a little; the second gate
(`sal_export.gates.retrieval`) measures whether search still finds the same."""


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


def measure_parity(name: str, exported: EncodeBatch, comparison: Comparison, precision: Precision = "fp32") -> Parity:
    """Run an exported encoder in batches of 1, 2, 3, 17, 64 and 65 and compare it with its source.

    Args:
        name: for messages.
        exported: the artefact; it must accept every batch size up to `MAX_BATCH`.
        comparison: from `compare_with`.
        precision: of the artefact; its limits apply.

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
    all_cosines = _cosine(whole, reference)
    queries = comparison.queries
    parity = Parity(
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
    _check_limits(name, parity, LIMITS[precision])
    return parity


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
