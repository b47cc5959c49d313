"""The fastest matrix product and copy of the device, measured with PyTorch in the same run as the encoders."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sal_runtime.images.spec import ImageSpec
from scripts.gpu_checks.pytorch import synchronise

REPEATED = 20
MATRIX = {"cuda": 8192, "cpu": 512}
"""Rows and columns of each factor."""
COPIED_BYTES = {"cuda": 1 << 30, "cpu": 1 << 24}
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def count_flops(module: nn.Module, spec: ImageSpec) -> int:
    """Floating-point operations of convolutions and products for one image; a multiply-add is two.

    Args:
        module: an image encoder on the CPU.
        spec: its input.
    """
    image = torch.zeros(1, spec.height, spec.width, 3, dtype=torch.uint8)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(image)
    return int(counter.get_total_flops())


def matmul_tflops(device: str) -> dict[str, float]:
    """10^12 operations a second of a large square matrix product, the fastest of some runs, by precision; no TF32."""
    size = MATRIX[device]
    found = {}
    for precision, dtype in DTYPES.items():
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        product = torch.empty_like(left)
        seconds = _fastest(partial(torch.matmul, left, right, out=product), device)
        found[precision] = 2 * size**3 / seconds / 1e12
    return found


def copy_gb_per_second(device: str) -> dict[str, float]:
    """10^9 bytes a second: read plus written within the device, and copied to it from pageable host memory."""
    source = torch.ones(COPIED_BYTES[device], dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    host = torch.ones(COPIED_BYTES[device] // 8, dtype=torch.uint8)
    within = 2 * source.numel() / _fastest(lambda: target.copy_(source), device)
    from_host = host.numel() / _fastest(lambda: target[: host.numel()].copy_(host), device)
    return {"within_device": within / 1e9, "host_to_device": from_host / 1e9}


def _fastest(work: Callable[[], object], device: str) -> float:
    """Seconds of the fastest run, without the first runs, which choose and load kernels."""
    seconds = []
    for number in range(-3, REPEATED):
        synchronise(device)
        started = time.perf_counter()
        work()
        synchronise(device)
        if number >= 0:
            seconds.append(time.perf_counter() - started)
    return min(seconds)
