"""Outputs of a fixed network for views of images, which are as they are or mirrored, computed once and kept on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from sal_runtime.arrays import Int64Array, UInt8Array
from sal_runtime.files import make_cache, whole_file

BATCH = 128
BOTH = (False, True)
"""An image as it is, then its mirror image."""


def compute_views(
    network: Callable[[Tensor], Tensor],
    weights: bytes,
    images: UInt8Array | Tensor,
    rows: Int64Array,
    cache: tuple[Path, str],
    device: torch.device,
    console: Console,
    flips: tuple[bool, ...] = BOTH,
) -> Tensor:
    """The output of a network for views of the images `rows`.

    Args:
        network: RGB images [B, H, W, 3] -> float32 or float16 [B, ...], in evaluation mode.
        weights: identify the network: its weights or a digest of them.
        images: uint8 RGB [N, H, W, 3]. Mapped images (`images.cache`) are identified by the name of their file, which
            is that of their content; others by their pixels.
        rows: images to run the network on.
        cache: folder of the result, and the first word of its name; weights, views and pixels give the rest of the
            name.
        device: of the network.
        console: shows the progress.
        flips: of each of V views, whether it is the mirror image.

    Returns:
        [N, V, ...] on the CPU, zeros for images not in `rows`. If `rows` are all images, it is mapped from the file.
    """
    folder, word = cache
    path = folder / f"{word}-{_key(weights + bytes(flips), images, rows)}.npy"
    if not path.is_file():
        make_cache(folder)
        with whole_file(path) as temporary:
            _compute(network, images, rows, device, console, temporary, flips)
    # copy on write: torch takes no read-only arrays, and the file stays as it is
    kept = torch.from_numpy(np.load(path, mmap_mode="c", allow_pickle=False))  # [len(rows), V, ...]
    if np.array_equal(rows, np.arange(len(images))):
        return kept
    everything = torch.zeros(len(images), *kept.shape[1:], dtype=kept.dtype)
    everything[torch.as_tensor(rows)] = kept
    return everything


@torch.no_grad()
def _compute(
    network: Callable[[Tensor], Tensor],
    images: UInt8Array | Tensor,
    rows: Int64Array,
    device: torch.device,
    console: Console,
    path: Path,
    flips: tuple[bool, ...],
) -> None:
    """Write the outputs batch by batch, because they may be larger than the memory."""
    outputs: np.memmap[Any, Any] | None = None
    starts = range(0, len(rows), BATCH)
    for start in track(starts, "running the fixed network", console=console, disable=not console.is_terminal):
        batch = torch.as_tensor(images[rows[start : start + BATCH]]).to(device)
        views = torch.stack([network(batch.flip(2) if flip else batch) for flip in flips], dim=1).cpu().numpy()
        if outputs is None:
            shape = (len(rows), *views.shape[1:])
            outputs = np.lib.format.open_memmap(path, mode="w+", dtype=views.dtype, shape=shape)
        outputs[start : start + BATCH] = views


def _key(weights: bytes, images: UInt8Array | Tensor, rows: Int64Array) -> str:
    digest = hashlib.sha256(weights + rows.tobytes())
    if isinstance(images, np.memmap) and images.filename is not None:
        digest.update(Path(images.filename).name.encode())
        return digest.hexdigest()[:24]
    for start in range(0, len(rows), BATCH):
        digest.update(torch.as_tensor(images[rows[start : start + BATCH]]).cpu().numpy().tobytes())
    return digest.hexdigest()[:24]
