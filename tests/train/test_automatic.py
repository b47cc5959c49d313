"""Which recipe `auto` takes for how much data, on which machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from sal_runtime.errors import InputError
from sal_train.datasets.splits import SearchDataset
from sal_train.recipe import RECIPES, load_config
from sal_train.recipes import automatic
from sal_train.recipes.automatic import choose_recipe
from tests.train.tiny_training import tiny_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> SearchDataset:
    return tiny_dataset(tmp_path)


def repeated(dataset: SearchDataset, images: int) -> SearchDataset:
    """The data set with as many training images."""
    rows = np.arange(images) % len(dataset.train.image_paths)
    train = dataclasses.replace(
        dataset.train,
        image_paths=tuple(dataset.train.image_paths[row] for row in rows),
        attributes=dataset.train.attributes[rows],
        categories=dataset.train.categories[rows],
        identities=tuple(dataset.train.identities[row] for row in rows),
    )
    return dataclasses.replace(dataset, train=train)


@pytest.mark.parametrize("images", [40, 300, 1_000, 3_000, 12_000, 40_000])
def test_every_size_has_enough_updates_and_a_recipe_that_loads(dataset: SearchDataset, images: int) -> None:
    choice = choose_recipe(repeated(dataset, images), "cpu")
    config = load_config(choice.recipe, choice.settings)
    trained = round(images * (1 - config.data.validation_fraction))
    updates = config.epochs * (trained // config.data.batch_size)
    assert choice.recipe == "edge"
    assert updates >= (600 if images >= 300 else 100)
    assert config.data.batch_size <= trained
    assert 6 <= config.epochs <= 60
    assert config.losses.attribute * dataset.schema.num_bits == pytest.approx(1.5)
    assert config.data.validation_fraction == 0.0  # there are eight categories, too few to hold some out
    assert f"{images:,} training images in 8 categories, on a CPU" in choice.why


@pytest.mark.parametrize(("categories", "fraction"), [(24, 0.0), (25, 0.2), (100, 0.2), (150, 0.133), (508, 0.1)])
def test_enough_categories_are_held_out_to_choose_an_epoch(
    dataset: SearchDataset, categories: int, fraction: float
) -> None:
    large = repeated(dataset, 600)
    train = dataclasses.replace(large.train, categories=np.arange(600) % categories)
    choice = choose_recipe(dataclasses.replace(large, train=train), "cpu")
    assert load_config(choice.recipe, choice.settings).data.validation_fraction == fraction


def test_a_gpu_gets_the_large_network_if_nothing_must_be_downloaded(
    dataset: SearchDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    large, small = repeated(dataset, 6_000), repeated(dataset, 600)
    monkeypatch.setattr(automatic, "weights_at_hand", lambda name: True)
    assert choose_recipe(large, "auto").recipe == "sal"
    assert choose_recipe(large, "cuda:1").settings == ()
    assert choose_recipe(large, "cpu").recipe == choose_recipe(small, "auto").recipe == "edge"
    monkeypatch.setattr(automatic, "weights_at_hand", lambda name: False)
    choice = choose_recipe(large, "auto")
    assert choice.recipe == "edge"
    assert "must first download 98 MB" in choice.why


def test_what_is_chosen_is_a_recipe_of_its_own_and_too_little_is_refused(dataset: SearchDataset) -> None:
    assert choose_recipe(dataset, "auto").recipe in RECIPES
    with pytest.raises(InputError, match="too few training images"):
        choose_recipe(repeated(dataset, 1), "cpu")
