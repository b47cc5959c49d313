"""A finished run, searched with the full description of every category of a protocol."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from sal_runtime.arrays import BoolArray, Float32Array, Int64Array, UInt8Array
from sal_runtime.errors import InputError
from sal_runtime.images.spec import ImageSpec
from sal_train.checkpoint import Run
from sal_train.datasets.splits import SearchDataset, Split
from sal_train.evaluation.held_out import encode_attributes, encode_images, partition
from sal_train.frozen_trunk import pool_images
from sal_train.images.cache import load_images


@dataclass(frozen=True)
class RankedRun:
    """Queries, images, and the cosines between them.

    Attributes:
        split: the split that holds the images.
        rows: of the images in the split, int64 `[N]`.
        pooled: what the encoder took: images of the whole split, or their pooled features float32 `[split, channels]`.
        embeddings: of the images, unit vectors float32 `[N, d]`.
        vectors: the queries, uint8 `[Q, A]`.
        queries: their embeddings, unit vectors float32 `[Q, d]`.
        categories: of the images, int64 `[N]`, the row of their query.
        seen: bool `[Q]`, whether the category occurs in training.
    """

    split: Split
    rows: Int64Array
    pooled: UInt8Array | Tensor
    embeddings: Float32Array
    vectors: UInt8Array
    queries: Float32Array
    categories: Int64Array
    seen: BoolArray

    @property
    def scores(self) -> Float32Array:
        """Cosines, float32 `[Q, N]`."""
        return np.asarray(self.queries @ self.embeddings.T)

    @property
    def relevance(self) -> BoolArray:
        """Whether an image is of the query's category, bool `[Q, N]`."""
        return np.equal.outer(np.arange(len(self.queries)), self.categories)


def rank_run(run: Run, dataset: SearchDataset, cache: Path, device: torch.device, held_out: bool) -> RankedRun:
    """Encode a protocol with a run.

    Args:
        run: trained on this data set.
        dataset: whose images are searched.
        cache: folder of decoded images and pooled features, those that training uses.
        device: runs the networks.
        held_out: search the training categories that the run held out, instead of the test split.

    Raises:
        InputError: the run held none out.
    """
    split, seen = dataset.test, dataset.seen
    rows = np.arange(len(split.categories))
    if held_out:
        split, data = dataset.train, run.config.data
        rows = partition(split, data.validation_fraction, data.validation_seed).validation
        if not len(rows):
            raise InputError(f"{run.path.name} held no categories out; it can be measured on the test split only")
    networks = run.networks.to(device)
    images: UInt8Array | Tensor
    images = load_images(split.image_paths, ImageSpec(run.config.model.height, run.config.model.width), cache)
    if all(stage.frozen_trunk for stage in run.config.stages if stage.epochs):
        everything = np.arange(len(images))
        images = pool_images(networks.image_backbone, images, everything, cache, Console(stderr=True))[:, 0]
    queried, categories = np.unique(split.categories[rows], return_inverse=True)
    vectors = split.category_vectors[queried]
    return RankedRun(
        split=split,
        rows=rows,
        pooled=images,
        embeddings=encode_images(networks, images, rows).numpy(),
        vectors=vectors,
        queries=encode_attributes(networks, vectors).numpy(),
        categories=categories.astype(np.int64),
        seen=np.zeros(len(queried), dtype=bool) if held_out else seen,
    )
