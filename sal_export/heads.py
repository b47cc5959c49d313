"""The attribute head, adapted to the unit vectors that a gallery holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sal_runtime.arrays import Float32Array
from sal_train.networks import SearchNetworks


@dataclass(frozen=True)
class UnitHead:
    """Attribute logits of a unit vector e: `scale * weight @ e + bias`.

    Attributes:
        weight: float32 [A, d].
        bias: float32 [A].
        scale: positive.
        error: differences of its probabilities from those of C_att on the same crops: `max_probability_difference`,
            `mean_probability_difference`, and `same_decision`, the share of equal decisions at 1/2.
    """

    weight: Float32Array
    bias: Float32Array
    scale: float
    error: dict[str, float]

    def arrays(self) -> dict[str, Any]:
        """The arrays of heads.npz."""
        return {"weight": self.weight, "bias": self.bias, "scale": np.float32(self.scale)}


@torch.no_grad()
def unit_head(networks: SearchNetworks, embeddings: torch.Tensor) -> UnitHead:
    """The head for unit vectors.

    With `unit_heads`, C_att was trained on scaled directions and the head is exact. Otherwise C_att was trained on
    embeddings of varying length; the head assumes their mean length, and `error` tells what that costs.

    Args:
        networks: in evaluation mode, on the CPU.
        embeddings: outputs of E_V for crops, not normalised, float32 [N, d].
    """
    exact = networks.config.unit_heads
    scale = float(networks.head_scale) if exact else float(embeddings.norm(dim=1).mean())
    weight, bias = networks.C_att.weight.float(), networks.C_att.bias.float()
    expected = networks.attribute_logits(embeddings).sigmoid()
    got = (scale * torch.nn.functional.normalize(embeddings) @ weight.T + bias).sigmoid()
    error = {
        "max_probability_difference": float((got - expected).abs().max()),
        "mean_probability_difference": float((got - expected).abs().mean()),
        "same_decision": float(((got > 0.5) == (expected > 0.5)).float().mean()),
    }
    return UnitHead(weight.numpy().copy(), bias.numpy().copy(), scale, error)
