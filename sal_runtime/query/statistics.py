"""Training statistics of the attributes, and completions of partial queries drawn from them.

The statistics are a tree over the attribute groups (Chow and Liu, IEEE Trans. Information Theory 1968): the spanning
tree of largest mutual information, with the joint table of every edge. It keeps the strongest dependencies (skirts and
gender, age and clothing), is small enough for a manifest, holds no single person's row, and can be sampled exactly
under constraints: sums go up the tree, draws come down.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from sal_runtime.arrays import Float64Array, Int64Array, UInt8Array
from sal_runtime.errors import SchemaError
from sal_runtime.query.schema import AttributeSchema, Conjunction

SMOOTHING = 1.0
"""Imaginary observations spread evenly over each table, so that nothing has probability zero."""
DIGITS = 6
NEVER_SEEN = 0.5 * 10**-DIGITS
"""What stands for a probability that was rounded to 0: a query may ask for what a large data set never showed."""
SMALLEST_MESSAGE = 1e-200
"""Messages of smaller numbers are scaled up: the product over many rare states is no longer a number above 0."""


@dataclass(frozen=True)
class AttributeStatistics:
    """A tree-shaped distribution over the states of all groups.

    Attributes:
        schema: whose groups these are.
        parents: for each group its parent in the tree; -1 for the root. Parents come before children in `order`.
        tables: for the root its probabilities `[S]`, for another group the table P(state | parent's state)
            `[S_parent, S]`.
        count: training images (or identities) they were fitted on.
    """

    schema: AttributeSchema
    parents: tuple[int, ...]
    tables: tuple[Float64Array, ...]
    count: int

    @staticmethod
    def fit(schema: AttributeSchema, vectors: UInt8Array) -> AttributeStatistics:
        """Fit to training vectors uint8 `[N, A]`.

        A row whose bits fit no state of a group (two colours at once, no gender) counts for that group in equal
        parts for the states whose bits are set, or for all states where none is.
        """
        vectors = schema.check_vectors(vectors)
        beliefs = [_beliefs(schema, group, vectors) for group in range(len(schema.groups))]
        return _fit_tree(schema, beliefs, len(vectors))

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Groups with every parent before its children."""
        done: list[int] = []
        waiting = set(range(len(self.parents)))
        while waiting:
            ready = sorted(group for group in waiting if self.parents[group] in done or self.parents[group] < 0)
            if not ready:
                raise SchemaError("the training statistics are not a tree; export the bundle again")
            done += ready
            waiting -= set(ready)
        return tuple(done)

    @cached_property
    def state_probabilities(self) -> tuple[Float64Array, ...]:
        """Probability of each state of each group, `[S]` per group."""
        marginals: dict[int, Float64Array] = {}
        for group in self.order:
            parent = self.parents[group]
            table = self.tables[group]
            marginals[group] = table if parent < 0 else marginals[parent] @ table
        return tuple(marginals[group] for group in range(len(self.parents)))

    @cached_property
    def bit_probabilities(self) -> Float64Array:
        """Probability that each bit is set, float64 `[A]`."""
        probabilities = np.zeros(self.schema.num_bits)
        for group, marginal in zip(self.schema.groups, self.state_probabilities, strict=True):
            for state, probability in zip(group.states, marginal, strict=True):
                if state.bit is not None:
                    probabilities[state.bit] = probability
        return probabilities

    def probability(self, conjunction: Conjunction) -> float:
        """Probability that every constrained group is in one of its allowed states.

        Args:
            conjunction: for each constrained group number the allowed state numbers.
        """
        root = self.order[0]
        messages, scale = self._upward(conjunction)
        return float(self.tables[root] @ messages[root]) * scale

    def sample_completions(
        self, conjunctions: Sequence[Conjunction], count: int, seed: int
    ) -> tuple[UInt8Array, Float64Array]:
        """Draw full attribute vectors that satisfy a query.

        Args:
            conjunctions: alternatives; each constrains some groups. One is chosen by its probability per draw.
            count: draws.
            seed: same seed, same completions.

        Returns:
            The distinct vectors uint8 `[C, A]`, C <= count, and how often each was drawn, summing to `count`.

        Raises:
            SchemaError: there is no alternative, or one allows no state of a group.
        """
        if not conjunctions or any(not states for one in conjunctions for states in one.values()):
            raise SchemaError("a query needs at least one allowed state for each group it constrains")
        rng = np.random.default_rng(seed)
        probabilities = np.array([self.probability(one) for one in conjunctions])
        if not probabilities.any():
            probabilities[:] = 1.0  # each is too improbable for a float
        shares = rng.multinomial(count, probabilities / probabilities.sum())
        states = [self._sample_states(one, int(share), rng) for one, share in zip(conjunctions, shares, strict=True)]
        vectors = self.schema.vectors_from_states(np.concatenate(states))
        distinct, drawn = np.unique(vectors, axis=0, return_counts=True)
        return distinct, drawn.astype(np.float64)

    def _upward(self, conjunction: Conjunction) -> tuple[dict[int, Float64Array], float]:
        """For each group and state, the probability of the constraints in its subtree, itself included: `[S]`.

        Those of the root are to be multiplied by the scale that comes with them, 1 except for the least probable.
        """
        scale = 1.0
        messages: dict[int, Float64Array] = {}
        for group in range(len(self.parents)):
            allowed = np.ones(len(self.schema.groups[group].states))
            if group in conjunction:
                allowed[:] = 0.0
                allowed[sorted(conjunction[group])] = 1.0
            messages[group] = allowed
        for group in reversed(self.order):
            parent = self.parents[group]
            if parent >= 0:
                messages[parent] = messages[parent] * (self.tables[group] @ messages[group])
                largest = float(messages[parent].max())
                if largest < SMALLEST_MESSAGE:
                    messages[parent] = messages[parent] / largest
                    scale *= largest
        return messages, scale

    def _sample_states(self, conjunction: Conjunction, count: int, rng: np.random.Generator) -> Int64Array:
        """int64 `[count, groups]`, drawn from the tree given the constraints."""
        messages, _ = self._upward(conjunction)
        states = np.zeros((count, len(self.parents)), dtype=np.int64)
        for group in self.order:
            parent = self.parents[group]
            table = self.tables[group][None] if parent < 0 else self.tables[group]
            weights = table * messages[group]  # [S_parent or 1, S]
            rows = np.zeros(count, dtype=np.int64) if parent < 0 else states[:, parent]
            cumulative = np.cumsum(weights, axis=1)
            draws = rng.random(count) * cumulative[rows, -1]
            states[:, group] = (draws[:, None] >= cumulative[rows]).sum(axis=1)
        return states

    def to_json(self) -> dict[str, Any]:
        """For the manifest; `from_json` reads it back. Probabilities are rounded to 6 digits."""
        return {
            "count": self.count,
            "parents": list(self.parents),
            "tables": [np.round(table, DIGITS).tolist() for table in self.tables],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any], schema: AttributeSchema) -> AttributeStatistics:
        """Read the form `to_json` writes.

        Raises:
            SchemaError: it does not fit the schema.
        """
        parents = tuple(int(parent) for parent in data["parents"])
        tables = tuple(
            _normalised(np.maximum(np.array(table, dtype=np.float64), NEVER_SEEN)) for table in data["tables"]
        )
        states = [len(group.states) for group in schema.groups]
        expected = [
            (size,) if parent < 0 else (states[parent], size) for parent, size in zip(parents, states, strict=False)
        ]
        if [table.shape for table in tables] != expected or len(parents) != len(states):
            raise SchemaError("the training statistics do not fit the attribute schema; export the bundle again")
        return AttributeStatistics(schema, parents, tables, int(data["count"]))


def _normalised(table: Float64Array) -> Float64Array:
    return np.asarray(table / table.sum(axis=-1, keepdims=True))


def _beliefs(schema: AttributeSchema, group_number: int, vectors: UInt8Array) -> Float64Array:
    """`[N, S]`, rows sum to 1: one-hot where the bits fit a state."""
    group = schema.groups[group_number]
    compatible = np.zeros((len(vectors), len(group.states)))
    set_bits = vectors[:, list(group.bits)].sum(axis=1)
    for number, state in enumerate(group.states):
        compatible[:, number] = set_bits == 0 if state.bit is None else vectors[:, state.bit]
    compatible[compatible.sum(axis=1) == 0] = 1.0
    return _normalised(compatible)


def _fit_tree(schema: AttributeSchema, beliefs: list[Float64Array], count: int) -> AttributeStatistics:
    """Prim's algorithm on mutual information, from group 0."""
    num_groups = len(schema.groups)
    parents = [-1] * num_groups
    tables: list[Float64Array] = [np.empty(0)] * num_groups
    tables[0] = _normalised(beliefs[0].sum(axis=0) + SMOOTHING / beliefs[0].shape[1])
    best = {group: (_mutual_information(_joint(beliefs[0], beliefs[group])), 0) for group in range(1, num_groups)}
    while best:
        group = max(best, key=lambda candidate: (best[candidate][0], -candidate))
        _, parents[group] = best.pop(group)
        tables[group] = _normalised(_joint(beliefs[parents[group]], beliefs[group]))
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
