"""Small tensors of a batch on their way to the device."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to `device` without waiting for it.

    A copy from ordinary memory waits until the GPU has done all that was asked of it before; several of them in every
    iteration would leave it idle while the next batch is put together. PyTorch keeps the pinned memory until then.
    """
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
