"""Outputs of the frozen part of a trunk for every training image and its mirror image, computed once."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from sal_runtime.arrays import Int64Array, UInt8Array
from sal_train.images.mirrored import compute_mirrored
from sal_train.networks import ImageBackbone


def pool_images(
    backbone: ImageBackbone,
    images: UInt8Array | Tensor,
    rows: Int64Array,
    cache_dir: Path,
    console: Console,
) -> Tensor:
    """The averages of the trunk's output (`ImageBackbone.pool`) for the images `rows` and their mirror images.

    Args:
        backbone: its trunk runs in evaluation mode.
        images: uint8 RGB [N, H, W, 3].
        rows: images to train on and to validate on.
        cache_dir: folder of the result, whose name depends on the trunk, its weights, the stripes and the images.
        console: shows the progress.

    Returns:
        float32 [N, 2, channels] on the CPU; [:, 0] images, [:, 1] mirror images, zeros for images not in `rows`.
    """
    digest = _digest(backbone) + bytes([backbone.config.stripes])
    device = next(backbone.parameters()).device
    training = backbone.training
    backbone.eval()
    pooled = compute_mirrored(backbone.pool, digest, images, rows, (cache_dir, "pooled"), device, console)
    backbone.train(training)
    return pooled


def run_frozen_blocks(
    backbone: ImageBackbone, images: UInt8Array | Tensor, cache_dir: Path, console: Console
) -> Tensor:
    """The output of the trunk's frozen blocks for all images and their mirror images.

    Args:
        backbone: its frozen blocks run in evaluation mode, in bfloat16 on a CPU.
        images: uint8 RGB [N, H, W, 3].
        cache_dir: folder of the result, which is large: some 100 kB an image behind the second stage of an OSNet.
        console: shows the progress.

    Returns:
        float16 [N, 2, h, w, channels], mapped from its file; [:, 0] images, [:, 1] mirror images.
    """
    digest = _digest(backbone) + bytes([backbone.trunk.frozen_blocks])
    device = next(backbone.parameters()).device
    rows = np.arange(len(images))

    def run(batch: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return backbone.trunk.run_frozen(backbone.normalise(batch)).permute(0, 2, 3, 1).half()

    return compute_mirrored(run, digest, images, rows, (cache_dir, "blocks"), device, console)


def _digest(backbone: ImageBackbone) -> bytes:
    """Identifies the trunk and its weights."""
    shape = (backbone.config.backbone, backbone.config.stride_on, backbone.config.last_stride)
    digest = hashlib.sha256(repr(shape).encode())
    for name, tensor in backbone.trunk.state_dict().items():
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    return digest.digest()
