"""Features of a frozen trunk for every training image and its mirror image."""

from __future__ import annotations

import hashlib
from pathlib import Path

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
    """The trunk's averaged output for the images `rows` and their mirror images.

    Args:
        backbone: its trunk runs in evaluation mode.
        images: uint8 RGB [N, H, W, 3].
        rows: images to train on and to validate on.
        cache_dir: folder of the result, whose name depends on the trunk, its weights, the pooling and the images.
        console: shows the progress.

    Returns:
        float32 [N, 2, channels] on the CPU; [:, 0] images, [:, 1] mirror images, zeros for images not in `rows`.
    """
    digest = hashlib.sha256(f"{backbone.trunk} {backbone.stripes}".encode())  # layers with their strides
    for name, tensor in backbone.trunk.state_dict().items():
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    device = next(backbone.parameters()).device
    training = backbone.training
    backbone.eval()
    pooled = compute_mirrored(backbone.pool, digest.digest(), images, rows, (cache_dir, "pooled"), device, console)
    backbone.train(training)
    return pooled
