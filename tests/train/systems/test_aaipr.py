"""AAIPR is SAL's Embed + adv without attribute recognition, and its discriminator has the known optimum."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from sal_train import iteration, losses
from sal_train.config import Config
from sal_train.systems.table import system_of
from tests.train.systems.toy_persons import new_state, people, toy_batch, toy_config, toy_training_set


def trained(config: Config) -> dict[str, torch.Tensor]:
    data = toy_training_set(people())
    state, stage = new_state(config, data), config.stages[1]
    phases = iteration.stage_phases(stage, system_of(config).phases)
    state.optimisers = iteration.build_optimisers(state.networks, phases, stage, config.optimiser)
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        images, batch = toy_batch(config, data, 32, generator)
        iteration.run_iteration(state, phases, images, batch, config)
    return state.networks.state_dict()


def test_with_attribute_recognition_it_is_embed_and_adv_of_sal() -> None:
    config = toy_config("aaipr-like", "losses.attribute=1.0")
    sal = replace(config, model=replace(config.model, system="sal"))
    assert sal.stages[1].phases == ("embed_image", "embed_attribute", "alignment_D", "alignment_E")
    one, other = trained(config), trained(sal)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    without = trained(toy_config("aaipr-like"))
    assert any(not torch.equal(one[name], without[name]) for name in one if name.startswith("E_"))


def test_without_attribute_recognition_no_phase_touches_its_head() -> None:
    config = toy_config("aaipr-like")
    data = toy_training_set(people())
    state = new_state(config, data)
    assert state.networks.fits_head
    before = copy.deepcopy(state.networks.C_att.state_dict())
    after = trained(config)
    assert torch.equal(before["weight"], after["C_att.weight"])


def test_the_best_discriminator_of_equal_points_knows_nothing() -> None:
    """At the optimum the output is 1/2 and the loss 2 log 2."""
    torch.manual_seed(1)
    points = torch.randn(64, 3)
    critic = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    optimiser = torch.optim.Adam(critic.parameters(), lr=2e-2)
    for _ in range(400):
        loss = losses.gan2_discriminator_loss(critic(points), critic(points))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() == pytest.approx(2.0 * math.log(2.0), abs=1e-3)
    assert torch.sigmoid(critic(points)).detach().numpy() == pytest.approx(0.5, abs=5e-3)
