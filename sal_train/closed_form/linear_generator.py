"""A linear generator of image features, fitted in closed form, and the encoders that are best under it.

G_V's task is to say which image features a description has. Here pooled features x of a person with attributes a are

    x = mean + W (a - mean a) + noise,        noise ~ N(0, C) of the same covariance for everybody,

with W from a ridge regression, so a description that nobody in training had is the sum of its attributes' effects. It
needs no samples: for this generator the best encoders are known. In coordinates in which the noise has variance 1 and
the signal W (a - mean a) has variance s along each axis,

    description -> its signal,        image -> the signal to expect given the image, the axes times s / (1 + s),

and search ranks by the cosine between the two (not in the paper; a linear discriminant analysis whose class means are
sums over attributes).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sal_runtime.arrays import Int64Array
from sal_runtime.errors import ConfigError, InputError
from sal_train.closed_form.linear_query import RIDGE
from sal_train.networks import Networks, SearchNetworks

SHRINKAGE = 0.5
"""Share of the identity, scaled to the mean variance, in the covariance of the noise; features are standardised."""


@dataclass(frozen=True)
class LinearEncoders:
    """Two affine maps into the common space, in which search takes the cosine.

    Attributes:
        image_weight: float32 [d, F].
        image_bias: float32 [d].
        query_weight: float32 [d, A].
        query_bias: float32 [d].
    """

    image_weight: Tensor
    image_bias: Tensor
    query_weight: Tensor
    query_bias: Tensor


def fit_linear_encoders(features: Tensor, attributes: Tensor, categories: Int64Array, size: int) -> LinearEncoders:
    """Fit the generator and give its encoders. Each category counts once, whatever its number of images.

    Args:
        features: of the training images, float32 [N, F].
        attributes: of the same images, float32 [N, A]; 0 or 1, or the probability of what is unknown.
        categories: of the same images, int64 [N], any numbering.
        size: d, length of the embedding; with more than A, the last axes are zero.

    Raises:
        InputError: there is a single category.
    """
    _, inverse, counts = np.unique(categories, return_inverse=True, return_counts=True)
    if len(counts) < 2:
        raise InputError("the linear generator needs images of two categories or more, got one")
    weight = torch.as_tensor(1.0 / counts[inverse], dtype=torch.float32)[:, None]
    scale = features.std(dim=0).clamp_min(1e-6)
    x = features / scale
    a_mean, x_mean = (weight * attributes).sum(0) / len(counts), (weight * x).sum(0) / len(counts)
    a, x = attributes - a_mean, x - x_mean
    of_attributes = a.T @ (weight * a)
    effects = torch.linalg.solve(of_attributes + RIDGE * torch.eye(a.shape[1]), a.T @ (weight * x))  # W, [A, F]
    noise = x - a @ effects
    covariance = (weight * noise).T @ noise / len(counts)
    covariance *= 1.0 - SHRINKAGE
    covariance.diagonal().add_(SHRINKAGE / (1.0 - SHRINKAGE) * covariance.diagonal().mean())
    root = torch.linalg.cholesky(covariance)
    whitened = torch.linalg.solve_triangular(root, effects.T, upper=False).T  # [A, F]
    variance, basis = torch.linalg.eigh(of_attributes / len(counts))
    spread = basis * variance.clamp_min(0).sqrt() @ basis.T
    _, signal, axes = torch.linalg.svd(spread @ whitened, full_matrices=False)
    signal, axes = signal[:size] ** 2, axes[:size]  # variances [d], directions [d, F]
    image = torch.linalg.solve_triangular(root.T, axes.T, upper=True).T * (signal / (1.0 + signal))[:, None]
    query = axes @ whitened.T
    missing = size - len(axes)
    return LinearEncoders(
        *(
            nn.functional.pad(part, (0, 0, 0, missing) if part.ndim == 2 else (0, missing)).contiguous()
            for part in (image / scale, -image @ x_mean, query, -query @ a_mean)
        )
    )


@torch.no_grad()
def set_linear_encoders(networks: SearchNetworks, encoders: LinearEncoders) -> None:
    """Make the networks embed images and descriptions with these maps; E_A gives way to the query's linear part.

    Raises:
        ConfigError: the networks are not those of SAL, or have MLPs as encoders, no linear query, or other
            normalisations.
    """
    config = networks.config
    if (
        not isinstance(networks, Networks)
        or config.encoders != "linear"
        or not config.linear_query
        or config.embedding_output != "batchnorm"
        or config.feature_dim < config.embedding_dim
    ):
        raise ConfigError(
            "the linear generator is for SAL; it needs model.encoders = linear, model.linear_query = true, "
            "model.embedding_output = batchnorm, and model.feature_dim of at least model.embedding_dim"
        )
    backbone, size = networks.image_backbone, config.embedding_dim
    for network in (backbone.fc, *networks.E_V, *networks.E_A, backbone.norm):
        if isinstance(network, nn.Linear):
            nn.init.zeros_(network.weight)
            nn.init.zeros_(network.bias)
        elif isinstance(network, nn.BatchNorm1d):
            network.reset_parameters()
            assert network.running_var is not None
            network.running_var.fill_(1.0 - network.eps)  # then it changes nothing
    backbone.fc.weight[:size] = encoders.image_weight
    backbone.fc.bias[:size] = encoders.image_bias
    embed = networks.E_V[0]
    assert isinstance(embed, nn.Linear)
    nn.init.eye_(embed.weight)
    networks.set_linear_query(encoders.query_weight, encoders.query_bias)
