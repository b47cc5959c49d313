"""Batches: where images lie changes nothing, held-out people never appear, every image comes once an epoch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from sal_runtime.errors import InputError
from sal_runtime.images.spec import ImageSpec
from sal_train.config import Config
from sal_train.evaluation.held_out import partition
from sal_train.images.cache import load_images
from sal_train.training_data import TrainingData, assemble_batch, epoch_batches, prepare_training_data
from tests.train.tiny_training import statistics_of, tiny_config, tiny_dataset

PHASES = ("embed_image", "embed_attribute")


def prepared(folder: Path, **sections: dict[str, object]) -> tuple[Config, TrainingData]:
    (folder / "images").mkdir(exist_ok=True)
    dataset = tiny_dataset(folder / "images")
    config = tiny_config(PHASES, **sections)
    images = load_images(dataset.train.image_paths, ImageSpec(32, 16), folder / "cache")
    part = partition(dataset.train, config.data.validation_fraction, config.run.seed)
    return config, prepare_training_data(config, dataset, statistics_of(dataset), part, images, torch.device("cpu"))


def test_resident_images_give_the_same_batch(tmp_path: Path) -> None:
    rows = np.array([3, 0, 7, 7])
    batches = []
    for where in ("always", "never"):
        config, data = prepared(tmp_path, run={"device_resident": where}, data={"batch_size": 4, "pad": 2})
        assert isinstance(data.images, torch.Tensor) == (where == "always")
        batches.append(assemble_batch(config, data, rows, torch.Generator().manual_seed(1)))
    (resident_images, resident), (mapped_images, mapped) = batches
    torch.testing.assert_close(resident_images, mapped_images, rtol=0, atol=0)
    for name in ("attributes", "categories", "noise"):
        torch.testing.assert_close(getattr(resident, name), getattr(mapped, name), rtol=0, atol=0)
    # four real rows, and as many unseen combinations
    assert resident.attributes.shape == (8, 5)
    assert resident_images.shape == (4, 32, 16, 3)
    torch.testing.assert_close(resident.attributes[:4], data.attributes[rows])


def test_an_epoch_takes_every_training_image_once_and_no_held_out_one(tmp_path: Path) -> None:
    config, data = prepared(tmp_path, data={"batch_size": 10, "validation_fraction": 0.25})
    batches = epoch_batches(config, data, total_epochs=0)
    assert sorted(np.concatenate(batches)) == sorted(data.rows)
    assert len(data.rows) == 30  # 6 of 8 categories, 5 images each
    assert (data.labels[data.rows] >= 0).all()
    held_out = np.setdiff1d(np.arange(40), data.rows)
    assert (data.labels[held_out] == -1).all()
    again = epoch_batches(config, data, total_epochs=0)
    np.testing.assert_array_equal(np.concatenate(batches), np.concatenate(again))
    assert (np.concatenate(batches) != np.concatenate(epoch_batches(config, data, total_epochs=1))).any()


def test_a_batch_larger_than_the_data_is_refused(tmp_path: Path) -> None:
    config, data = prepared(tmp_path, data={"batch_size": 41})
    with pytest.raises(InputError, match=r"fewer than data\.batch_size 41"):
        epoch_batches(config, data, total_epochs=0)
