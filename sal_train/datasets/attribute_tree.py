"""Fit the training statistics of the attributes (sal_runtime/query/statistics.py): the tree of largest information.

Labels with gaps are filled in by expectation maximisation (Dempster, Laird and Rubin, 1977): the tree gives the
probability of what is unknown, given what is known of the same person, and these expected counts give the next tree,
its structure included (Friedman, ICML 1997). Both are exact, because messages on a tree are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sal_runtime.arrays import BoolArray, Float32Array, Float64Array, UInt8Array
from sal_runtime.query.schema import AttributeSchema
from sal_runtime.query.statistics import AttributeStatistics, normalised
from sal_train.datasets.splits import possible_states

SMOOTHING = 1.0
"""Pseudo-observations spread evenly over each table, so that nothing has probability zero."""
MAX_ROUNDS = 50
CONVERGED = 1e-3
"""Gain of log-likelihood, in nats per row, below which the fit is finished."""

ByState = Sequence[Float64Array]
"""For each group a number for each of its states, `[N, S]`."""
Joint = Callable[[int, int], Float64Array]
"""(group, other group) -> smoothed counts of their states together, `[S_group, S_other]`."""


def fit_statistics(schema: AttributeSchema, vectors: UInt8Array, known: BoolArray | None = None) -> AttributeStatistics:
    """Fit to training vectors uint8 `[N, A]`, of which `known`, bool `[N, A]`, says what is known; None: all.

    If the bits of a group fit none of its states (two colours at once, no gender), the row counts in equal parts for
    the states whose bits are set, or for all states if no bit is set.

    Raises:
        SchemaError: the vectors are not `[N, A]` of 0 and 1.
    """
    vectors = schema.check_vectors(vectors)
    if known is None or known.all():
        beliefs = [normalised(belief) for belief in _evidence(schema, vectors, known)]
        return _best_tree(schema, beliefs[0].sum(axis=0), _counted(beliefs, np.ones(len(vectors))), len(vectors))
    rows, counts = np.unique(np.concatenate([vectors, known], axis=1), axis=0, return_counts=True)
    evidence = _evidence(schema, rows[:, : schema.num_bits], rows[:, schema.num_bits :] == 1)
    weights = counts.astype(np.float64)
    tree, likelihood = _first_tree(schema, evidence, weights), -np.inf
    for _ in range(MAX_ROUNDS):
        pairs, new_likelihood = _expected_counts(tree, evidence, weights)
        if new_likelihood - likelihood < CONVERGED * len(vectors):
            break
        likelihood = new_likelihood
        tree = _best_tree(schema, pairs[0][0].diagonal(), _looked_up(pairs), len(vectors))
    return tree


def fill_unknown(statistics: AttributeStatistics, vectors: UInt8Array, known: BoolArray) -> Float32Array:
    """The vectors with the probability of each unknown bit, given the known ones, in its place.

    Args:
        statistics: of the attributes in training.
        vectors: `[N, A]` of 0 and 1.
        known: which bits are known, bool `[N, A]`.

    Returns:
        float32 `[N, A]` in 0..1; the vectors themselves where everything is known.
    """
    schema = statistics.schema
    filled = np.where(known, vectors, 0).astype(np.float32)
    if known.all():
        return filled
    rows, inverse = np.unique(np.concatenate([vectors, known], axis=1), axis=0, return_inverse=True)
    evidence = _evidence(schema, rows[:, : schema.num_bits], rows[:, schema.num_bits :] == 1)
    posterior = np.zeros((len(rows), schema.num_bits))
    for group, probabilities in zip(schema.groups, _marginals(statistics, evidence), strict=True):
        for number, state in enumerate(group.states):
            if state.bit is not None:
                posterior[:, state.bit] = probabilities[:, number]
    return np.where(known, filled, posterior[inverse.reshape(-1)].astype(np.float32))


def _evidence(schema: AttributeSchema, vectors: UInt8Array, known: BoolArray | None) -> list[Float64Array]:
    """For each group 1 where the labels allow a state, else 0, `[N, S]`.

    Contradictory labels allow the states whose bits are set, or all if no bit is set.
    """
    evidence = []
    for group, possible in zip(schema.groups, possible_states(schema, vectors, known), strict=True):
        allowed = possible.astype(np.float64)
        wrong = ~possible.any(axis=1)
        for number, state in enumerate(group.states):
            allowed[wrong, number] = 0.0 if state.bit is None else vectors[wrong, state.bit]
        allowed[allowed.sum(axis=1) == 0] = 1.0
        evidence.append(allowed)
    return evidence


def _counted(beliefs: ByState, weights: Float64Array) -> Joint:
    """The joint counts if beliefs of different groups are independent of each other."""
    return lambda first, second: (beliefs[first] * weights[:, None]).T @ beliefs[second]


def _looked_up(pairs: Sequence[Sequence[Float64Array]]) -> Joint:
    return lambda first, second: pairs[first][second]


def _first_tree(schema: AttributeSchema, evidence: ByState, weights: Float64Array) -> AttributeStatistics:
    """A tree from the rows that settle both groups of a pair, and one pseudo-row in which they are independent."""
    settled = [allowed * (allowed.sum(axis=1, keepdims=True) == 1.0) for allowed in evidence]
    singles = [normalised(weights @ states + SMOOTHING / states.shape[1]) for states in settled]
    together = _counted(settled, weights)

    def joint(first: int, second: int) -> Float64Array:
        return together(first, second) + np.outer(singles[first], singles[second])

    return _best_tree(schema, weights @ settled[0], joint, int(weights.sum()))


def _best_tree(schema: AttributeSchema, root: Float64Array, joint: Joint, count: int) -> AttributeStatistics:
    """Prim's algorithm on mutual information, from group 0, whose states have the counts `root`."""
    num_groups = len(schema.groups)
    parents = [-1] * num_groups
    tables: list[Float64Array] = [np.empty(0)] * num_groups
    tables[0] = normalised(root + SMOOTHING / len(root))
    best = {group: (_mutual_information(_smoothed(joint(0, group))), 0) for group in range(1, num_groups)}
    while best:
        group = max(best, key=lambda candidate: (best[candidate][0], -candidate))
        _, parents[group] = best.pop(group)
        tables[group] = normalised(_smoothed(joint(parents[group], group)))
        for other in best:
            information = _mutual_information(_smoothed(joint(group, other)))
            if information > best[other][0]:
                best[other] = (information, group)
    return AttributeStatistics(schema, tuple(parents), tuple(tables), count)


def _smoothed(counts: Float64Array) -> Float64Array:
    return np.asarray(counts + SMOOTHING / counts.size)


def _mutual_information(counts: Float64Array) -> float:
    joint = counts / counts.sum()
    independent = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    return float((joint * np.log(joint / independent)).sum())


def _upward(tree: AttributeStatistics, evidence: ByState) -> tuple[list[Float64Array], Float64Array]:
    """For each group `[N, S]` the probability of the evidence in its subtree by its state, up to a factor for each row.

    Also the log-probability of the evidence of each row, `[N]`.
    """
    messages = [allowed.copy() for allowed in evidence]
    log_scale = np.zeros(len(evidence[0]))
    for group in reversed(tree.order):
        total = messages[group].max(axis=1, keepdims=True)
        messages[group] /= total
        log_scale += np.log(total[:, 0])
        if tree.parents[group] >= 0:
            messages[tree.parents[group]] *= messages[group] @ tree.tables[group].T
    root = tree.order[0]
    return messages, log_scale + np.log(messages[root] @ tree.tables[root])


def _given_parent(tree: AttributeStatistics, group: int, message: Float64Array) -> Float64Array:
    """P(state | state of the parent, evidence), `[N, S_parent, S]`."""
    return normalised(tree.tables[group][None] * message[:, None, :])


def _marginals(tree: AttributeStatistics, evidence: ByState) -> list[Float64Array]:
    """P(state | evidence) of each group, `[N, S]`."""
    messages, _ = _upward(tree, evidence)
    marginals: list[Float64Array] = [np.empty(0)] * len(messages)
    for group in tree.order:
        parent = tree.parents[group]
        if parent < 0:
            marginals[group] = normalised(tree.tables[group] * messages[group])
        else:
            marginals[group] = np.einsum("np,nps->ns", marginals[parent], _given_parent(tree, group, messages[group]))
    return marginals


def _expected_counts(
    tree: AttributeStatistics, evidence: ByState, weights: Float64Array
) -> tuple[list[list[Float64Array]], float]:
    """Expected joint counts of every pair of groups, [group][other] `[S_group, S_other]`, and the log-likelihood."""
    messages, log_likelihood = _upward(tree, evidence)
    marginals = _marginals(tree, evidence)
    num_groups = len(messages)
    given_parent = [
        None if tree.parents[group] < 0 else _given_parent(tree, group, messages[group]) for group in range(num_groups)
    ]
    pairs: list[list[Float64Array]] = [[np.empty(0)] * num_groups for _ in range(num_groups)]
    joints: dict[tuple[int, int], Float64Array] = {}
    for position, group in enumerate(tree.order):
        parent, conditional = tree.parents[group], given_parent[group]
        weighted = weights[:, None] * marginals[group]
        pairs[group][group] = np.diag(weighted.sum(axis=0))
        for other in tree.order[:position]:
            assert conditional is not None
            if other == parent:
                joint = (weights[:, None] * marginals[parent])[:, :, None] * conditional  # [N, S_parent, S]
            else:
                joint = np.matmul(joints[other, parent], conditional)  # [N, S_other, S_parent] @ [N, S_parent, S]
            joints[other, group] = joint
            joints[group, other] = joint.transpose(0, 2, 1)
            pairs[other][group] = joint.sum(axis=0)
            pairs[group][other] = pairs[other][group].T
    return pairs, float(weights @ log_likelihood)
