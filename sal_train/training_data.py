"""Images and labels of a run, on the device if they fit there, and the batches of an epoch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sal_runtime.arrays import Int64Array, UInt8Array
from sal_runtime.errors import InputError
from sal_runtime.query.statistics import AttributeStatistics
from sal_train import distributed
from sal_train.config import Config
from sal_train.datasets.attribute_tree import fill_unknown
from sal_train.datasets.splits import SearchDataset
from sal_train.evaluation.held_out import Partition
from sal_train.images.augment import augment, erase
from sal_train.images.device_copies import to_device
from sal_train.phases import Batch
from sal_train.unseen import UnseenSampler

RESIDENT_SHARE = 0.5
"""Share of the free device memory that the training images may take."""


@dataclass(frozen=True)
class TrainingData:
    """The training images with their labels and statistics.

    Attributes:
        images: uint8 RGB [N, H, W, 3], a tensor on the device if they fit there.
        attributes: as E_A sees them, float32 [N, A], on the CPU: 0 or 1, or the probability of what is unknown.
        known: which of them are known, 0 or 1, float32 [N, A], on the CPU; None if all are.
        labels: positions in C_cat, int64 [N], on the CPU; -1 for held-out rows.
        rows: images to train on, int64 row numbers.
        category_vectors: attribute vectors of the training categories, float32 [K, A], on the device.
        category_known: which of them are known, float32 [K, A], on the device; None if all are.
        prior: probability of each attribute, float32 [A], on the device.
        sampler: draws unseen attribute vectors.
        device: of the networks.
        computed: output of a frozen trunk, float32 [N, 2, channels], or of its frozen blocks, float16
            [N, 2, h, w, channels], for images and mirror images; or None.
        taught: the teacher's embeddings of the images, unit vectors float32 [N, d], or None.
    """

    images: UInt8Array | Tensor
    attributes: Tensor
    known: Tensor | None
    labels: Tensor
    rows: Int64Array
    category_vectors: Tensor
    category_known: Tensor | None
    prior: Tensor
    sampler: UnseenSampler
    device: torch.device
    computed: Tensor | None = None
    taught: Tensor | None = None


def prepare_training_data(
    config: Config,
    dataset: SearchDataset,
    statistics: AttributeStatistics,
    part: Partition,
    images: UInt8Array,
    device: torch.device,
) -> TrainingData:
    """Put images, labels and statistics on the device or the CPU, where training reads them.

    Args:
        config: `run.device_resident` and `unseen` are read.
        dataset: gives labels and statistics of the training split.
        statistics: fitted to the training split; they fill in what is unknown.
        part: rows and categories to train on; held-out ones are never sampled.
        images: of the training split, uint8 RGB [N, H, W, 3]; copied to the device if they fit.
        device: of the networks.
    """
    split = dataset.train
    position = np.full(int(split.categories.max()) + 1, -1, dtype=np.int64)
    position[part.train_categories] = np.arange(len(part.train_categories))
    attributes = fill_unknown(statistics, split.attributes, split.known)
    _, first = np.unique(split.categories, return_index=True)
    of_categories = first[part.train_categories]
    vectors, known = torch.as_tensor(attributes[of_categories]), torch.as_tensor(split.known[of_categories])
    has_gaps = not split.known.all()
    prior = torch.as_tensor(dataset.prior, dtype=torch.float32)
    return TrainingData(
        images=torch.tensor(images, device=device) if _fits(config, images, device) else images,
        attributes=torch.as_tensor(attributes),
        known=torch.as_tensor(split.known).float() if has_gaps else None,
        labels=torch.as_tensor(position[split.categories]),
        rows=part.train,
        category_vectors=vectors.to(device),
        category_known=known.float().to(device) if has_gaps else None,
        prior=prior.to(device),
        sampler=UnseenSampler(config.unseen, dataset.schema, prior, dataset.one_draw_groups, vectors, known),
        device=device,
    )


def _fits(config: Config, images: UInt8Array, device: torch.device) -> bool:
    if config.run.device_resident != "auto":
        return config.run.device_resident == "always"
    return device.type == "cuda" and images.nbytes < RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]


def epoch_batches(config: Config, data: TrainingData, total_epochs: int) -> list[Int64Array]:
    """Row numbers of each batch of an epoch, this process's share of them; an incomplete last batch is dropped.

    Raises:
        InputError: there are fewer training images than a batch needs.
        ConfigError: the batch does not divide evenly among the processes.
    """
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
        raise InputError(
            f"{len(order)} training images are fewer than data.batch_size {size}; lower it", parameter="settings"
        )
    starts = range(distributed.rank() * share, len(order) - size + 1 + distributed.rank() * share, size)
    return [order[start : start + share] for start in starts]


def assemble_batch(
    config: Config, data: TrainingData, rows: Int64Array, generator: torch.Generator
) -> tuple[Tensor, Batch]:
    """Augmented images and labels of some rows, with sampled unseen attribute vectors.

    Args:
        config: `data` configures the augmentation, `unseen.share` the number of sampled vectors per row.
        data: from `prepare_training_data`.
        rows: B row numbers of the training split.
        generator: draws augmentation, unseen vectors and noise; on the CPU.

    Returns:
        Augmented RGB images, float32 [B, H, W, 3] in 0..255 (or what was computed of them), and the rest of the batch,
        whose attributes are [B + unseen, A].
    """
    index = torch.as_tensor(rows)
    attributes, known = data.attributes[index], None if data.known is None else data.known[index]
    num_unseen = round(config.unseen.share * len(rows))
    if num_unseen:
        unseen, unseen_known = data.sampler.sample(num_unseen, generator)
        attributes = torch.cat([attributes, unseen])
        known = None if known is None else torch.cat([known, unseen_known])
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
        known=None if known is None else to_device(known, data.device),
        category_known=data.category_known,
    )
    return _images(config, data, rows, flipped, generator), batch


def _images(
    config: Config, data: TrainingData, rows: Int64Array, flipped: Tensor, generator: torch.Generator
) -> Tensor:
    index = torch.as_tensor(rows)
    if data.computed is not None:
        computed = to_device(data.computed[index, flipped.long()], data.device)
        return erase(computed, config.data, generator) if computed.ndim == 4 else computed
    if isinstance(data.images, Tensor):
        pixels = data.images[to_device(index, data.device)]
    else:
        pixels = to_device(torch.as_tensor(data.images[rows]), data.device)
    return augment(pixels, flipped, config.data, generator)
