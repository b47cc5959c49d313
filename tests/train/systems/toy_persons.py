"""People without pictures: image features are a linear map of their attributes, and noise. Half of them are unseen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sal_runtime.query.schema import AttributeSchema, binary, exclusive
from sal_train import iteration
from sal_train.config import Config
from sal_train.evaluation.held_out import compare, encode_attributes
from sal_train.evaluation.metrics import retrieval_metrics
from sal_train.networks import SearchNetworks
from sal_train.phases import Batch
from sal_train.recipe import load_config
from sal_train.systems import fitting
from sal_train.systems.system import TrainingSet
from sal_train.systems.table import build_networks, system_of

SCHEMA = AttributeSchema(
    "toy",
    (
        *(binary(name, number) for number, name in enumerate(("hat", "bag", "skirt", "scarf"))),
        exclusive("colour", {"red": 4, "green": 5, "blue": 6}, allow_none=True),
    ),
)
CATEGORIES, SEEN, IMAGES, CHANNELS = 20, 10, 30, 128
SMALL = {
    "dcca": ("model.embedding_dim=5", "system.cca.image_hidden=[]", "system.cca.attribute_hidden=[]"),
    "dccae": ("model.embedding_dim=5", "system.cca.image_hidden=[]", "system.cca.attribute_hidden=[]"),
    "deepmar": ("model.dropout=0.1",),
    "2waynet": ("system.two_way.hidden=[32, 16, 12]", "system.two_way.dropout=0.1"),
    "cmce-like": ("model.feature_dim=16", "model.embedding_dim=8", "model.encoders=linear"),
    "revise-like": ("system.revise.code=16", "model.embedding_dim=8"),
    "mmcc": ("system.mmcc.hidden=64", "system.mmcc.draws=8"),
    "aaipr-like": ("model.feature_dim=16", "model.embedding_dim=8", "model.encoders=linear"),
    "aihm-like": ("system.aihm.global_size=16", "system.aihm.local_size=8"),
}
"""What makes each recipe small enough for a test."""


@dataclass(frozen=True)
class People:
    """Images as features, not negative, [600, 128], their categories [600] and the vectors of these, [20, A].

    Those of the first half of the categories are for training.
    """

    features: Tensor
    categories: Tensor
    vectors: Tensor


def people(seed: int = 0, noise: float = 0.3) -> People:
    """20 different descriptions, 30 images each."""
    generator = torch.Generator().manual_seed(seed)
    states = torch.randperm(2**4 * 4, generator=generator)[:CATEGORIES]
    bits = torch.stack([states // 2**bit % 2 for bit in range(4)], dim=1)
    colours = torch.nn.functional.one_hot(states // 2**4, 4)[:, :3]
    vectors = torch.cat([bits, colours], dim=1).float()
    categories = torch.arange(CATEGORIES).repeat_interleave(IMAGES)
    effects = torch.rand(SCHEMA.num_bits, CHANNELS, generator=generator)
    features = vectors[categories] @ effects + noise * torch.randn(len(categories), CHANNELS, generator=generator)
    return People(features.clamp_min(0.0), categories, vectors)


def toy_config(name: str, *settings: str) -> Config:
    """The recipe of a system, small."""
    backbone = ("model.backbone=osnet_0288", "model.weights=none", "model.height=64", "model.width=32")
    return load_config(name, [*backbone, *SMALL[name], *settings])


def toy_training_set(persons: People, shuffled: bool = False) -> TrainingSet:
    """The training half; shuffled: each image has the category of another one."""
    rows = np.arange(SEEN * IMAGES)
    categories = persons.categories[: len(rows)]
    if shuffled:
        categories = categories[torch.randperm(len(rows), generator=torch.Generator().manual_seed(5))]
    vectors = persons.vectors[:SEEN]
    attributes = vectors[categories]
    return TrainingSet(persons.features, rows, attributes, None, categories, vectors, attributes.mean(dim=0))


def toy_batch(config: Config, data: TrainingSet, size: int, generator: torch.Generator) -> tuple[Tensor, Batch]:
    """Some training images, and as many descriptions that are none of the training categories if the recipe asks."""
    rows = torch.randint(len(data.rows), (size,), generator=generator)
    unseen = torch.randint(0, 2, (round(config.unseen.share * size), SCHEMA.num_bits), generator=generator).float()
    batch = Batch(
        attributes=torch.cat([data.attributes[rows], unseen]),
        categories=data.categories[rows],
        noise=torch.zeros(size + len(unseen), config.model.noise_dim),
        category_vectors=data.category_vectors,
        prior=data.prior,
    )
    return torch.as_tensor(data.inputs)[rows], batch


def new_state(config: Config, data: TrainingSet) -> iteration.TrainState:
    """Prepared networks, always the same, before their first update."""
    torch.manual_seed(7)
    networks = build_networks(config, SCHEMA, len(data.category_vectors))
    fitting.prepare(system_of(config), [networks], data)
    return iteration.TrainState(networks, {}, None)


def train_toy(config: Config, data: TrainingSet, steps: int, size: int = 64) -> SearchNetworks:
    """Train all stages of a recipe, `steps` updates each; returns the networks as a run would save them."""
    system, state = system_of(config), new_state(config, data)
    generator = torch.Generator().manual_seed(3)
    for stage in config.stages:
        phases = iteration.stage_phases(stage, system.phases)
        state.optimisers = iteration.build_optimisers(state.networks, phases, stage, config.optimiser)
        for _ in range(steps):
            images, batch = toy_batch(config, data, size, generator)
            iteration.run_iteration(state, phases, images, batch, config)
    return fitting.solved(system, state.networks.eval(), data, config.system)


def unseen_map(networks: SearchNetworks, persons: People) -> float:
    """Mean average precision of the unseen descriptions among the images of all unseen people; 0.1 is chance."""
    is_unseen = persons.categories >= SEEN
    with torch.no_grad():
        gallery = networks.comparable(networks.embed_images(persons.features[is_unseen]))
    queries = encode_attributes(networks, persons.vectors[SEEN:].numpy())
    relevance = torch.arange(SEEN, CATEGORIES)[:, None] == persons.categories[is_unseen][None]
    return float(retrieval_metrics(compare(networks, queries, gallery).numpy(), relevance.numpy()).mAP)
