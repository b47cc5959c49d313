"""What a fixed trunk sees of every training image and of its mirror image, computed once and kept on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor

from sal_train.array_cache import write_array
from sal_train.networks import ImageBackbone

POOL_BATCH = 128


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
    path = cache_dir / f"pooled-{_key(backbone, images, rows)}.npy"
    if not path.is_file():
        write_array(path, _pool(backbone, images, rows, console))
    pooled = torch.from_numpy(np.load(path, allow_pickle=False))  # [len(rows), 2, channels]
    everything = torch.zeros(len(images), *pooled.shape[1:])
    everything[torch.as_tensor(rows)] = pooled
    return everything


@torch.no_grad()
def _pool(
    backbone: ImageBackbone, images: NDArray[np.uint8] | Tensor, rows: NDArray[np.int64], console: Console
) -> NDArray[np.float32]:
    device = next(backbone.parameters()).device
    training = backbone.training
    backbone.eval()
    starts = range(0, len(rows), POOL_BATCH)
    parts = []
    for start in track(starts, "running the frozen trunk", console=console, disable=not console.is_terminal):
        batch = torch.as_tensor(images[rows[start : start + POOL_BATCH]]).to(device)
        parts.append(torch.stack([backbone.pool(batch), backbone.pool(batch.flip(2))], dim=1).cpu())
    backbone.train(training)
    pooled: NDArray[np.float32] = torch.cat(parts).numpy()
    return pooled


def _key(backbone: ImageBackbone, images: NDArray[np.uint8] | Tensor, rows: NDArray[np.int64]) -> str:
    digest = hashlib.sha256(rows.tobytes())
    for name, tensor in backbone.trunk.state_dict().items():
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    for start in range(0, len(rows), POOL_BATCH):
        part = torch.as_tensor(images[rows[start : start + POOL_BATCH]])
        digest.update(part.cpu().numpy().tobytes())
    return digest.hexdigest()[:24]
