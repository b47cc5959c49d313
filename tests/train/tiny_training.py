"""A model, a batch and a data set small enough for tests of training."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from sal_runtime.query.schema import AttributeSchema, binary, exclusive
from sal_runtime.query.statistics import AttributeStatistics
from sal_train.config import Config
from sal_train.datasets.attribute_tree import fit_statistics
from sal_train.datasets.splits import SearchDataset, Split
from sal_train.networks import Networks
from sal_train.phases import Batch
from sal_train.recipe import config_from_tree

SCHEMA = AttributeSchema(
    "tiny",
    (
        binary("hat", 0),
        binary("gender", 1, absent="male", present="female", sensitive=True),
        exclusive("upper-colour", {"red": 2, "green": 3, "blue": 4}, allow_none=True),
    ),
)
COLOURS = {2: (200, 40, 40), 3: (40, 200, 40), 4: (40, 40, 200)}
MODEL = {
    "backbone": "efficientnet_lite0",
    "weights": "none",
    "height": 32,
    "width": 16,
    "feature_dim": 12,
    "embedding_dim": 8,
    "noise_dim": 4,
}


def tiny_config(phases: tuple[str, ...], epochs: int = 2, **sections: dict[str, object]) -> Config:
    """A configuration of one stage for the tiny data set."""
    tree: dict[str, object] = {
        "model": MODEL | sections.pop("model", {}),
        "data": {"batch_size": 8} | sections.pop("data", {}),
        "run": {"device": "cpu"} | sections.pop("run", {}),
        "stages": [{"phases": list(phases), "epochs": epochs, "learning_rate": 1e-3}],
    }
    return config_from_tree(tree | sections)


def tiny_batch(config: Config, num_categories: int = 5, unseen: int = 8) -> tuple[torch.Tensor, Batch]:
    """Random images [8, 32, 16, 3] and the rest of a batch."""
    generator = torch.Generator().manual_seed(3)
    size = config.data.batch_size
    vectors = torch.randint(0, 2, (num_categories, SCHEMA.num_bits), generator=generator).float()
    categories = torch.randint(0, num_categories, (size,), generator=generator)
    sampled = torch.randint(0, 2, (unseen, SCHEMA.num_bits), generator=generator).float()
    batch = Batch(
        attributes=torch.cat([vectors[categories], sampled]),
        categories=categories,
        noise=torch.randn(size + unseen, config.model.noise_dim, generator=generator),
        category_vectors=vectors,
        prior=torch.full((SCHEMA.num_bits,), 0.3),
        taught=torch.nn.functional.normalize(torch.randn(size, config.model.embedding_dim, generator=generator)),
    )
    images = 255.0 * torch.rand(size, config.model.height, config.model.width, 3, generator=generator)
    return images, batch


def tiny_networks(config: Config, num_categories: int = 5) -> Networks:
    """Freshly initialised, always the same."""
    torch.manual_seed(11)
    return Networks(config.model, SCHEMA.num_bits, num_categories)


def tiny_dataset(folder: Path, images_per_category: int = 5) -> SearchDataset:
    """Coloured rectangles: 12 categories, 8 of them for training; a hat is a white stripe, a woman has a dark foot."""
    rng = np.random.default_rng(5)
    paths: list[Path] = []
    rows: list[np.ndarray] = []
    for number in range(12):
        vector = np.zeros(SCHEMA.num_bits, dtype=np.uint8)
        vector[0], vector[1], vector[2 + number % 3] = number // 3 % 2, number // 6, 1
        for copy in range(images_per_category):
            image = rng.integers(0, 60, (32, 16, 3), dtype=np.uint8)
            image[8:24, 3:13] = COLOURS[2 + number % 3]
            if vector[0]:
                image[2:6, 4:12] = 250
            if vector[1]:
                image[26:] = 0
            path = folder / f"{number:02d}_{copy}.png"
            cv2.imwrite(str(path), image[:, :, ::-1])
            paths.append(path)
            rows.append(vector)
    cut = 8 * images_per_category
    train, test = _split(paths[:cut], rows[:cut]), _split(paths[cut:], rows[cut:])
    return SearchDataset(
        name="tiny",
        schema=SCHEMA,
        train=train,
        test=test,
        seen=np.zeros(4, dtype=bool),
        prior=train.attributes.mean(axis=0),
        one_draw_groups=("upper-colour",),
        notes=(),
        attribution="made for tests",
        licence="Apache-2.0",
    )


def statistics_of(dataset: SearchDataset) -> AttributeStatistics:
    """Statistics of the training split."""
    return fit_statistics(dataset.schema, dataset.train.attributes)


def _split(paths: list[Path], rows: list[np.ndarray]) -> Split:
    attributes = np.stack(rows)
    _, first, inverse = np.unique(attributes, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    return Split(tuple(paths), attributes, order[inverse].astype(np.int64), tuple("" for _ in paths))
