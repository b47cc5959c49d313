"""A system as data: its networks, its phases, and what of it is computed from all training images at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sal_runtime.arrays import Int64Array, UInt8Array
from sal_runtime.query.schema import AttributeSchema
from sal_train.config import Config, SystemConfig
from sal_train.networks import SearchNetworks
from sal_train.phases import Phase

BATCH = 256


@dataclass(frozen=True)
class TrainingSet:
    """The own training images, N of them, for what is computed from all of them at once.

    Attributes:
        inputs: of the image backbone for all images of the split: uint8 RGB [M, H, W, 3], or what the frozen part of
            the trunk gives for them.
        rows: which of them are trained on, int64 [N].
        attributes: of these, float32 [N, A]; 0 or 1, or the probability of what is unknown.
        known: which of these attributes are known, 0 or 1, float32 [N, A]; None if all are.
        categories: of these images, int64 [N], 0..K-1.
        category_vectors: attribute vectors of the training categories, float32 [K, A].
        prior: probability of each attribute in training, float32 [A].
    """

    inputs: UInt8Array | Tensor
    rows: Int64Array
    attributes: Tensor
    known: Tensor | None
    categories: Tensor
    category_vectors: Tensor
    prior: Tensor

    @torch.no_grad()
    def outputs(self, networks: SearchNetworks, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """`compute` of the inputs of the image backbone, batch by batch: float32 [N, ...] on the CPU.

        Args:
            networks: put into evaluation mode; `compute` uses them.
            compute: maps inputs [B, ...] on the device of the networks.
        """
        device = next(networks.parameters()).device
        networks.eval()
        starts = range(0, len(self.rows), BATCH)
        batches = (torch.as_tensor(self.inputs[self.rows[start : start + BATCH]]).to(device) for start in starts)
        return torch.cat([compute(batch).cpu() for batch in batches])


@dataclass(frozen=True)
class System:
    """A system that can be trained, validated, evaluated and (unless it compares pairs by a network) exported.

    Attributes:
        build: makes the networks for a recipe, a schema and a number K of training categories.
        phases: what a stage of a recipe may list, by name.
        prepare: sets, before the first epoch, what depends on all training images: statistics, buffers.
        solve: sets, before each validation, what is solved in closed form. It changes a copy of the networks, the one
            that is validated and saved; training goes on with its own.
    """

    build: Callable[[Config, AttributeSchema, int], SearchNetworks]
    phases: Mapping[str, Phase]
    prepare: Callable[[Any, TrainingSet], None] | None = None
    solve: Callable[[Any, TrainingSet, SystemConfig], None] | None = None


def by_name(*phases: Phase) -> dict[str, Phase]:
    """Phases by their names."""
    return {phase.name: phase for phase in phases}
