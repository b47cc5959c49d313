"""The logits of the attribute head, calibrated group by group on people that training did not see.

A head is trained with smoothed labels, on training people, and often with a small weight: its sigmoids are no
probabilities. It may say yes to everybody. So each group of the schema gets a factor on its logits and a shift of each
of its states, fitted by maximum likelihood of the held-out labels (Platt, 1999; Guo et al., ICML 2017). A Gaussian
prior keeps them near one factor for all groups and no shift: there may be few held-out people, and the images of one
person say the same, so a category counts as one observation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize

from sal_runtime.arrays import Float32Array, Float64Array, Int64Array
from sal_runtime.query.schema import AttributeSchema, Group
from sal_train.datasets.splits import Labels, states_from_vectors
from sal_train.evaluation.subject import LabelledEmbeddings

FACTOR_DEVIATION, SHIFT_DEVIATION = 1.0, 3.0
"""Standard deviations of the Gaussian priors: a factor from the common one, a shift from 0."""
LARGEST_COMMON_FACTOR = 3.0


@dataclass(frozen=True)
class _Labelled:
    """What one group says of n images.

    Attributes:
        logits: float64 `[n, S]` of its states; a state without a bit has logit 0.
        states: int64 `[n]`, from the labels.
        weights: float64 `[n]`, summing to 1; they make each state as frequent as in the population.
    """

    logits: Float64Array
    states: Int64Array
    weights: Float64Array

    def loss(self, logits: Float64Array) -> tuple[float, Float64Array]:
        """Weighted mean of -log softmax of the labelled state under logits `[n, S]`, and its gradient `[n, S]`."""
        rows = np.arange(len(logits))
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_total = np.log(np.exp(shifted).sum(axis=1))
        gradient = np.exp(shifted - log_total[:, None])
        gradient[rows, self.states] -= 1.0
        return float(self.weights @ (log_total - shifted[rows, self.states])), self.weights[:, None] * gradient


def calibrate_attributes(
    schema: AttributeSchema, images: LabelledEmbeddings, population: Labels
) -> tuple[Float32Array, Float32Array]:
    """Factor and shift of each attribute logit, float32 `[A]` each.

    Args:
        schema: of the labels.
        images: of held-out people, with the logits of the attribute head.
        population: labels with the frequencies that search will meet.
    """
    states, expected = (
        states_from_vectors(schema, labels.attributes, labels.known) for labels in (images.labels, population)
    )
    labelled = [
        _labelled(group, images.logits, states[:, number], expected[:, number])
        for number, group in enumerate(schema.groups)
    ]
    common = float(
        optimize.minimize_scalar(
            lambda factor: sum(group.loss(factor * group.logits)[0] for group in labelled),
            bounds=(0.0, LARGEST_COMMON_FACTOR),
            method="bounded",
        ).x
    )
    observations = len(images.labels.distinct()[0].attributes)
    factors, shifts = np.empty(schema.num_bits), np.empty(schema.num_bits)
    for group, known in zip(schema.groups, labelled, strict=True):
        factor, shift = _fit(known, common, observations)
        without_bit = [number for number, state in enumerate(group.states) if state.bit is None]
        shift -= shift[without_bit].sum()  # at most one state has no bit; its logit stays 0
        for number, state in enumerate(group.states):
            if state.bit is not None:
                factors[state.bit], shifts[state.bit] = factor, shift[number]
    return factors.astype(np.float32), shifts.astype(np.float32)


def _labelled(group: Group, logits: Float32Array, states: Int64Array, expected: Int64Array) -> _Labelled:
    count = len(group.states)
    known = states >= 0
    columns = np.zeros((int(known.sum()), count))
    for number, state in enumerate(group.states):
        if state.bit is not None:
            columns[:, number] = logits[known, state.bit]
    seen = np.bincount(states[known], minlength=count)
    frequency = np.bincount(expected[expected >= 0], minlength=count)
    weights = (frequency / np.maximum(seen, 1))[states[known]].astype(np.float64)
    return _Labelled(columns, states[known], weights / max(weights.sum(), 1e-300))


def _fit(known: _Labelled, common: float, observations: int) -> tuple[float, Float64Array]:
    num_states = known.logits.shape[1]
    start = np.append(common, np.zeros(num_states))
    penalty = 0.5 / (observations * np.append(FACTOR_DEVIATION, np.full(num_states, SHIFT_DEVIATION)) ** 2)

    def loss(theta: Float64Array) -> tuple[float, Float64Array]:
        value, gradient = known.loss(theta[0] * known.logits + theta[1:])
        away = theta - start
        slope = np.append((gradient * known.logits).sum(), gradient.sum(axis=0))
        return value + float(penalty @ away**2), slope + 2 * penalty * away

    bounds = [(0.0, None)] + [(None, None)] * num_states
    theta = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(theta[0]), np.asarray(theta[1:])
