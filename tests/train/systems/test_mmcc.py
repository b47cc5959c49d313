"""MMCC: the gradient penalty on critics that are known, the Wasserstein distance, the cycle, and the mean query."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from sal_runtime.errors import InputError
from sal_train import iteration
from sal_train.systems.mmcc import MmccNetworks, critic_loss, cycle_loss, gradient_penalty
from sal_train.systems.table import system_of
from tests.train.systems.toy_persons import new_state, people, toy_batch, toy_config, toy_training_set


@pytest.mark.parametrize("length", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("count", [1, 64])
def test_a_linear_critic_has_a_known_penalty(length: float, count: int) -> None:
    """The gradient with respect to attributes does not count, and each sample has its own."""
    weight = length * nn.functional.normalize(torch.randn(6, generator=torch.Generator().manual_seed(1)), dim=0)
    x, x_tilde, a = torch.randn(count, 6), torch.randn(count, 6), torch.randn(count, 3)
    share = torch.rand(count, 1)
    penalty = gradient_penalty(lambda x, a: x @ weight + 100.0 * a.sum(1), x, x_tilde, a, share)
    assert penalty.item() == pytest.approx((length - 1.0) ** 2, abs=1e-5)


def test_the_penalty_trains_the_critic_and_interpolates() -> None:
    torch.manual_seed(1)
    critic = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    seen = []

    def judge(x: Tensor, a: Tensor) -> Tensor:
        seen.append(x.detach())
        return critic(torch.cat([x, a], dim=1))[:, 0]

    x, x_tilde, a, share = torch.zeros(5, 2), torch.ones(5, 2), torch.zeros(5, 1), torch.rand(5, 1)
    gradient_penalty(judge, x, x_tilde, a, share).backward()
    torch.testing.assert_close(seen[0], (1.0 - share).expand(5, 2))
    assert critic[0].weight.grad is not None
    assert critic[0].weight.grad.any()


@pytest.mark.parametrize("mean", [1.0, -1.5])
def test_a_trained_critic_measures_the_distance_of_two_gaussians(mean: float) -> None:
    torch.manual_seed(1)
    critic = nn.Sequential(nn.Linear(1, 32), nn.LeakyReLU(0.2), nn.Linear(32, 1))
    nn.init.zeros_(critic[2].weight)  # in one dimension the penalty would hold a slope of the wrong sign
    optimiser = torch.optim.Adam(critic.parameters(), lr=5e-3, betas=(0.5, 0.9))
    real, fake = mean + torch.randn(512, 1), torch.randn(512, 1)

    def judge(x: Tensor, a: Tensor) -> Tensor:
        return critic(x)[:, 0]

    for _ in range(400):
        penalty = gradient_penalty(judge, real, fake, real, torch.rand(512, 1))
        loss = critic_loss(judge(real, real), judge(fake, fake)) + 10.0 * penalty
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    estimate = -critic_loss(judge(real, real), judge(fake, fake)).item()
    assert estimate == pytest.approx(abs(float(real.mean() - fake.mean())), rel=0.1)
    points = torch.tensor([[0.0], [mean]], requires_grad=True)
    (slope,) = torch.autograd.grad(judge(points, points).sum(), points)
    assert slope.flatten().tolist() == pytest.approx([mean / abs(mean)] * 2, abs=0.1)


def test_a_linear_cycle_closes() -> None:
    torch.manual_seed(1)
    generator, regressor = nn.Linear(4, 12), nn.Linear(12, 4)
    regressor.requires_grad_(False)
    a = torch.randint(0, 2, (64, 4)).float()
    solver = torch.optim.LBFGS(generator.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        value = cycle_loss(regressor(generator(a)), a)
        value.backward()
        return value

    solver.step(loss)
    assert loss().item() < 1e-6


def test_the_regressor_stays_in_the_adversarial_stage() -> None:
    config = toy_config("mmcc")
    data = toy_training_set(people())
    state = new_state(config, data)
    before = copy.deepcopy(state.networks.state_dict())
    stage = config.stages[1]
    phases = iteration.stage_phases(stage, system_of(config).phases)
    assert [phase.name for phase in phases].count("criticise") == 5
    state.optimisers = iteration.build_optimisers(state.networks, phases, stage, config.optimiser)
    assert state.optimisers["G"].param_groups[0]["betas"] == (0.5, 0.9)
    images, batch = toy_batch(config, data, 64, torch.Generator().manual_seed(3))
    terms = iteration.run_iteration(state, phases, images, batch, config)
    assert set(terms) == {"critic", "penalty", "generator", "cycle"}
    moved = {name.split(".")[0] for name, value in state.networks.state_dict().items() if not value.equal(before[name])}
    assert moved == {"G", "D"}


def test_a_query_is_the_mean_over_the_noise_of_the_bank() -> None:
    config = toy_config("mmcc")
    data = toy_training_set(people())
    networks = new_state(config, data).networks.eval()
    assert isinstance(networks, MmccNetworks)
    vectors = data.category_vectors
    with torch.no_grad():
        each = torch.stack([networks.G(vectors, z.expand(len(vectors), -1)) for z in networks.bank])
        torch.testing.assert_close(networks.embed_attributes(vectors), each.mean(0))
    torch.manual_seed(99)
    other = new_state(config, data).networks
    assert isinstance(other, MmccNetworks)
    assert torch.equal(networks.bank, other.bank)
    assert networks.image_backbone(torch.as_tensor(data.inputs)[data.rows]).mean().item() == pytest.approx(0.1)


def test_the_other_ranking_compares_attributes() -> None:
    config = toy_config("mmcc", "system.mmcc.ranking=attributes")
    data = toy_training_set(people())
    networks = new_state(config, data).networks.eval()
    assert isinstance(networks, MmccNetworks)
    images = torch.as_tensor(data.inputs)[:4]
    torch.testing.assert_close(networks.embed_images(images), networks.R(networks.image_backbone(images)))
    assert torch.equal(networks.embed_attributes(data.category_vectors), data.category_vectors)


def test_negative_features_are_refused() -> None:
    config = toy_config("mmcc")
    data = toy_training_set(people())
    torch.as_tensor(data.inputs)[3, 4] = -0.5
    with pytest.raises(InputError, match="gives negative features"):
        new_state(config, data)
