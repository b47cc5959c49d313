"""What several processes under `torchrun` need: their rank, equal initial weights, averaged gradients."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed
from torch import Tensor, nn

from sal_runtime.errors import ConfigError


def start_process_group(device: torch.device) -> None:
    """Join the processes that `torchrun` started. A single process does nothing."""
    if "WORLD_SIZE" in os.environ and int(os.environ["WORLD_SIZE"]) > 1:
        torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")


def stop_process_group() -> None:
    """Leave the group. A single process does nothing."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def rank() -> int:
    """Number of this process, 0 for a single one."""
    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def world_size() -> int:
    """Number of processes."""
    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


def barrier() -> None:
    """Wait until every process has reached this line."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def share_of_batch(batch_size: int) -> int:
    """Images per batch and process.

    Raises:
        ConfigError: the batch does not divide evenly among the processes.
    """
    if batch_size % world_size():
        raise ConfigError(f"data.batch_size {batch_size} is not a multiple of {world_size()} processes; change either")
    return batch_size // world_size()


def broadcast_state(module: nn.Module) -> None:
    """Copy the parameters and buffers of process 0 to every process."""
    if torch.distributed.is_initialized():
        for tensor in module.state_dict().values():
            torch.distributed.broadcast(tensor, 0)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes, in one message."""
    if not torch.distributed.is_initialized():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    torch.distributed.all_reduce(flat)
    flat /= world_size()
    sizes = [gradient.numel() for gradient in gradients]
    for gradient, averaged in zip(gradients, torch.split(flat, sizes), strict=True):
        gradient.copy_(averaged.view_as(gradient))


def average_buffers(module: nn.Module) -> None:
    """Average the BatchNorm statistics over the processes, so that it does not matter which one saves the model."""
    if not torch.distributed.is_initialized():
        return
    buffers: list[Tensor] = [buffer for buffer in module.buffers() if buffer.is_floating_point()]
    for buffer in buffers:
        torch.distributed.all_reduce(buffer)
        buffer /= world_size()
