"""PyTorch's own fp16 network: its BatchNorms are folded exactly."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from scripts.gpu_checks.half_network import fold_batchnorms, half_image_encoder
from tests.export.lively_networks import CONFIGS, lively, smooth_crops


@pytest.mark.parametrize("name", CONFIGS)
def test_batchnorms_are_folded_exactly_and_none_is_left(name: str) -> None:
    """Trained BatchNorms shift and scale by any amount; a folded network gives the same features."""
    networks = copy.deepcopy(lively(name))
    generator = torch.Generator().manual_seed(0)
    for module in networks.image_backbone.trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias.data.normal_(generator=generator)
            module.running_mean.normal_(generator=generator)
    images = networks.image_backbone.normalise(torch.as_tensor(smooth_crops(4)))
    half = half_image_encoder(networks)
    assert not [module for module in half.networks.image_backbone.trunk.modules() if isinstance(module, nn.BatchNorm2d)]
    with torch.no_grad():
        expected = networks.image_backbone.trunk(images)
        fold_batchnorms(networks.image_backbone.trunk, images[:1])
        got = networks.image_backbone.trunk(images)
    assert float((got - expected).abs().max()) < 1e-3 * float(expected.abs().max())
