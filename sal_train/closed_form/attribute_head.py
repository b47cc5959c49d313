"""C_att for embeddings that nobody trained it on: one logistic regression for each attribute, solved to its optimum.

Systems that learn without attribute recognition (`systems/`) get their heads in this way. The problem is convex, so the
heads of all systems are the best linear ones of their embeddings, and no rate or number of epochs decides between them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

ITERATIONS = 30
"""Of L-BFGS; further ones change the probabilities by less than they vary between seeds."""
PENALTY = 1e-3
"""On the squared weights, next to the mean cross entropy; finite weights where an attribute can be separated."""


def fit_attribute_head(inputs: Tensor, attributes: Tensor, known: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Fit the attribute head.

    Args:
        inputs: of C_att for the training images, float32 [N, d].
        attributes: of the images, float32 [N, A]: 0 or 1, or the probability of what is unknown.
        known: which of them are known, 0 or 1, float32 [N, A]; None if all are.

    Returns:
        Weight float32 [A, d] and bias float32 [A].
    """
    count = attributes.shape[1]
    weight = torch.zeros(count, inputs.shape[1], requires_grad=True)
    bias = torch.zeros(count, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        logits = inputs @ weight.T + bias
        entropy = functional.binary_cross_entropy_with_logits(logits, attributes, known, reduction="sum")
        total = entropy / len(inputs) + PENALTY * weight.square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    solver.step(loss)  # type: ignore[no-untyped-call]
    return weight.detach(), bias.detach()
