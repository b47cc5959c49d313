"""Held-out training categories: the only data that settings and epochs are chosen on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sal_train.datasets import Split
from sal_train.evaluation.metrics import RetrievalMetrics, retrieval_metrics
from sal_train.networks import Networks

ENCODE_BATCH = 256


@dataclass(frozen=True)
class Partition:
    """Rows of the training split that train and that validate; no category is in both.

    Attributes:
        train: int64 row numbers.
        validation: int64 row numbers, empty when nothing is held out.
        train_categories: int64 category numbers of the split, in the order of C_cat.
    """

    train: NDArray[np.int64]
    validation: NDArray[np.int64]
    train_categories: NDArray[np.int64]


def partition(split: Split, fraction: float, seed: int) -> Partition:
    """Hold out `fraction` of the split's own categories, chosen by `seed`.

    Auxiliary images do not change which. Those of a category that is held out are left out of both sides.
    """
    num_own = int(split.categories[: split.num_own].max()) + 1
    held_out = np.random.default_rng(seed).permutation(num_own)[: round(fraction * num_own)]
    is_held_out = np.isin(split.categories, held_out)
    train_categories = np.setdiff1d(np.arange(split.num_categories), held_out)
    return Partition(np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out[: split.num_own]), train_categories)


def own_train_rows(split: Split, part: Partition) -> NDArray[np.int64]:
    """Rows that are trained on and not auxiliary."""
    return part.train[part.train < split.num_own]


@torch.no_grad()
def encode_images(networks: Networks, images: NDArray[np.uint8] | Tensor, rows: NDArray[np.int64]) -> Tensor:
    """Unit embeddings float32 [len(rows), d] on the CPU, networks in evaluation mode.

    Args:
        networks: on any device.
        images: uint8 RGB [N, H, W, 3].
        rows: which of them.
    """
    device = next(networks.parameters()).device
    networks.eval()
    parts = []
    for start in range(0, len(rows), ENCODE_BATCH):
        batch = torch.as_tensor(images[rows[start : start + ENCODE_BATCH]]).to(device)
        parts.append(torch.nn.functional.normalize(networks.embed_images(batch)).cpu())
    return torch.cat(parts)


@torch.no_grad()
def encode_attributes(networks: Networks, vectors: NDArray[np.uint8]) -> Tensor:
    """Unit embeddings float32 [Q, d] on the CPU of attribute vectors [Q, A], networks in evaluation mode."""
    device = next(networks.parameters()).device
    networks.eval()
    embedded = networks.embed_attributes(torch.as_tensor(vectors, dtype=torch.float32, device=device))
    return torch.nn.functional.normalize(embedded).cpu()


def validate(
    networks: Networks, split: Split, images: NDArray[np.uint8] | Tensor, rows: NDArray[np.int64]
) -> RetrievalMetrics:
    """Search the rows `rows` with one full query per category that occurs among them."""
    gallery = encode_images(networks, images, rows)
    categories = split.categories[rows]
    queried, first = np.unique(categories, return_index=True)
    queries = encode_attributes(networks, split.attributes[rows][first])
    return retrieval_metrics((queries @ gallery.T).numpy(), queried[:, None] == categories[None, :])
