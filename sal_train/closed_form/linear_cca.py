"""Canonical correlation analysis of two views, in closed form (Hotelling, 1936).

With covariances S_vv, S_aa and S_va and their Cholesky factors S_vv = L_v L_v', S_aa = L_a L_a',

    T = L_v^-1 S_va L_a^-T = U diag(sigma) V'

has the canonical correlations as its singular values. The maps A = L_v^-T U and B = L_a^-T V bring the views into a
common basis: there both have covariance I, and their cross-covariance is diag(sigma).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LinearCca:
    """The maps (h - mean) @ weight of both views into the common basis, float64.

    Attributes:
        mean_v: [d_v].
        mean_a: [d_a].
        weight_v: A, [d_v, k], k the smaller of d_v and d_a.
        weight_a: B, [d_a, k].
        correlations: sigma, falling, [k].
    """

    mean_v: Tensor
    mean_a: Tensor
    weight_v: Tensor
    weight_a: Tensor
    correlations: Tensor


def whitened(h_v: Tensor, h_a: Tensor, ridge: float) -> tuple[Tensor, Tensor, Tensor]:
    """T and the Cholesky factors of the covariances, all float64: [d_v, d_a], L_v [d_v, d_v], L_a [d_a, d_a].

    Args:
        h_v: one view, centred, float64 [N, d_v].
        h_a: the other, centred, float64 [N, d_a].
        ridge: added to the diagonals, in units of the mean variance of the view. So it cannot be outgrown by a network
            that makes its outputs larger.
    """
    count = len(h_v) - 1
    factors = []
    for view in (h_v, h_a):
        covariance = view.T @ view / count
        loading = (ridge * covariance.diagonal().mean()).expand(len(covariance))
        factors.append(torch.linalg.cholesky(covariance + torch.diag(loading)))
    left = torch.linalg.solve_triangular(factors[0], h_v.T @ h_a / count, upper=False)
    return torch.linalg.solve_triangular(factors[1], left.T, upper=False).T, factors[0], factors[1]


@torch.no_grad()
def fit_linear_cca(h_v: Tensor, h_a: Tensor, ridge: float) -> LinearCca:
    """Fit the maps to pairs of vectors.

    Args:
        h_v: one view, [N, d_v].
        h_a: the other, [N, d_a].
        ridge: as for `whitened`; with 0 both covariances must have full rank.
    """
    h_v, h_a = h_v.double(), h_a.double()
    mean_v, mean_a = h_v.mean(dim=0), h_a.mean(dim=0)
    cross, root_v, root_a = whitened(h_v - mean_v, h_a - mean_a, ridge)
    left, correlations, right = torch.linalg.svd(cross, full_matrices=False)
    weight_v = torch.linalg.solve_triangular(root_v.T, left, upper=True)
    weight_a = torch.linalg.solve_triangular(root_a.T, right.T, upper=True)
    return LinearCca(mean_v, mean_a, weight_v, weight_a, correlations)
