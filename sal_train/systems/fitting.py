"""What of a system is computed instead of trained: before the first epoch, before a validation, before saving."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor

from sal_runtime.arrays import UInt8Array
from sal_train.closed_form.attribute_head import fit_attribute_head
from sal_train.config import SystemConfig
from sal_train.datasets.splits import Split
from sal_train.evaluation.held_out import Partition, own_train_rows
from sal_train.networks import SearchNetworks
from sal_train.systems.system import System, TrainingSet
from sal_train.training_data import TrainingData


def training_set(split: Split, part: Partition, data: TrainingData, inputs: UInt8Array | Tensor) -> TrainingSet:
    """The training images that are not auxiliary.

    Args:
        split: the training split, M images.
        part: rows of the split that are trained on.
        data: labels and statistics of the split.
        inputs: of the image backbone, [M, ...].
    """
    rows = own_train_rows(split, part)
    index = torch.as_tensor(rows)
    known = None if data.known is None else data.known[index]
    vectors, prior = data.category_vectors.cpu(), data.prior.cpu()
    return TrainingSet(inputs, rows, data.attributes[index], known, data.labels[index], vectors, prior)


def prepare(system: System, all_networks: Iterable[SearchNetworks], data: TrainingSet) -> None:
    """Set what a system takes from all training images before its first epoch, in each of the networks."""
    if system.prepare is not None:
        for networks in all_networks:
            system.prepare(networks, data)


def solved(system: System, networks: SearchNetworks, data: TrainingSet, settings: SystemConfig) -> SearchNetworks:
    """The networks, or a copy with what the system solves in closed form."""
    if system.solve is None:
        return networks
    copied = copy.deepcopy(networks).eval()
    with torch.no_grad():
        system.solve(copied, data, settings)
    return copied


def with_fitted_head(networks: SearchNetworks, data: TrainingSet) -> SearchNetworks:
    """The networks, or a copy whose C_att is fitted to their embeddings, if no phase trains it."""
    if not networks.fits_head:
        return networks
    copied = copy.deepcopy(networks).eval()
    inputs = data.outputs(copied, lambda batch: copied.head_input(copied.embed_images(batch)))
    weight, bias = fit_attribute_head(inputs, data.attributes, data.known)
    with torch.no_grad():
        copied.C_att.weight.copy_(weight)
        copied.C_att.bias.copy_(bias)
    return copied
