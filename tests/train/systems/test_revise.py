"""ReViSE: the unbiased discrepancy and the contractive term."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sal_train.systems.revise import BANDWIDTHS, contraction_loss, mean_discrepancy


def draw(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + shift


def test_the_discrepancy_is_a_double_loop_over_pairs() -> None:
    x, y = draw(5, 1), draw(4, 2, 0.5)
    both = torch.cat([x, y])
    squared = [[float((a - b).square().sum()) for b in both] for a in both]
    unit = sum(map(sum, squared)) / (9 * 8)

    def kernel(i: int, j: int) -> float:
        return sum(float(torch.exp(torch.tensor(-squared[i][j] / (width * unit)))) for width in BANDWIDTHS)

    within = sum(kernel(i, j) for i in range(5) for j in range(5) if i != j) / 20
    other = sum(kernel(i, j) for i in range(5, 9) for j in range(5, 9) if i != j) / 12
    between = sum(kernel(i, j) for i in range(5) for j in range(5, 9)) / 20
    assert mean_discrepancy(x, y).item() == pytest.approx(within + other - 2 * between, abs=1e-6)


def test_the_discrepancy_of_one_distribution_is_zero_on_average() -> None:
    values = torch.stack([mean_discrepancy(draw(64, 2 * seed), draw(64, 2 * seed + 1)) for seed in range(30)])
    assert abs(values.mean()) < 3 * values.std() / 30**0.5
    assert values.min() < 0  # the biased form never is


def test_the_discrepancy_grows_with_a_shift_and_forgets_the_order() -> None:
    x = draw(64, 1)
    values = [mean_discrepancy(x, draw(64, 2, shift)).item() for shift in (0.5, 1.0, 2.0, 4.0)]
    assert values == sorted(values)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(3))
    y = draw(64, 2, 1.0)
    assert mean_discrepancy(x[order], y).item() == pytest.approx(mean_discrepancy(x, y).item(), abs=1e-12)


def test_its_gradient_is_finite_for_equal_rows() -> None:
    x = draw(8, 1)
    x[3] = x[2]
    x.requires_grad_()
    mean_discrepancy(x, x.detach().clone()).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_the_contraction_is_the_norm_of_the_jacobian() -> None:
    torch.manual_seed(1)
    layer = nn.Linear(7, 4).double()
    x = torch.randn(3, 7, dtype=torch.float64)
    jacobians = [torch.autograd.functional.jacobian(lambda row: torch.tanh(layer(row)), row) for row in x]
    expected = sum(float(jacobian.square().sum()) for jacobian in jacobians) / 3
    assert contraction_loss(torch.tanh(layer(x)), layer.weight).item() == pytest.approx(expected, rel=1e-6)
