"""Training statistics of the attributes, and completions of partial queries drawn from them.

The statistics are a tree over the attribute groups (Chow and Liu, IEEE Trans. Information Theory 1968): the spanning
tree of largest mutual information, with a table for every edge. It keeps the strongest dependencies (skirts and gender,
age and clothing), is small enough for a manifest, and contains no record of a single person. It can be sampled exactly
under constraints: probabilities are summed up the tree, then states are drawn down the tree.
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

DIGITS = 6
"""Digits of a probability in the manifest."""
NEVER_SEEN = 0.5 * 10**-DIGITS
"""Replaces a probability that was rounded to 0: a query may ask for a state that the training data never showed."""
SMALLEST_MESSAGE = 1e-200
"""Messages with smaller numbers are scaled up, because the product over many rare states would underflow to 0."""


@dataclass(frozen=True)
class AttributeStatistics:
    """A tree-shaped distribution over the states of all groups.

    Attributes:
        schema: the groups.
        parents: for each group its parent in the tree; -1 for the root.
        tables: for the root its probabilities `[S]`, for every other group P(state | parent's state) `[S_parent, S]`.
        count: number of training images (or identities).
    """

    schema: AttributeSchema
    parents: tuple[int, ...]
    tables: tuple[Float64Array, ...]
    count: int

    @cached_property
    def order(self) -> tuple[int, ...]:
        """Group numbers, with every parent before its children."""
        done: list[int] = []
        waiting = set(range(len(self.parents)))
        while waiting:
            ready = sorted(group for group in waiting if self.parents[group] in done or self.parents[group] < 0)
            if not ready:
                raise SchemaError("the training statistics are not a tree; export the bundle again")
            done += ready
            waiting -= set(ready)
        return tuple(done)

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
        """Draw `count` full attribute vectors that satisfy a query; the same seed gives the same vectors.

        Args:
            conjunctions: alternatives; each draw chooses one by its probability.
            count: number of draws.
            seed: of the random numbers.

        Returns:
            The distinct vectors uint8 `[C, A]` and how often each was drawn, float64 `[C]`.

        Raises:
            SchemaError: there is no alternative, or one allows no state of a group.
        """
        if not conjunctions or not all(states for conjunction in conjunctions for states in conjunction.values()):
            raise SchemaError("a query needs at least one allowed state for each group it constrains")
        rng = np.random.default_rng(seed)
        probabilities = np.array([self.probability(conjunction) for conjunction in conjunctions])
        if not probabilities.any():
            probabilities[:] = 1.0  # each is too improbable for a float
        draws = rng.multinomial(count, probabilities / probabilities.sum()).tolist()
        states = [self._sample_states(*pair, rng) for pair in zip(conjunctions, draws, strict=True)]
        vectors = self.schema.vectors_from_states(np.concatenate(states))
        distinct, drawn = np.unique(vectors, axis=0, return_counts=True)
        return distinct, drawn.astype(np.float64)

    def _upward(self, conjunction: Conjunction) -> tuple[dict[int, Float64Array], float]:
        """For each group and state `[S]`, the probability of the constraints in its subtree, the group included.

        Those of the root must be multiplied by the returned scale, which is 1 except for the least probable queries.
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
        """States int64 `[count, groups]`, drawn from the tree under constraints."""
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
        """The statistics as JSON for the manifest, with probabilities of 6 digits; `from_json` reads it back."""
        return {
            "count": self.count,
            "parents": list(self.parents),
            "tables": [np.round(table, DIGITS).tolist() for table in self.tables],
        }

    @staticmethod
    def from_json(data: Mapping[str, Any], schema: AttributeSchema) -> AttributeStatistics:
        """Read statistics from the form that `to_json` writes.

        Raises:
            SchemaError: they do not fit the schema.
        """
        parents = tuple(int(parent) for parent in data["parents"])
        tables = tuple(
            normalised(np.maximum(np.array(table, dtype=np.float64), NEVER_SEEN)) for table in data["tables"]
        )
        states = [len(group.states) for group in schema.groups]
        expected = [
            (size,) if parent < 0 else (states[parent], size) for parent, size in zip(parents, states, strict=False)
        ]
        if [table.shape for table in tables] != expected or len(parents) != len(states):
            raise SchemaError("the training statistics do not fit the attribute schema; export the bundle again")
        return AttributeStatistics(schema, parents, tables, int(data["count"]))


def normalised(table: Float64Array) -> Float64Array:
    """The table with rows (its last axis) that sum to 1."""
    return np.asarray(table / table.sum(axis=-1, keepdims=True))
