"""What a frozen trunk sees of every training image and of its mirror image."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from sal_train.images.mirrored import compute_mirrored
from sal_train.networks import ImageBackbone


def pool_images(
    backbone: ImageBackbone,
    images: NDArray[np.uint8] | Tensor,
    rows: NDArray[np.int64],
    cache_dir: Path,
    console: Console,
) -> Tensor:
    """The trunk's averaged output for the images `rows` and their mirror images.

    Args:
        backbone: its trunk is run in evaluation mode.
        images: uint8 RGB [N, H, W, 3].
        rows: the images that are trained on.
        cache_dir: holds the result under a name that follows from weights and pixels.
        console: shows the progress.

    Returns:
        float32 [N, 2, channels] on the CPU, zeros for images that are not in `rows`; [:, 1] is of the mirror images.
    """
    digest = hashlib.sha256()
    for name, tensor in backbone.trunk.state_dict().items():
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    device = next(backbone.parameters()).device
    training = backbone.training
    backbone.eval()
    pooled = compute_mirrored(backbone.pool, digest.digest(), images, rows, (cache_dir, "pooled"), device, console)
    backbone.train(training)
    return pooled
