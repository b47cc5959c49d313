"""The error of decoders, and the distance of channels."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def squared_error(x: Tensor, x_hat: Tensor) -> Tensor:
    """Squared distance of the rows of two matrices [B, n], summed over coordinates, averaged over the batch.

    Wang et al., ICML 2015, eq. 5; the same in the code of 2WayNet.
    """
    return functional.mse_loss(x_hat, x, reduction="sum") / len(x)
