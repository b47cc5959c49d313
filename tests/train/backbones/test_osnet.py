"""The OSNet trunk against the published network, and its parts against formulas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from sal_train.backbones.osnet import WIDTHS, ChannelTransform, OmniScaleBlock, OSNet
from sal_train.backbones.pretrained import build_backbone
from scripts.convert_osnet import trunk_state
from tests.research_weights import golden_0277, osnet_constants


def test_the_trunk_equals_the_published_network() -> None:
    golden = golden_0277()
    constants = osnet_constants("0277")
    backbone = build_backbone("osnet_0277", 2, "conv2")
    backbone.trunk.load_state_dict(trunk_state("osnet_0277", constants))
    rgb = torch.tensor(golden["images_bgr"][..., ::-1].astype(np.float32)).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (backbone.mean, backbone.std))
    with torch.no_grad():
        feature_map = backbone.trunk.eval()((rgb - mean) / std)
    assert feature_map.shape == (3, 512, 16, 8)
    assert np.abs(feature_map.mean(dim=(2, 3)).numpy() - golden["map_average"]).max() < 1e-4

    # the re-identification head, which sal replaces: a weighted pooling, a linear layer, a scaling and a PReLU
    pooling, pooling_bias, weight, bias, scale, shift, slope = (torch.tensor(constant) for constant in constants[-7:])
    pooled = functional.conv2d(feature_map, pooling.squeeze(1), groups=512).flatten(1) + pooling_bias.flatten()
    embedding = functional.prelu(
        (pooled @ weight.T + bias.flatten()) * scale.flatten() + shift.flatten(), slope.flatten()
    )
    assert np.abs(embedding.numpy() - golden["embedding"]).max() < 1e-4


@pytest.mark.parametrize("name", WIDTHS)
def test_all_sizes_load(name: str) -> None:
    trunk = OSNet(name)
    trunk.load_state_dict(trunk_state(name, osnet_constants(name.removeprefix("osnet_"))))


@pytest.mark.parametrize("channels", [16, 24, 64])
def test_a_channel_transform_normalises_within_groups(channels: int) -> None:
    gate = ChannelTransform(channels)
    torch.nn.init.normal_(gate.weight)
    torch.nn.init.normal_(gate.bias)
    x = torch.randn(2, channels, 4, 3)
    average = x.mean(dim=(2, 3)).view(2, gate.groups, -1)
    deviation = average.var(dim=2, correction=0, keepdim=True).add(1e-5).sqrt()
    expected = torch.sigmoid(
        ((average - average.mean(2, keepdim=True)) / deviation).flatten(1) * gate.weight + gate.bias
    )
    assert torch.allclose(gate(x)[:, :, 0, 0], expected, atol=1e-5)


def test_the_streams_of_a_block_see_three_to_nine_pixels() -> None:
    block = OmniScaleBlock(8, 8, torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Sigmoid()))
    for depth, stream in enumerate(block.streams):
        x = torch.randn(1, 8, 15, 15, requires_grad=True)
        for layer in stream.modules():
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.constant_(layer.weight, 0.1)
        stream(x.abs())[0, :, 7, 7].sum().backward()
        assert x.grad is not None
        seen = x.grad.abs().sum(dim=(0, 1)) > 0
        assert int(seen.any(dim=0).sum()) == 3 + 2 * depth


def test_last_stride_one_doubles_the_map() -> None:
    images = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        assert OSNet("osnet_0288", last_stride=2).eval()(images).shape == (1, 128, 4, 2)
        assert OSNet("osnet_0288", last_stride=1).eval()(images).shape == (1, 128, 8, 4)
