"""Copies of small tensors to the device, without waiting for it."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a CPU tensor to `device` without waiting for it.

    A copy from pageable memory waits until the GPU has finished all earlier work. Several of them in every iteration
    would leave it idle while the next batch is assembled. PyTorch keeps the pinned memory until the copy is done.
    """
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
