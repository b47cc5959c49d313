"""The common form of image trunks: a sequence of blocks, of which the first may be frozen."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn


class Trunk(nn.Module):
    """Normalised images float [B, 3, H, W] -> feature map [B, out_channels, h, w].

    Attributes:
        out_channels: of the feature map.
        frozen_blocks: number of blocks, from the input on, that do not train: they run in evaluation mode and without a
            graph, which saves most of the time of a backward pass, because the first blocks have the largest maps.
    """

    out_channels: int
    frozen_blocks = 0

    def sequence(self) -> list[nn.Module]:
        """The parts of the trunk in the order in which they run."""
        raise NotImplementedError

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all blocks that are not frozen."""
        super().train(mode)
        for block in self.sequence()[: self.frozen_blocks]:
            block.eval()
        return self

    def run_frozen(self, x: Tensor) -> Tensor:
        """Normalised images -> output of the frozen blocks, without a graph."""
        with torch.no_grad():
            for block in self.sequence()[: self.frozen_blocks]:
                x = block(x)
        return x

    def run_trained(self, x: Tensor) -> Tensor:
        """Output of the frozen blocks -> feature map."""
        for block in self.sequence()[self.frozen_blocks :]:
            x = block(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Run all blocks."""
        return self.run_trained(self.run_frozen(x) if self.frozen_blocks else x)
