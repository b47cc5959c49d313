"""OSNet trunk with lightweight channel transforms, a person re-identification network in four sizes.

Architecture: omni-scale blocks (Zhou et al., ICCV 2019), instance normalisation of the input and in the stem, and
lightweight channel transforms (Ruan et al., 2020) as gates of every second block: the networks
`person-reidentification-retail-0277`, `-0286`, `-0287` and `-0288` of Open Model Zoo. Their BatchNorms are folded into
the convolutions, which therefore have biases; `scripts/convert_osnet.py` makes a file of weights that loads here.

Modules are registered in the order in which they run, which the conversion relies on.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from sal_train.backbones.trunk import Trunk

STREAMS = 4
EXPANSION = 4
SQUEEZE = 16
"""Channels for each hidden channel of a squeeze-and-excitation gate."""
EPS = 1e-5
# channels of the stem and inside the blocks of the first stage, then inside those of the second and third stage
WIDTHS = {
    "osnet_0277": (64, 96, 128),
    "osnet_0286": (48, 72, 96),
    "osnet_0287": (32, 48, 64),
    "osnet_0288": (16, 24, 32),
}


def _conv_relu(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.ReLU(inplace=True))


def _light_conv(channels: int) -> nn.Sequential:
    """A 3x3 convolution in two steps: 1x1 without bias or activation, then depthwise 3x3."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
        nn.ReLU(inplace=True),
    )


def _squeeze_excitation(channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1),
        *_conv_relu(channels, channels // SQUEEZE),
        nn.Conv2d(channels // SQUEEZE, channels, 1),
        nn.Sigmoid(),
    )


class ChannelTransform(nn.Module):
    """A gate: the average of each channel, normalised within its group of channels, scaled and shifted by channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.groups = 16 if channels % 16 == 0 else 8
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels, h, w] -> weights in 0..1, [B, channels, 1, 1]."""
        average = x.mean(dim=(2, 3)).float().reshape(x.shape[0], self.groups, -1)
        centred = average - average.mean(dim=2, keepdim=True)
        normalised = centred * torch.rsqrt((centred * centred).mean(dim=2, keepdim=True) + EPS)
        gate = torch.sigmoid(normalised.flatten(1) * self.weight.float() + self.bias.float())
        return gate.to(x.dtype)[:, :, None, None]


class OmniScaleBlock(nn.Module):
    """Four streams of one to four light convolutions, weighted by a gate that they share, and a shortcut.

    Args:
        in_channels: of the input.
        channels: inside the block; the output has four times as many.
        gate: float [B, channels, h, w] -> weights in 0..1, [B, channels, 1, 1].
    """

    def __init__(self, in_channels: int, channels: int, gate: nn.Module) -> None:
        super().__init__()
        out_channels = channels * EXPANSION
        self.reduce = _conv_relu(in_channels, channels)
        self.streams = nn.ModuleList(
            nn.Sequential(*(_light_conv(channels) for _ in range(depth + 1))) for depth in range(STREAMS)
        )
        self.gate = gate
        self.expand = nn.Conv2d(channels, out_channels, 1)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, h, w] -> [B, channels * 4, h, w]."""
        reduced = self.reduce(x)
        first, *others = (stream(reduced) for stream in self.streams)
        mixed = first * self.gate(first)
        for stream in others:
            mixed = mixed + stream * self.gate(stream)
        return cast(Tensor, self.relu(self.expand(mixed) + self.shortcut(x)))


class OSNet(Trunk):
    """The convolutional trunk of OSNet; its map is [B, out_channels, H/16, W/16] (H/8 with last_stride 1).

    Args:
        name: a key of `WIDTHS`.
        last_stride: stride of the pooling before the third stage; 1 doubles height and width of the feature map.
    """

    def __init__(self, name: str, last_stride: int = 2) -> None:
        super().__init__()
        widths = WIDTHS[name]
        self.out_channels = widths[-1] * EXPANSION
        self.input_norm = nn.InstanceNorm2d(3, affine=True)
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 7, stride=2, padding=3, bias=False),
            nn.InstanceNorm2d(widths[0], affine=True),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        parts: list[nn.Module] = []
        in_channels = widths[0]
        for number, width in enumerate(widths):
            if number:
                stride = last_stride if number == len(widths) - 1 else 2
                parts.append(nn.AvgPool2d(stride) if stride > 1 else nn.Identity())
            out_channels = width * EXPANSION
            parts += [
                OmniScaleBlock(in_channels, width, _squeeze_excitation(width)),
                OmniScaleBlock(out_channels, width, ChannelTransform(width)),
                _conv_relu(out_channels, out_channels),
            ]
            in_channels = out_channels
        self.parts = nn.Sequential(*parts)

    def sequence(self) -> list[nn.Module]:
        """The stem, then three blocks for each stage with a pooling between the stages: 12 in all."""
        return [nn.Sequential(self.input_norm, self.stem), *self.parts]
