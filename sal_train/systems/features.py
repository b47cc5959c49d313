"""The image branch of systems that learn on a frozen trunk: its pooled features, standardised, and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sal_runtime.errors import InputError
from sal_train.config import ModelConfig
from sal_train.networks import ImageBackbone, SearchNetworks
from sal_train.systems.system import TrainingSet

CONSTANT = 1e-6
"""Standard deviation up to which a coordinate of the features says nothing."""


class Standardise(nn.Module):
    """(x - shift) * scale for features [B, n]; both are computed once from the training images."""

    shift: Tensor
    scale: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(size))
        self.register_buffer("scale", torch.ones(size))

    def forward(self, features: Tensor) -> Tensor:
        """Float32 [B, n] -> float32 [B, n]."""
        return (features - self.shift) * self.scale


class PooledFeatures(ImageBackbone):
    """RGB images, or the output of `pool` -> f_v, the standardised averages of the feature map, [B, size].

    It has no layer of its own to train.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.size = self.fc.in_features
        self.fc = nn.Identity()  # type: ignore[assignment]
        self.norm = Standardise(self.size)

    def features(self, pooled: Tensor) -> Tensor:
        """Output of `pool` -> f_v float32 [B, size]."""
        standardised: Tensor = self.norm(pooled.float())
        return standardised


def standardise(networks: SearchNetworks, data: TrainingSet) -> None:
    """Give every coordinate of f_v mean 0 and variance 1 over the training images; constant ones become 0."""
    backbone = networks.image_backbone
    assert isinstance(backbone, PooledFeatures)
    pooled = data.outputs(networks, backbone.pooled)
    deviation = pooled.std(dim=0)
    _set(backbone, pooled.mean(dim=0), torch.where(deviation > CONSTANT, 1.0 / deviation, 0.0))


def scale_to_mean(networks: SearchNetworks, data: TrainingSet, mean: float) -> None:
    """Scale f_v to this mean over all coordinates and training images, so that it stays non-negative.

    Raises:
        InputError: a feature is negative.
    """
    backbone = networks.image_backbone
    assert isinstance(backbone, PooledFeatures)
    pooled = data.outputs(networks, backbone.pooled)
    if pooled.min() < 0:
        raise InputError(
            f"model.backbone {backbone.config.backbone} gives negative features (down to {pooled.min():.2g}); this "
            "system generates non-negative ones, so take a backbone that ends in a ReLU"
        )
    _set(backbone, torch.zeros(backbone.size), (mean / pooled.mean()).expand(backbone.size))


@torch.no_grad()
def _set(backbone: PooledFeatures, shift: Tensor, scale: Tensor) -> None:
    norm = backbone.norm
    assert isinstance(norm, Standardise)
    norm.shift.copy_(shift)
    norm.scale.copy_(scale)
