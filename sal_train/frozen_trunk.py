"""Outputs of the frozen part of a trunk for every training image and its mirror image, computed once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from sal_runtime.arrays import Int64Array, UInt8Array
from sal_train.images.views import BOTH, compute_views
from sal_train.networks import ImageBackbone


def pool_images(
    backbone: ImageBackbone,
    images: UInt8Array | Tensor,
    rows: Int64Array,
    cache_dir: Path,
    console: Console,
    flips: tuple[bool, ...] = BOTH,
) -> Tensor:
    """The averages of the trunk's output (`ImageBackbone.pool`) for views of the images `rows`.

    Args:
        backbone: its trunk runs in evaluation mode.
        images: uint8 RGB [N, H, W, 3].
        rows: images to pool.
        cache_dir: folder of the result, whose name depends on the trunk, its weights, the stripes, the images and the
            views.
        console: shows the progress.
        flips: of each of V views, whether it is the mirror image.

    Returns:
        float32 [N, V, channels] on the CPU, zeros for images not in `rows`.
    """
    return _pool(backbone, backbone.pool, images, rows, cache_dir, console, flips)


def pool_blocks(backbone: ImageBackbone, blocks: Tensor, rows: Int64Array, cache_dir: Path, console: Console) -> Tensor:
    """As `pool_images`, from what `run_frozen_blocks` gave for the images, which saves most of the time.

    Args:
        backbone: its other blocks run in float32, in evaluation mode.
        blocks: float16 [N, 2, h, w, channels].
        rows: images to pool.
        cache_dir: folder of the result.
        console: shows the progress.

    Returns:
        float32 [N, 2, channels] on the CPU, zeros for images not in `rows`.
    """
    views = (2 * rows[:, None] + np.arange(2)).reshape(-1)
    pooled = _pool(backbone, backbone.pooled, blocks.flatten(0, 1), views, cache_dir, console, (False,))
    return pooled.reshape(len(blocks), 2, -1)


def _pool(
    backbone: ImageBackbone,
    pool: Callable[[Tensor], Tensor],
    images: UInt8Array | Tensor,
    rows: Int64Array,
    cache_dir: Path,
    console: Console,
    flips: tuple[bool, ...],
) -> Tensor:
    digest = _digest(backbone, backbone.trunk.sequence()) + bytes([backbone.config.stripes])
    device = next(backbone.parameters()).device
    training = backbone.training
    backbone.eval()
    pooled = compute_views(pool, digest, images, rows, (cache_dir, "pooled"), device, console, flips)
    backbone.train(training)
    return pooled


def run_frozen_blocks(
    backbone: ImageBackbone,
    images: UInt8Array | Tensor,
    precision: Literal["fp32", "bf16"],
    cache_dir: Path,
    console: Console,
) -> Tensor:
    """The output of the trunk's frozen blocks for all images and their mirror images.

    Args:
        backbone: its frozen blocks run in evaluation mode.
        images: uint8 RGB [N, H, W, 3].
        precision: in which they run.
        cache_dir: folder of the result, which is large: some 100 kB an image behind the second stage of an OSNet.
        console: shows the progress.

    Returns:
        float16 [N, 2, h, w, channels], mapped from its file; [:, 0] images, [:, 1] mirror images.
    """
    # not of the other blocks: they train, and a continued run would find nothing under their present weights
    frozen = backbone.trunk.sequence()[: backbone.trunk.frozen_blocks]
    digest = _digest(backbone, frozen) + bytes([backbone.trunk.frozen_blocks]) + precision.encode()
    device = next(backbone.parameters()).device
    rows = np.arange(len(images))

    def run(batch: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            return backbone.trunk.run_frozen(backbone.normalise(batch)).permute(0, 2, 3, 1).half()

    return compute_views(run, digest, images, rows, (cache_dir, "blocks"), device, console)


def _digest(backbone: ImageBackbone, blocks: Sequence[nn.Module]) -> bytes:
    """Identifies the kind of the trunk, and the weights of some of its blocks."""
    shape = (backbone.config.backbone, backbone.config.stride_on, backbone.config.last_stride)
    digest = hashlib.sha256(repr(shape).encode())
    identified = {id(tensor) for block in blocks for tensor in block.state_dict(keep_vars=True).values()}
    for name, tensor in backbone.trunk.state_dict(keep_vars=True).items():
        if id(tensor) in identified:
            digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
    return digest.digest()
