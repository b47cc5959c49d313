"""CMCE's loss by hand, its gradient, and the stored features of the categories."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from sal_train import iteration
from sal_train.systems.cmce import CmceNetworks, category_means, cross_modal_entropy
from sal_train.systems.table import system_of
from tests.train.systems.toy_persons import new_state, people, toy_batch, toy_config, toy_training_set

STORED = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])


def test_three_categories_in_the_plane() -> None:
    feature = torch.tensor([[0.6, 0.8]])
    logits = [0.6 / 0.5, 0.8 / 0.5, -0.6 / 0.5]
    expected = -logits[1] + math.log(sum(math.exp(logit) for logit in logits))
    assert cross_modal_entropy(feature, STORED, torch.tensor([1]), 0.5).item() == pytest.approx(expected, rel=1e-6)
    assert cross_modal_entropy(feature, STORED, torch.tensor([1]), 1e9).item() == pytest.approx(math.log(3), rel=1e-6)


def test_gradient_reaches_the_feature_and_never_what_is_stored() -> None:
    feature = torch.tensor([[0.6, 0.8]], requires_grad=True)
    stored = STORED.clone().requires_grad_()
    cross_modal_entropy(feature, stored, torch.tensor([1]), 0.5).backward()
    p = torch.softmax(feature.detach() @ STORED.T / 0.5, dim=1)
    torch.testing.assert_close(feature.grad, (p @ STORED - STORED[[1]]) / 0.5)
    assert stored.grad is None


def test_means_of_the_categories_that_occur() -> None:
    means, counts = category_means(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), torch.tensor([2, 0, 2]), 4)
    assert means.tolist() == [[3.0, 4.0], [0.0, 0.0], [3.0, 4.0], [0.0, 0.0]]
    assert counts.tolist() == [1, 0, 2, 0]


def test_stored_features_begin_as_means_and_follow_the_batch() -> None:
    config = toy_config("cmce-like", "system.cmce.momentum=0.25")
    data = toy_training_set(people())
    state = new_state(config, data)
    networks = state.networks
    assert isinstance(networks, CmceNetworks)
    unit = nn.functional.normalize
    with torch.no_grad():
        features = unit(networks.embed_images(torch.as_tensor(data.inputs)[data.rows]))
    means = torch.stack([features[data.categories == number].mean(0) for number in range(10)])
    torch.testing.assert_close(networks.stored, unit(means), atol=1e-5, rtol=1e-5)
    before = networks.stored.clone()
    phases = iteration.stage_phases(config.stages[0], system_of(config).phases)
    state.optimisers = iteration.build_optimisers(networks, phases, config.stages[0], config.optimiser)
    images, batch = toy_batch(config, data, 6, torch.Generator().manual_seed(3))
    iteration.run_iteration(state, phases, images, batch, config)
    moved = (networks.stored != before).any(dim=1).nonzero().flatten()
    assert set(moved.tolist()) == set(batch.categories.tolist())
    assert len(moved) < 10
    torch.testing.assert_close(networks.stored.norm(dim=1), torch.ones(10))
    assert not networks.stored.requires_grad


def test_it_learns_orthogonal_categories() -> None:
    generator = torch.Generator().manual_seed(1)
    categories = torch.arange(8).repeat_interleave(10)
    means = torch.eye(8, 16)
    x = means[categories] + 0.05 * torch.randn(80, 16, generator=generator)
    unit = nn.functional.normalize
    torch.manual_seed(1)
    image, attribute = nn.Linear(16, 6), nn.Linear(8, 6)
    optimiser = torch.optim.Adam([*image.parameters(), *attribute.parameters()], lr=0.02)
    stored = unit(category_means(unit(image(x)).detach(), categories, 8)[0])
    for _ in range(200):
        v, s = unit(image(x)), unit(attribute(torch.eye(8)))
        loss = cross_modal_entropy(v, s, categories, 0.1) + cross_modal_entropy(s, stored, torch.arange(8), 0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        stored = unit(category_means(unit(image(x)).detach(), categories, 8)[0])
    ranked = (unit(attribute(torch.eye(8))) @ unit(image(x)).T).argmax(dim=1)
    assert torch.equal(categories[ranked], torch.arange(8))
