"""What a fixed network gives for training images and their mirror images, computed once and kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor

from sal_runtime.files import whole_file

BATCH = 128


def compute_mirrored(
    network: Callable[[Tensor], Tensor],
    weights: bytes,
    images: NDArray[np.uint8] | Tensor,
    rows: NDArray[np.int64],
    cache: tuple[Path, str],
    device: torch.device,
    console: Console,
) -> Tensor:
    """The output of a network for the images `rows` and for their mirror images.

    Args:
        network: RGB images [B, H, W, 3] -> [B, d], in evaluation mode.
        weights: what tells the network from others, its weights or a digest of them.
        images: uint8 RGB [N, H, W, 3].
        rows: the images that are trained on.
        cache: the folder that holds the result, and a word its name begins with; the rest follows from weights and
            pixels.
        device: of the network.
        console: shows the progress.

    Returns:
        float32 [N, 2, d] on the CPU, zeros for images that are not in `rows`; [:, 1] is of the mirror images.
    """
    folder, word = cache
    path = folder / f"{word}-{_key(weights, images, rows)}.npy"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        outputs = _compute(network, images, rows, device, console)
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.save(file, outputs)
    kept = torch.from_numpy(np.load(path, allow_pickle=False))  # [len(rows), 2, d]
    everything = torch.zeros(len(images), *kept.shape[1:])
    everything[torch.as_tensor(rows)] = kept
    return everything


@torch.no_grad()
def _compute(
    network: Callable[[Tensor], Tensor],
    images: NDArray[np.uint8] | Tensor,
    rows: NDArray[np.int64],
    device: torch.device,
    console: Console,
) -> NDArray[np.float32]:
    parts = []
    starts = range(0, len(rows), BATCH)
    for start in track(starts, "running the fixed network", console=console, disable=not console.is_terminal):
        batch = torch.as_tensor(images[rows[start : start + BATCH]]).to(device)
        parts.append(torch.stack([network(batch), network(batch.flip(2))], dim=1).cpu())
    computed: NDArray[np.float32] = torch.cat(parts).numpy()
    return computed


def _key(weights: bytes, images: NDArray[np.uint8] | Tensor, rows: NDArray[np.int64]) -> str:
    digest = hashlib.sha256(weights + rows.tobytes())
    for start in range(0, len(rows), BATCH):
        digest.update(torch.as_tensor(images[rows[start : start + BATCH]]).cpu().numpy().tobytes())
    return digest.hexdigest()[:24]
