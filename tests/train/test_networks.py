"""Shapes, sizes and BatchNorm behaviour of the networks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from sal_train.config import ModelConfig
from sal_train.networks import Networks, batch_statistics, with_category_statistics
from tests.train.tiny_training import tiny_config, tiny_networks


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def test_the_paper_model_has_the_papers_size() -> None:
    """Counted by hand for Market-1501: 27.28 M, of which backbone and FC 24.56 M, E_V 0.43 M, D_1 0.66 M."""
    networks = Networks(ModelConfig(), num_bits=30, num_categories=508)
    assert parameters(networks) == pytest.approx(27.28e6, rel=1e-3)
    assert parameters(networks.image_backbone) == pytest.approx(24.56e6, rel=1e-3)
    assert parameters(networks.E_V) == pytest.approx(0.43e6, rel=0.01)
    assert parameters(networks.D_1) == pytest.approx(0.66e6, rel=0.01)


@pytest.mark.parametrize("backbone", ["resnet50", "efficientnet_lite0"])
@pytest.mark.parametrize(("last_stride", "rows"), [(2, 3), (1, 5)])
def test_feature_map_and_embedding_shapes(backbone: str, last_stride: int, rows: int) -> None:
    config = ModelConfig(backbone=backbone, last_stride=last_stride, height=72, width=40)
    networks = Networks(config, num_bits=30, num_categories=7).eval()
    images = torch.randint(0, 256, (2, 72, 40, 3), dtype=torch.uint8)
    with torch.no_grad():
        maps = networks.image_backbone.trunk(networks.image_backbone.normalise(images))
        embedding = networks.embed_images(images)
    assert maps.shape[-2] == rows
    assert embedding.shape == (2, 128)
    assert embedding.abs().max() <= 1.0  # tanh, as in the paper


@pytest.mark.parametrize("height", [64, 72])
def test_stripes_are_averages_of_rows_from_top_to_bottom(height: int) -> None:
    config = ModelConfig(backbone="osnet_0288", height=height, width=32, stripes=3)
    backbone = Networks(config, num_bits=30, num_categories=7).image_backbone.eval()
    images = torch.randint(0, 256, (2, height, 32, 3), dtype=torch.uint8)
    with torch.no_grad():
        feature_map = backbone.trunk(backbone.normalise(images)).numpy()
        pooled = backbone.pool(images).numpy()
    rows = feature_map.shape[2]
    edges = [0, rows // 3, 2 * rows // 3, rows]
    expected = [feature_map.mean(axis=(2, 3))]
    expected += [feature_map[:, :, top:bottom].mean(axis=(2, 3)) for top, bottom in itertools.pairwise(edges)]
    assert backbone.fc.in_features == 4 * 128
    np.testing.assert_allclose(pooled, np.concatenate(expected, axis=1), atol=1e-5)


def test_unit_heads_see_the_direction_only() -> None:
    networks = Networks(ModelConfig(backbone="efficientnet_lite0", unit_heads=True), 30, 7)
    embedding = torch.randn(4, 128)
    assert torch.allclose(networks.attribute_logits(embedding), networks.attribute_logits(3.0 * embedding), atol=1e-4)


def test_batch_statistics_leave_the_running_ones_alone() -> None:
    norm = nn.BatchNorm1d(3)
    norm(torch.randn(16, 3) + 5.0)
    before = {name: value.clone() for name, value in norm.named_buffers()}
    norm.eval()
    with batch_statistics(norm):
        out = norm(torch.randn(64, 3) - 7.0)
    assert out.mean().abs() < 1e-5  # normalised by its own batch
    assert not norm.training
    assert all(torch.equal(value, before[name]) for name, value in norm.named_buffers())


def test_category_statistics_are_those_of_one_pass_over_the_categories() -> None:
    networks = tiny_networks(tiny_config(("embed_image",), model={"embedding_output": "batchnorm"}))
    before = {name: tensor.clone() for name, tensor in networks.state_dict().items()}
    vectors = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 5)
    settled = with_category_statistics(networks, vectors)
    assert not settled.training
    with torch.no_grad():
        hidden = networks.attribute_backbone[0](vectors)  # the first BatchNorm follows this
        norm = settled.attribute_backbone[1]
        torch.testing.assert_close(norm.running_mean, hidden.mean(0))
        torch.testing.assert_close(norm.running_var, hidden.var(0, unbiased=True))
        embedded = settled.embed_attributes(vectors)
    assert embedded.mean(0).abs().max() < 0.2  # the neck centres the categories
    assert all(torch.equal(before[name], tensor) for name, tensor in networks.state_dict().items())
    assert [module.momentum for module in settled.modules() if isinstance(module, torch.nn.BatchNorm1d)] == [
        module.momentum for module in networks.modules() if isinstance(module, torch.nn.BatchNorm1d)
    ]


def test_linear_encoders_have_one_layer_each() -> None:
    networks = tiny_networks(tiny_config(("embed_image",), model={"encoders": "linear"})).eval()
    vectors = torch.eye(5)
    with torch.no_grad():
        layer, E_A, E_V = networks.attribute_backbone[0], networks.E_A[0], networks.E_V[0]
        f_a = torch.tanh(vectors @ layer.weight.T + layer.bias)
        torch.testing.assert_close(networks.attribute_backbone(vectors), f_a)
        torch.testing.assert_close(networks.embed_attributes(vectors), torch.tanh(f_a @ E_A.weight.T + E_A.bias))
        torch.testing.assert_close(networks.E_V(f_a), torch.tanh(f_a @ E_V.weight.T + E_V.bias))
