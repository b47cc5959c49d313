"""Inputs of the gates: crops and attribute vectors of the training split, or drawn crops."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sal_runtime.arrays import Float32Array, UInt8Array
from sal_runtime.images.pixels import load_image, resize_image
from sal_runtime.images.spec import ImageSpec
from sal_train.checkpoint import Run
from sal_train.datasets.attribute_tree import fill_unknown
from sal_train.datasets.splits import SearchDataset
from sal_train.datasets.synthetic import SCHEMA as SYNTHETIC_SCHEMA
from sal_train.datasets.synthetic import render_pedestrian

NUM_CROPS = 256
NUM_VECTORS = 256
NUM_CALIBRATION = 256


@dataclass(frozen=True)
class GateCrops:
    """Inputs of image encoders.

    Attributes:
        crops: uint8 RGB [N, H, W, 3], to compare encoders on.
        calibration: other crops, uint8 RGB [M, H, W, 3], to calibrate int8 on; empty without a data set.
        described: origin of the crops.
    """

    crops: UInt8Array
    calibration: UInt8Array
    described: str


def gate_inputs(run: Run, spec: ImageSpec, dataset: SearchDataset | None) -> tuple[GateCrops, Float32Array]:
    """Crops of the training split, chosen by the run's seed, or drawn crops if `dataset` is None; attribute vectors.

    The attribute vectors, float32 [Q, A], are those of training categories.
    """
    rng = np.random.default_rng(run.config.run.seed)
    chosen = rng.integers(0, len(run.category_vectors), NUM_VECTORS)
    vectors = fill_unknown(run.statistics, run.category_vectors[chosen], run.category_known[chosen])
    if dataset is None:
        crops, calibration = drawn_crops(spec, NUM_CROPS), np.empty((0, spec.height, spec.width, 3), np.uint8)
        return GateCrops(crops, calibration, f"{NUM_CROPS} drawn pedestrians"), vectors
    return _training_crops(dataset, spec, rng), vectors


def gate_crops(training: Mapping[str, Any], spec: ImageSpec, dataset: SearchDataset) -> GateCrops:
    """The crops on which the export compared a bundle's encoders; `training` is that of its manifest."""
    rng = np.random.default_rng(training["seed"])
    rng.integers(0, training["train_categories"], NUM_VECTORS)  # the export chose its attribute vectors first
    return _training_crops(dataset, spec, rng)


def _training_crops(dataset: SearchDataset, spec: ImageSpec, rng: np.random.Generator) -> GateCrops:
    paths = dataset.train.image_paths[: dataset.train.num_own]
    chosen = rng.permutation(len(paths))[: NUM_CROPS + NUM_CALIBRATION]
    images = np.stack([load_image(paths[row], spec) for row in chosen])
    crops, calibration = images[: (len(images) + 1) // 2], images[(len(images) + 1) // 2 :]
    digest = hashlib.sha256(crops.tobytes()).hexdigest()
    return GateCrops(crops, calibration, f"{len(crops)} training crops of {dataset.name}, sha256 {digest}")


def drawn_crops(spec: ImageSpec, count: int) -> UInt8Array:
    """Drawn pedestrians, uint8 RGB [count, H, W, 3], always the same."""
    rng = np.random.default_rng(0)
    states = np.stack([rng.integers(0, len(group.states), count) for group in SYNTHETIC_SCHEMA.groups], axis=1)
    vectors = SYNTHETIC_SCHEMA.vectors_from_states(states)
    return np.stack([resize_image(render_pedestrian(vector, rng), spec) for vector in vectors])
