"""Fit the training statistics of the attributes (sal_runtime/query/statistics.py): the tree of largest information."""

from __future__ import annotations

import numpy as np

from sal_runtime.arrays import Float64Array, UInt8Array
from sal_runtime.query.schema import AttributeSchema
from sal_runtime.query.statistics import AttributeStatistics, normalised

SMOOTHING = 1.0
"""Pseudo-observations spread evenly over each table, so that nothing has probability zero."""


def fit_statistics(schema: AttributeSchema, vectors: UInt8Array) -> AttributeStatistics:
    """Fit to training vectors uint8 `[N, A]`.

    If the bits of a group fit none of its states (two colours at once, no gender), the row counts in equal parts for
    the states whose bits are set, or for all states if no bit is set.

    Raises:
        SchemaError: the vectors are not `[N, A]` of 0 and 1.
    """
    vectors = schema.check_vectors(vectors)
    beliefs = [_beliefs(schema, group, vectors) for group in range(len(schema.groups))]
    return _fit_tree(schema, beliefs, len(vectors))


def _beliefs(schema: AttributeSchema, group_number: int, vectors: UInt8Array) -> Float64Array:
    """Belief in each state of a group, `[N, S]`: rows sum to 1 and are one-hot where the bits fit a state."""
    group = schema.groups[group_number]
    compatible = np.zeros((len(vectors), len(group.states)))
    set_bits = vectors[:, list(group.bits)].sum(axis=1)
    for number, state in enumerate(group.states):
        compatible[:, number] = set_bits == 0 if state.bit is None else vectors[:, state.bit]
    compatible[compatible.sum(axis=1) == 0] = 1.0
    return normalised(compatible)


def _fit_tree(schema: AttributeSchema, beliefs: list[Float64Array], count: int) -> AttributeStatistics:
    """Prim's algorithm on mutual information, from group 0."""
    num_groups = len(schema.groups)
    parents = [-1] * num_groups
    tables: list[Float64Array] = [np.empty(0)] * num_groups
    tables[0] = normalised(beliefs[0].sum(axis=0) + SMOOTHING / beliefs[0].shape[1])
    best = {group: (_mutual_information(_joint(beliefs[0], beliefs[group])), 0) for group in range(1, num_groups)}
    while best:
        group = max(best, key=lambda candidate: (best[candidate][0], -candidate))
        _, parents[group] = best.pop(group)
        tables[group] = normalised(_joint(beliefs[parents[group]], beliefs[group]))
        for other in best:
            information = _mutual_information(_joint(beliefs[group], beliefs[other]))
            if information > best[other][0]:
                best[other] = (information, group)
    return AttributeStatistics(schema, tuple(parents), tuple(tables), count)


def _joint(first: Float64Array, second: Float64Array) -> Float64Array:
    """Smoothed counts `[S_first, S_second]`."""
    counts = first.T @ second
    return np.asarray(counts + SMOOTHING / counts.size)


def _mutual_information(counts: Float64Array) -> float:
    joint = counts / counts.sum()
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    return float((joint * np.log(joint / independent)).sum())
