"""ResNet-50 trunk (He et al., CVPR 2016) up to the last feature map, with torchvision's parameter names.

Written out because two published variants must load: V1 (the original, stride on the first 1x1 convolution of a block)
and V1.5 (torchvision's, stride on the 3x3), and because torchvision from PyPI cannot be imported beside a CPU build of
PyTorch.
"""

from __future__ import annotations

from typing import Literal, cast

from torch import Tensor, nn

from sal_train.backbones.trunk import Trunk

StrideOn = Literal["conv1", "conv2"]
EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions with a shortcut; `stride_on` names the strided one."""

    def __init__(self, in_channels: int, channels: int, stride: int, stride_on: StrideOn, eps: float) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_on == "conv1" else (1, stride)
        out_channels = channels * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, channels, 1, stride=first, bias=False)
        self.bn1 = nn.BatchNorm2d(channels, eps=eps)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=second, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels, eps=eps)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels, eps=eps)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels, eps=eps),
            )

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, h, w] -> [B, channels * 4, h / stride, w / stride]."""
        shortcut = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return cast(Tensor, self.relu(out + shortcut))


class ResNet50(Trunk):
    """The convolutional trunk of ResNet-50; its map is [B, 2048, H/32, W/32] (H/16 with last_stride 1).

    Args:
        last_stride: stride of layer4; a 288x144 input gives a 9x5 map with 2 (the paper), 18x9 with 1.
        stride_on: `conv1` for V1 weights, `conv2` for torchvision's.
        eps: of every BatchNorm; V1 weights converted from Keras need 1.001e-5.
    """

    out_channels = 2048

    def __init__(self, last_stride: int = 2, stride_on: StrideOn = "conv2", eps: float = 1e-5) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64, eps=eps)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.in_channels = 64
        self.layer1 = self._layer(64, 3, 1, stride_on, eps)
        self.layer2 = self._layer(128, 4, 2, stride_on, eps)
        self.layer3 = self._layer(256, 6, 2, stride_on, eps)
        self.layer4 = self._layer(512, 3, last_stride, stride_on, eps)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def _layer(self, channels: int, blocks: int, stride: int, stride_on: StrideOn, eps: float) -> nn.Sequential:
        layers = []
        for index in range(blocks):
            layers.append(Bottleneck(self.in_channels, channels, stride if index == 0 else 1, stride_on, eps))
            self.in_channels = channels * EXPANSION
        return nn.Sequential(*layers)

    def sequence(self) -> list[nn.Module]:
        """The stem, then the 16 bottlenecks."""
        stem = nn.Sequential(self.conv1, self.bn1, self.relu, self.maxpool)
        return [stem, *self.layer1, *self.layer2, *self.layer3, *self.layer4]
