"""Learning rates, optimisers, the moving average, and bf16."""

from __future__ import annotations

import copy
import dataclasses
import math

import pytest
import torch

from sal_runtime.errors import ConfigError
from sal_train import iteration
from sal_train.config import OptimiserConfig, StageConfig
from sal_train.networks import DEPLOYED_NAMES, NETWORK_NAMES
from tests.train.tiny_training import tiny_batch, tiny_config, tiny_networks


def test_steps_halve_at_the_milestones() -> None:
    stage = StageConfig(schedule="steps", milestones=(0.5, 0.75))
    factors = [iteration.learning_rate_factor(stage, progress) for progress in (0.0, 0.49, 0.5, 0.8)]
    assert factors == [1.0, 1.0, 0.5, 0.25]


def test_cosine_warms_up_and_ends_at_zero() -> None:
    stage = StageConfig(schedule="cosine", warmup=0.2)
    assert iteration.learning_rate_factor(stage, 0.0) == pytest.approx(0.1)
    assert iteration.learning_rate_factor(stage, 0.1) == pytest.approx(0.55)
    assert iteration.learning_rate_factor(stage, 0.2) == pytest.approx(1.0)
    assert iteration.learning_rate_factor(stage, 0.6) == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))
    assert iteration.learning_rate_factor(stage, 1.0) == pytest.approx(0.0)


def test_each_network_has_one_optimiser_with_its_own_rate() -> None:
    config = tiny_config(("embed_image", "embed_attribute"))
    stage = StageConfig(phases=config.stages[0].phases, learning_rate=1e-4, learning_rates={"E_A": 1e-2})
    networks = tiny_networks(config)
    optimisers = iteration.build_optimisers(networks, iteration.stage_phases(stage), stage, OptimiserConfig())
    assert set(optimisers) == {"image_backbone", "attribute_backbone", "E_V", "E_A", "C_att", "C_cat"}
    assert optimisers["E_A"].param_groups[0]["lr"] == 1e-2
    assert optimisers["E_V"].param_groups[0]["lr"] == 1e-4
    owned = [id(p) for optimiser in optimisers.values() for group in optimiser.param_groups for p in group["params"]]
    assert len(owned) == len(set(owned))


def test_blocks_of_the_trunk_have_rates_that_fall_towards_the_input() -> None:
    config = tiny_config(("embed_image",))
    rates = {"image_backbone": 1e-3, "trunk": 1e-4}
    stage = StageConfig(phases=("embed_image",), learning_rates=rates, layer_decay=0.5, frozen_blocks=2)
    networks = tiny_networks(config)
    phases = iteration.stage_phases(stage)
    optimiser = iteration.build_optimisers(networks, phases, stage, OptimiserConfig())["image_backbone"]
    rate_of = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    backbone = networks.image_backbone
    blocks = backbone.trunk.sequence()
    for number, block in enumerate(blocks):
        for parameter in block.parameters():
            expected = None if number < 2 else pytest.approx(1e-4 * 0.5 ** (len(blocks) - 1 - number))
            assert rate_of.get(id(parameter)) == expected
    assert rate_of[id(backbone.fc.weight)] == 1e-3


def test_frozen_blocks_neither_learn_nor_count() -> None:
    config = tiny_config(("embed_image", "embed_attribute"))
    stage = dataclasses.replace(config.stages[0], frozen_blocks=3, learning_rate=1e-2)
    networks = tiny_networks(config)
    iteration.freeze_blocks(networks, stage)
    phases = iteration.stage_phases(stage)
    state = iteration.TrainState(
        networks, iteration.build_optimisers(networks, phases, stage, config.optimiser), average=None
    )
    blocks = networks.image_backbone.trunk.sequence()
    before = [copy.deepcopy(block.state_dict()) for block in blocks]
    images, batch = tiny_batch(config)
    iteration.run_iteration(state, phases, images, batch, config)
    for number, (block, old) in enumerate(zip(blocks, before, strict=True)):
        same = all(torch.equal(tensor, old[name]) for name, tensor in block.state_dict().items())
        assert same == (number < 3)
    with pytest.raises(ConfigError, match="the trunk has 18 blocks"):
        iteration.freeze_blocks(networks, dataclasses.replace(stage, frozen_blocks=19))


def test_norms_and_biases_can_be_spared_weight_decay() -> None:
    config = tiny_config(("embed_image",))
    networks = tiny_networks(config)
    settings = OptimiserConfig(kind="adamw", weight_decay=0.1, decay_norm_and_bias=False)
    optimisers = iteration.build_optimisers(
        networks, iteration.stage_phases(config.stages[0]), config.stages[0], settings
    )
    for group in optimisers["E_V"].param_groups:
        assert {parameter.ndim > 1 for parameter in group["params"]} == {group["weight_decay"] > 0}


def test_moving_average_follows_its_formula() -> None:
    config = tiny_config(("embed_image",))
    networks = tiny_networks(config)
    average = iteration.new_average(networks)
    with torch.no_grad():
        networks.E_V[0].weight += 1.0
        networks.G_V[0].weight += 1.0
    before = average.E_V[0].weight.clone()
    iteration.update_average(average, networks, decay=0.5, num_updates=1000)
    assert torch.allclose(average.E_V[0].weight, 0.5 * before + 0.5 * networks.E_V[0].weight)
    assert not torch.equal(average.G_V[0].weight, networks.G_V[0].weight)  # not deployed, not averaged
    iteration.update_average(average, networks, decay=0.999, num_updates=0)  # early: 1/10
    assert torch.allclose(average.E_V[0].weight, 0.1 * (before + 0.5) + 0.9 * networks.E_V[0].weight, atol=1e-6)


def test_the_moving_average_is_the_lerp_of_each_tensor_to_the_last_bit() -> None:
    networks = tiny_networks(tiny_config(("embed_image",)))
    average = iteration.new_average(networks)
    with torch.no_grad():
        for tensor in networks.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(torch.randn(tensor.shape, generator=torch.Generator().manual_seed(tensor.numel())))
    expected = {
        name: start.lerp(networks.state_dict()[name], 1.0 - 0.9)
        for name, start in average.named_parameters()
        if name.split(".")[0] in DEPLOYED_NAMES
    }
    iteration.update_average(average, networks, decay=0.9, num_updates=1000)
    assert len(expected) > 100
    for name, tensor in expected.items():
        assert torch.equal(average.get_parameter(name), tensor), name
    for name, buffer in networks.E_V.named_buffers():
        assert torch.equal(average.E_V.get_buffer(name), buffer), name


def test_bf16_computes_the_backbone_in_bf16_and_keeps_weights_in_fp32() -> None:
    config = tiny_config(("embed_image",))
    networks = tiny_networks(config)
    images, batch = tiny_batch(config)
    full = iteration.compute_features(networks, (), images, batch, "fp32").f_v
    half = iteration.compute_features(networks, (), images, batch, "bf16").f_v
    assert half.dtype == torch.float32
    assert not torch.equal(full, half)
    assert (full - half).norm() < 0.1 * full.norm()
    assert {parameter.dtype for parameter in networks.parameters()} == {torch.float32}


def test_fused_updates_follow_adam() -> None:
    """Against its formula (Kingma and Ba, 2015, algorithm 1) with the L2 penalty in the gradient."""
    config = tiny_config(("embed_image",))
    networks, stage = tiny_networks(config), config.stages[0]
    settings = OptimiserConfig(kind="adam", weight_decay=0.1)
    optimiser = iteration.build_optimisers(networks, iteration.stage_phases(stage), stage, settings)["E_V"]
    parameter = networks.E_V[0].weight
    theta, mean, square = parameter.detach().double().clone(), 0.0, 0.0
    for step in range(1, 4):
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step))
        gradient = parameter.grad.double() + 0.1 * theta
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        theta = theta - 1e-3 * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
        optimiser.step()
    torch.testing.assert_close(parameter.detach().double(), theta, rtol=1e-5, atol=1e-6)


def test_a_phase_freezes_what_a_validation_left_half_frozen() -> None:
    """A validation puts all networks into evaluation mode, but leaves them asking for gradients."""
    config = tiny_config(("embed_attribute",))
    networks, stage = tiny_networks(config), config.stages[0]
    phases = iteration.stage_phases(stage)
    state = iteration.TrainState(
        networks, iteration.build_optimisers(networks, phases, stage, config.optimiser), average=None
    )
    networks.eval()
    images, batch = tiny_batch(config)
    iteration.run_iteration(state, phases, images, batch, config)
    for name in NETWORK_NAMES:
        trains = name in phases[0].trains
        modules, parameters = networks.network(name).modules(), networks.network(name).parameters()
        assert {module.training for module in modules} == {trains}, name
        assert {parameter.requires_grad for parameter in parameters} == {trains}, name
