"""The training images and labels, on the device where they fit, and the batches of an epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sal_runtime.errors import InputError
from sal_train import distributed
from sal_train.config import Config
from sal_train.datasets import SearchDataset
from sal_train.evaluation.held_out import Partition
from sal_train.images.augment import augment
from sal_train.images.device_copies import to_device
from sal_train.phases import Batch
from sal_train.unseen import UnseenSampler

RESIDENT_SHARE = 0.5
"""Of the free device memory that the training images may take."""


@dataclass(frozen=True)
class TrainingData:
    """The training images and what is drawn from them.

    Attributes:
        images: uint8 RGB [N, H, W, 3], on the device when they fit there.
        attributes: float [N, A].
        labels: int64 [N], positions in C_cat; -1 for held-out rows.
        category_vectors: float [K, A], on the device.
        prior: float [A], on the device.
        pooled: what a frozen trunk gives for the images and their mirror images, float [N, 2, channels].
        taught: what a teacher gives for them, unit vectors [N, d].
    """

    images: NDArray[np.uint8] | Tensor
    attributes: Tensor
    labels: Tensor
    rows: NDArray[np.int64]
    category_vectors: Tensor
    prior: Tensor
    sampler: UnseenSampler
    device: torch.device
    pooled: Tensor | None = None
    taught: Tensor | None = None


def prepare_training_data(
    config: Config, dataset: SearchDataset, part: Partition, images: NDArray[np.uint8], device: torch.device
) -> TrainingData:
    """Put what training needs where it is needed.

    Args:
        config: `run.device_resident` and `unseen` are read.
        dataset: the training split's labels and statistics.
        part: which rows and categories are trained on; the held-out ones are never sampled.
        images: of the training split, uint8 [N, H, W, 3]; copied to the device when they fit.
        device: of the networks.
    """
    split = dataset.train
    position = np.full(int(split.categories.max()) + 1, -1, dtype=np.int64)
    position[part.train_categories] = np.arange(len(part.train_categories))
    vectors = torch.as_tensor(split.category_vectors[part.train_categories])
    prior = torch.as_tensor(dataset.prior, dtype=torch.float32)
    return TrainingData(
        images=torch.tensor(images, device=device) if _fits(config, images, device) else images,
        attributes=torch.as_tensor(split.attributes).float(),
        labels=torch.as_tensor(position[split.categories]),
        rows=part.train,
        category_vectors=vectors.float().to(device),
        prior=prior.to(device),
        sampler=UnseenSampler(config.unseen, dataset.schema, prior, dataset.one_draw_groups, vectors),
        device=device,
    )


def _fits(config: Config, images: NDArray[np.uint8], device: torch.device) -> bool:
    if config.run.device_resident != "auto":
        return config.run.device_resident == "always"
    return device.type == "cuda" and images.nbytes < RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]


def epoch_batches(config: Config, data: TrainingData, total_epochs: int) -> list[NDArray[np.int64]]:
    """Row numbers of this process's share of each batch of an epoch; incomplete batches are dropped."""
    rng = np.random.default_rng((config.run.seed, total_epochs))
    if config.data.sampler == "balanced":
        labels = data.labels.numpy()[data.rows]
        weight = 1.0 / np.sqrt(np.bincount(labels))[labels]
        order = rng.choice(data.rows, size=len(data.rows), p=weight / weight.sum())
    else:
        order = rng.permutation(data.rows)
    size = config.data.batch_size
    share = distributed.share_of_batch(size)
    if len(order) < size:
        raise InputError(f"{len(order)} training images are fewer than data.batch_size {size}; make it smaller")
    starts = range(distributed.rank() * share, len(order) - size + 1 + distributed.rank() * share, size)
    return [order[start : start + share] for start in starts]


def assemble_batch(
    config: Config, data: TrainingData, rows: NDArray[np.int64], generator: torch.Generator
) -> tuple[Tensor, Batch]:
    """Images and labels of some rows, with attribute vectors of unseen categories after those of the rows.

    Args:
        config: `data` says how crops are augmented, `unseen.share` how many vectors are sampled for each row.
        data: from `prepare_training_data`.
        rows: B row numbers of the training split.
        generator: draws augmentation, unseen vectors and noise.

    Returns:
        Augmented crops, RGB float [B, H, W, 3] in 0..255 (or with a frozen trunk its pooled output [B, channels]), and
        the batch with [B + unseen, A] attributes.
    """
    index = torch.as_tensor(rows)
    attributes = data.attributes[index]
    num_unseen = round(config.unseen.share * len(rows))
    if num_unseen:
        attributes = torch.cat([attributes, data.sampler.sample(num_unseen, generator)])
    noise = torch.randn(len(attributes), config.model.noise_dim, generator=generator)
    flipped = torch.rand(len(rows), generator=generator) < config.data.flip
    taught = None if data.taught is None else to_device(data.taught[index], data.device)
    batch = Batch(
        attributes=to_device(attributes, data.device),
        categories=to_device(data.labels[index], data.device),
        noise=to_device(noise, data.device),
        category_vectors=data.category_vectors,
        prior=data.prior,
        taught=taught,
    )
    return _images(config, data, rows, flipped, generator), batch


def _images(
    config: Config, data: TrainingData, rows: NDArray[np.int64], flipped: Tensor, generator: torch.Generator
) -> Tensor:
    index = torch.as_tensor(rows)
    if data.pooled is not None:
        return to_device(data.pooled[index, flipped.long()], data.device)
    if isinstance(data.images, Tensor):
        pixels = data.images[to_device(index, data.device)]
    else:
        pixels = to_device(torch.as_tensor(data.images[rows]), data.device)
    return augment(pixels, flipped, config.data, generator)
