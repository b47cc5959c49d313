"""Held-out training categories, the only data on which settings and epochs are chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sal_runtime.arrays import AnyArray, Float32Array, Int64Array, UInt8Array
from sal_train.datasets.splits import Split
from sal_train.evaluation.metrics import retrieval_metrics
from sal_train.networks import SearchNetworks

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
    """Hold out `fraction`, 0..1, of the split's own categories, of each data set among them, chosen by `seed`.

    What is held out of a data set does not depend on the others. Auxiliary images do not change the choice; those of a
    held-out category belong to neither side.
    """
    chosen = []
    for rows in split.rows_by_source():
        own = np.unique(split.categories[rows[rows < split.num_own]])
        chosen.append(own[np.random.default_rng(seed).permutation(len(own))[: round(fraction * len(own))]])
    held_out = np.concatenate(chosen)
    is_held_out = np.isin(split.categories, held_out)
    train_categories = np.setdiff1d(np.arange(split.num_categories), held_out)
    return Partition(np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out[: split.num_own]), train_categories)


def own_train_rows(split: Split, part: Partition) -> Int64Array:
    """Rows to train on that are not auxiliary, int64."""
    return part.train[part.train < split.num_own]


@torch.no_grad()
def encode_images(networks: SearchNetworks, images: UInt8Array | Tensor, rows: Int64Array) -> Tensor:
    """Encode images.

    Args:
        networks: on any device; put into evaluation mode.
        images: uint8 RGB [N, H, W, 3], or what the frozen part of the trunk gives for them.
        rows: images to encode, int64.

    Returns:
        Embeddings to compare (unit vectors, unless the system is pairwise), float32 [len(rows), d] on the CPU.
    """
    device = next(networks.parameters()).device
    networks.eval()
    parts = []
    for start in range(0, len(rows), ENCODE_BATCH):
        batch = torch.as_tensor(images[rows[start : start + ENCODE_BATCH]]).to(device)
        parts.append(networks.comparable(networks.embed_images(batch)).cpu())
    return torch.cat(parts)


@torch.no_grad()
def encode_attributes(networks: SearchNetworks, vectors: AnyArray) -> Tensor:
    """Encode attribute vectors [Q, A] into embeddings to compare, float32 [Q, d] on the CPU, in evaluation mode."""
    device = next(networks.parameters()).device
    networks.eval()
    embedded = networks.embed_attributes(torch.as_tensor(vectors, dtype=torch.float32, device=device))
    return networks.comparable(embedded).cpu()


@torch.no_grad()
def compare(networks: SearchNetworks, queries: Tensor, gallery: Tensor) -> Tensor:
    """Scores of encoded queries [Q, d] for encoded images [N, d], float32 [Q, N] on the CPU."""
    device = next(networks.parameters()).device
    return networks.compare(queries.to(device), gallery.to(device)).cpu()


def validate(
    networks: SearchNetworks, split: Split, attributes: Float32Array, images: UInt8Array | Tensor, rows: Int64Array
) -> dict[str, float]:
    """Search the held-out images of each data set with one full query for each of their categories.

    Args:
        networks: on any device; put into evaluation mode.
        split: the training split, N images.
        attributes: of the images as E_A sees them, float32 [N, A].
        images: of the split, uint8 RGB [N, H, W, 3], or pooled features float32 [N, channels].
        rows: of the held-out images, int64.

    Returns:
        `validation_mAP` and `validation_rank1`, 0..1; with several data sets their mean over these, and behind it both
        for each, such as `validation_mAP_peta`.
    """
    gallery = encode_images(networks, images, rows)
    measured = []
    for own in split.rows_by_source():
        here = np.flatnonzero(np.isin(rows, own))
        if len(here):
            categories = split.categories[rows[here]]
            queried, first = np.unique(categories, return_index=True)
            queries = encode_attributes(networks, attributes[rows[here]][first])
            scores = compare(networks, queries, gallery[torch.as_tensor(here)]).numpy()
            measured.append(retrieval_metrics(scores, queried[:, None] == categories[None, :]))
    metrics = {
        f"validation_{name}": float(np.mean([getattr(result, name) for result in measured]))
        for name in ("mAP", "rank1")
    }
    for source, result in zip(split.source_names, measured, strict=False):
        metrics |= {f"validation_mAP_{source}": result.mAP, f"validation_rank1_{source}": result.rank1}
    return metrics
