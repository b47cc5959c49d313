"""Held-out training categories, the only data on which settings and epochs are chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sal_runtime.arrays import Int64Array, UInt8Array
from sal_train.datasets.splits import Split
from sal_train.evaluation.metrics import RetrievalMetrics, retrieval_metrics
from sal_train.networks import Networks

ENCODE_BATCH = 256


@dataclass(frozen=True)
class Partition:
    """Rows of the training split to train on and to validate on; they share no category.

    Attributes:
        train: row numbers, int64.
        validation: row numbers, int64; empty if nothing is held out.
        train_categories: category numbers of the split in the order of C_cat, int64 [K].
    """

    train: Int64Array
    validation: Int64Array
    train_categories: Int64Array


def partition(split: Split, fraction: float, seed: int) -> Partition:
    """Hold out `fraction`, 0..1, of the split's own categories, chosen by `seed`.

    Auxiliary images do not change the choice; those of a held-out category belong to neither side.
    """
    num_own = int(split.categories[: split.num_own].max()) + 1
    held_out = np.random.default_rng(seed).permutation(num_own)[: round(fraction * num_own)]
    is_held_out = np.isin(split.categories, held_out)
    train_categories = np.setdiff1d(np.arange(split.num_categories), held_out)
    return Partition(np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out[: split.num_own]), train_categories)


def own_train_rows(split: Split, part: Partition) -> Int64Array:
    """Rows to train on that are not auxiliary, int64."""
    return part.train[part.train < split.num_own]


@torch.no_grad()
def encode_images(networks: Networks, images: UInt8Array | Tensor, rows: Int64Array) -> Tensor:
    """Encode images.

    Args:
        networks: on any device; put into evaluation mode.
        images: uint8 RGB [N, H, W, 3], or what the frozen part of the trunk gives for them.
        rows: images to encode, int64.

    Returns:
        Unit embeddings, float32 [len(rows), d] on the CPU.
    """
    device = next(networks.parameters()).device
    networks.eval()
    parts = []
    for start in range(0, len(rows), ENCODE_BATCH):
        batch = torch.as_tensor(images[rows[start : start + ENCODE_BATCH]]).to(device)
        parts.append(torch.nn.functional.normalize(networks.embed_images(batch)).cpu())
    return torch.cat(parts)


@torch.no_grad()
def encode_attributes(networks: Networks, vectors: UInt8Array) -> Tensor:
    """Encode attribute vectors uint8 [Q, A] into unit embeddings float32 [Q, d] on the CPU, in evaluation mode."""
    device = next(networks.parameters()).device
    networks.eval()
    embedded = networks.embed_attributes(torch.as_tensor(vectors, dtype=torch.float32, device=device))
    return torch.nn.functional.normalize(embedded).cpu()


def validate(networks: Networks, split: Split, images: UInt8Array | Tensor, rows: Int64Array) -> RetrievalMetrics:
    """Retrieval metrics of searching the images `rows` with one full query for each of their categories."""
    gallery = encode_images(networks, images, rows)
    categories = split.categories[rows]
    queried, first = np.unique(categories, return_index=True)
    queries = encode_attributes(networks, split.attributes[rows][first])
    return retrieval_metrics((queries @ gallery.T).numpy(), queried[:, None] == categories[None, :])
