"""EfficientNet-Lite0 trunk, the backbone for edge devices: ReLU6, no squeeze-and-excitation, quantises well.

Architecture: Tan and Le, ICML 2019, in the Lite variant of TensorFlow's model garden. The published ImageNet weights
need TensorFlow's "SAME" padding: an odd pixel goes to the bottom and right.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from sal_train.backbones.trunk import Trunk

# (blocks, kernel, stride, expansion, channels) of each stage
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM_CHANNELS = 32
BATCHNORM_EPS = 1e-3
LAST_STRIDED_STAGE = 5


class SamePadConv2d(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, computed per call because the input size may vary."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, h, w] -> [B, out, ceil(h / stride), ceil(w / stride)]."""
        (kernel, stride) = (self.kernel_size[0], self.stride[0])
        pads = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[-2:]]
        if pads[0] % 2 == 0 and pads[1] % 2 == 0:
            return self._same(x, pads)
        x = functional.pad(x, (pads[1] // 2, pads[1] - pads[1] // 2, pads[0] // 2, pads[0] - pads[0] // 2))
        return self._same(x, [0, 0])

    def _same(self, x: Tensor, pads: list[int]) -> Tensor:
        padding = (pads[0] // 2, pads[1] // 2)
        return functional.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)


def _conv_norm(in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        SamePadConv2d(in_channels, out_channels, kernel, stride=stride, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels, eps=BATCHNORM_EPS, momentum=0.01),
    ]


class InvertedResidual(nn.Module):
    """Expand 1x1, depthwise, project 1x1 (Sandler et al., CVPR 2018); a shortcut if the shape does not change."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [*_conv_norm(in_channels, hidden, 1), nn.ReLU6(inplace=True)]
        layers += [*_conv_norm(hidden, hidden, kernel, stride, groups=hidden), nn.ReLU6(inplace=True)]
        layers += _conv_norm(hidden, out_channels, 1)
        self.layers = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """[B, in, h, w] -> [B, out, h / stride, w / stride]."""
        out = cast(Tensor, self.layers(x))
        return out + x if self.has_shortcut else out


class EfficientNetLite0(Trunk):
    """The convolutional trunk of EfficientNet-Lite0, with its 1x1 head convolution.

    Its map is [B, 1280, H/32, W/32], rounded up (H/16 with last_stride 1).

    Args:
        last_stride: stride of the last strided stage; 1 doubles the height and width of the feature map.
    """

    out_channels = 1280

    def __init__(self, last_stride: int = 2) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_conv_norm(3, STEM_CHANNELS, 3, stride=2), nn.ReLU6(inplace=True))
        blocks: list[nn.Module] = []
        in_channels = STEM_CHANNELS
        for stage, (count, kernel, stage_stride, expansion, channels) in enumerate(STAGES):
            first_stride = last_stride if stage == LAST_STRIDED_STAGE else stage_stride
            for index in range(count):
                stride = first_stride if index == 0 else 1
                blocks.append(InvertedResidual(in_channels, channels, kernel, stride, expansion))
                in_channels = channels
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(*_conv_norm(in_channels, self.out_channels, 1), nn.ReLU6(inplace=True))

    def sequence(self) -> list[nn.Module]:
        """The stem, 16 inverted residuals and the head."""
        return [self.stem, *self.blocks, self.head]
