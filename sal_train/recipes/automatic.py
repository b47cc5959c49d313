"""`auto`: which recipe, with which settings, fits a data set and a machine.

The small network of `edge` is the choice on a CPU and for small data: its weights are installed with sal, and it learns
in minutes. A few hundred images give a handful of batches, so the batch shrinks and the epochs grow until there are
enough updates to train the attribute head, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from sal_runtime.errors import InputError
from sal_train.backbones.pretrained import weights_at_hand
from sal_train.datasets.splits import SearchDataset

LARGE = 5_000
"""Training images from which a ResNet-50 is better than the small network."""
UPDATES = 600
"""Iterations that a training should have; `edge` has a thousand on Market-1501."""
EPOCHS = (6, 60)
"""The fewest and the most epochs."""
BATCHES = ((400, 16), (2_000, 32))
"""Images in a batch for fewer training images than the first number; 64 for more."""
HELD_OUT = 20
"""Held-out categories that choose among epochs with some reliability; a tenth to a fifth of all are held out."""
FEWEST_CATEGORIES = 25
"""Training categories below which none is held out: a fifth of them could not choose among epochs."""
ATTRIBUTE_WEIGHT = 1.5
"""Weight of L_att, which is a sum over all attributes, divided by their number: `edge` on Market-1501."""


@dataclass(frozen=True)
class Choice:
    """A recipe for a data set.

    Attributes:
        recipe: its name.
        settings: what differs from it, as `key=value`.
        why: one sentence for people.
        needs: what it takes from the machine, one sentence.
    """

    recipe: str
    settings: tuple[str, ...]
    why: str
    needs: str


def choose_recipe(dataset: SearchDataset, device: str) -> Choice:
    """The recipe for a data set on a device.

    Args:
        dataset: loaded.
        device: `auto`, `cpu`, `cuda` or `cuda:N`, as for `run.device`.

    Raises:
        InputError: there are too few training images to learn from.
    """
    images, categories = dataset.train.num_own, dataset.train.num_categories
    on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    data = f"{images:,} training images in {categories:,} categories"
    if on_gpu and images >= LARGE and weights_at_hand("resnet50"):
        needs = "a GPU with 8 GB; the weights of its ResNet-50 are on this machine"
        return Choice("sal", (), f"{data}, enough for a ResNet-50, and a GPU", needs)
    why = f"{data}, on {'a GPU' if on_gpu else 'a CPU'}"
    if on_gpu and images >= LARGE:
        why += "; `sal` would suit them, but must first download 98 MB of weights"
    needs = "no download: the weights of its EfficientNet-Lite0 are installed"
    return Choice("edge", _small_data_settings(dataset), why, needs)


def _small_data_settings(dataset: SearchDataset) -> tuple[str, ...]:
    categories = dataset.train.num_categories
    fraction = round(min(0.2, max(0.1, HELD_OUT / categories)), 3) if categories >= FEWEST_CATEGORIES else 0.0
    images = round((1 - fraction) * dataset.train.num_own)
    if images < 2:
        raise InputError(f"{dataset.name}: too few training images ({dataset.train.num_own}); add some")
    batch = min(next((size for limit, size in BATCHES if images < limit), 64), images)
    epochs = min(max(math.ceil(UPDATES / (images // batch)), EPOCHS[0]), EPOCHS[1])
    return (
        f"data.batch_size={batch}",
        f"data.validation_fraction={fraction}",
        f"data.validate_every={max(1, epochs // 10)}",
        f"losses.attribute={min(1.0, ATTRIBUTE_WEIGHT / dataset.schema.num_bits):.3f}",
        f"stages.0.epochs={epochs}",
    )
