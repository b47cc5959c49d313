"""One iteration of training: features once, then the phases of the stage, each moving only what it declares."""

from __future__ import annotations

import copy
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from sal_runtime.errors import ConfigError
from sal_train import distributed
from sal_train.config import Config, OptimiserConfig, StageConfig
from sal_train.networks import SearchNetworks
from sal_train.phases import PHASES, Batch, Features, Phase, PhaseSettings

BACKBONES = ("image_backbone", "attribute_backbone")
TRUNK = "trunk"
"""Name of the convolutions of the image backbone among the `learning_rates` of a stage."""


@dataclass
class TrainState:
    """The state that training changes.

    Attributes:
        networks: under training.
        optimisers: one per trained network, by its name.
        average: moving average of the deployed networks, None if the recipe keeps none.
        num_updates: iterations done.
    """

    networks: SearchNetworks
    optimisers: dict[str, torch.optim.Optimizer]
    average: SearchNetworks | None
    num_updates: int = 0

    @property
    def both(self) -> list[SearchNetworks]:
        """The networks, and their average if there is one."""
        return [self.networks] if self.average is None else [self.networks, self.average]


def stage_phases(stage: StageConfig, known: Mapping[str, Phase] = PHASES) -> tuple[Phase, ...]:
    """The phases of a stage.

    Args:
        stage: names them.
        known: phases of the system that trains, by name; SAL's if left out.

    Raises:
        ConfigError: a name is not a phase, or two phases would train a backbone on the same features.
    """
    unknown = [name for name in stage.phases if name not in known]
    if unknown or not stage.phases:
        raise ConfigError(f"stage {stage.name!r}: phases {list(stage.phases)}; known phases: {', '.join(known)}")
    phases = tuple(known[name] for name in stage.phases)
    for backbone in BACKBONES:
        trainers = [phase.name for phase in phases if backbone in phase.trains]
        if len(trainers) > 1:
            raise ConfigError(f"stage {stage.name!r}: {' and '.join(trainers)} both train {backbone}; keep one")
    return phases


def freeze_blocks(networks: SearchNetworks, stage: StageConfig) -> None:
    """Freeze as many blocks of the trunk as the stage says.

    Raises:
        ConfigError: the trunk has fewer blocks.
    """
    trunk = networks.image_backbone.trunk
    blocks = len(trunk.sequence())
    if not 0 <= stage.frozen_blocks <= blocks:
        raise ConfigError(
            f"stage {stage.name!r}: frozen_blocks is {stage.frozen_blocks}; the trunk has {blocks} blocks"
        )
    trunk.frozen_blocks = stage.frozen_blocks
    trunk.train(trunk.training)  # puts them into evaluation mode


def average_frozen_blocks(state: TrainState, stage: StageConfig) -> None:
    """Give the networks the averaged weights of what the stage freezes of the trunk, for these are deployed.

    They differ where an earlier stage trained the trunk.
    """
    if state.average is not None:
        for block, average in zip(*(frozen_part(networks, stage) for networks in state.both), strict=True):
            block.load_state_dict(average.state_dict())


def frozen_part(networks: SearchNetworks, stage: StageConfig) -> Sequence[nn.Module]:
    """The blocks of the trunk that do not train in a stage, from the input on."""
    blocks = networks.image_backbone.trunk.sequence()
    return blocks if stage.frozen_trunk else blocks[: stage.frozen_blocks]


def place_networks(networks: SearchNetworks, device: torch.device) -> None:
    """Move the networks. On CUDA the kernels become channels-last like the images, so no convolution converts them."""
    networks.to(device)
    if device.type == "cuda":
        for parameter in networks.image_backbone.trunk.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)


def compile_trunk(networks: SearchNetworks) -> None:
    """Compile the image backbone's trunk on its next use; forget what an earlier training in this process compiled."""
    torch.compiler.reset()  # earlier compilations count towards the limit after which nothing is compiled
    networks.image_backbone.trunk.compile()


def build_optimisers(
    networks: SearchNetworks, phases: Iterable[Phase], stage: StageConfig, config: OptimiserConfig
) -> dict[str, torch.optim.Optimizer]:
    """One optimiser for each network that the phases train; `initial_lr` of a group keeps its base rate.

    Raises:
        ConfigError: `learning_rates` of the stage names an unknown network.
    """
    trained = {name for phase in phases for name in phase.trains}
    known = (*networks.names, TRUNK)
    unknown = set(stage.learning_rates) - set(known)
    if unknown:
        raise ConfigError(
            f"stage {stage.name!r}: learning_rates names {', '.join(sorted(unknown))}; "
            f"the networks are {', '.join(known)}"
        )
    optimisers: dict[str, torch.optim.Optimizer] = {}
    for name in networks.names:
        if name in trained:
            rate = stage.learning_rates.get(name, stage.learning_rate)
            groups = [
                {**group, "lr": part_rate, "initial_lr": part_rate}
                for parameters, part_rate in _parts_and_rates(networks, name, rate, stage)
                for group in _decay_groups(parameters, config)
            ]
            optimisers[name] = _optimiser(groups, rate, config)
    return optimisers


def _optimiser(groups: list[dict[str, object]], rate: float, config: OptimiserConfig) -> torch.optim.Optimizer:
    if config.kind == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True, fused=True)
    if len(config.betas) != 2:
        raise ConfigError(f"optimiser.betas: got {len(config.betas)} numbers, expected two")
    kind = torch.optim.Adam if config.kind == "adam" else torch.optim.AdamW
    return kind(groups, lr=rate, betas=(config.betas[0], config.betas[1]), fused=True)


def _parts_and_rates(
    networks: SearchNetworks, name: str, rate: float, stage: StageConfig
) -> list[tuple[list[nn.Parameter], float]]:
    """The parameters of a network in parts of equal rate; only the blocks of the trunk have rates of their own."""
    if name != "image_backbone" or (TRUNK not in stage.learning_rates and stage.layer_decay == 1.0):
        return [(list(networks.network(name).parameters()), rate)]
    backbone = networks.image_backbone
    blocks = backbone.trunk.sequence()
    trunk_rate = stage.learning_rates.get(TRUNK, rate)
    parts = [
        (list(block.parameters()), trunk_rate * stage.layer_decay ** (len(blocks) - 1 - number))
        for number, block in enumerate(blocks)
        if number >= stage.frozen_blocks
    ]
    in_trunk = {id(parameter) for parameter in backbone.trunk.parameters()}
    parts.append(([parameter for parameter in backbone.parameters() if id(parameter) not in in_trunk], rate))
    return parts


def _decay_groups(parameters: list[nn.Parameter], config: OptimiserConfig) -> list[dict[str, object]]:
    if config.decay_norm_and_bias:
        split = [(parameters, config.weight_decay)]
    else:
        split = [
            ([parameter for parameter in parameters if parameter.ndim > 1], config.weight_decay),
            ([parameter for parameter in parameters if parameter.ndim <= 1], 0.0),
        ]
    return [{"params": members, "weight_decay": decay} for members, decay in split if members]


def learning_rate_factor(stage: StageConfig, progress: float) -> float:
    """Factor on the base rate at `progress`, 0..1, of the stage: halving steps, or warm-up and half a cosine."""
    if stage.schedule == "steps":
        return float(0.5 ** sum(progress >= milestone for milestone in stage.milestones))
    if progress < stage.warmup:
        return 0.1 + 0.9 * progress / stage.warmup
    remaining = (progress - stage.warmup) / max(1.0 - stage.warmup, 1e-9)
    return 0.5 * (1.0 + math.cos(math.pi * min(remaining, 1.0)))


def set_learning_rates(optimisers: Mapping[str, torch.optim.Optimizer], factor: float) -> None:
    """Set every rate to `factor` times its base."""
    for optimiser in optimisers.values():
        for group in optimiser.param_groups:
            group["lr"] = factor * group["initial_lr"]


def run_iteration(
    state: TrainState, phases: tuple[Phase, ...], images: Tensor, batch: Batch, config: Config
) -> dict[str, float | Tensor]:
    """Run the phases of a stage on one batch.

    Args:
        state: changed in place.
        phases: from `stage_phases`.
        images: augmented RGB images, float [B, H, W, 3] in 0..255; or what the frozen part of the trunk gives for them.
        batch: the rest of the batch.
        config: losses, precision, optimiser settings.

    Returns:
        Every loss term by name, a detached scalar tensor that is not synchronised with the host.
    """
    features = compute_features(state.networks, phases, images, batch, config.run.precision)
    settings = PhaseSettings(config.losses, config.optimiser.batchnorm_real_only, config.system)
    terms: dict[str, float | Tensor] = {}
    for phase in phases:
        terms.update(run_phase(phase, state, batch, features, settings, config.optimiser.gradient_clip))
    state.num_updates += 1
    if state.average is not None:
        update_average(state.average, state.networks, config.optimiser.ema, state.num_updates)
    return terms


def compute_features(
    networks: SearchNetworks, phases: Iterable[Phase], images: Tensor, batch: Batch, precision: Literal["fp32", "bf16"]
) -> Features:
    """f_v and f_a of a batch; an extractor that no phase trains runs in evaluation mode and without a graph."""
    trained = {name for phase in phases for name in phase.trains}
    _set_trained(networks, [name for name in BACKBONES if name in networks.names], trained)
    with (
        torch.set_grad_enabled("image_backbone" in trained),
        torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"),
    ):
        f_v = networks.image_backbone(images)
    with torch.set_grad_enabled("attribute_backbone" in trained):
        f_a = networks.attribute_backbone(batch.attributes)
    return Features(f_v, f_a)


def run_phase(
    phase: Phase,
    state: TrainState,
    batch: Batch,
    features: Features,
    settings: PhaseSettings,
    gradient_clip: float = 0.0,
) -> dict[str, Tensor]:
    """One update of the networks that `phase` trains; all others are frozen and in evaluation mode."""
    networks = state.networks
    _set_trained(networks, networks.names, phase.trains)
    terms = phase.loss(networks, batch, features, settings)
    optimisers = [state.optimisers[name] for name in phase.trains]
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    parameters = [parameter for name in phase.trains for parameter in networks.network(name).parameters()]
    distributed.average_gradients(parameters)
    if gradient_clip:
        nn.utils.clip_grad_norm_(parameters, gradient_clip)
    for optimiser in optimisers:
        optimiser.step()
    if phase.after_step is not None:
        phase.after_step(networks, batch, features, settings)
    return {name: term.detach() for name, term in terms.items()}


def _set_trained(networks: SearchNetworks, names: Iterable[str], trained: Container[str]) -> None:
    """Let some of the networks `names` train, and freeze the others of them in evaluation mode."""
    for name in names:
        network, trains = networks.network(name), name in trained
        # most networks are as the phase before left them, and a trunk has hundreds of modules
        if not network.training == next(network.parameters()).requires_grad == trains:
            network.requires_grad_(trains).train(trains)


def new_average(networks: SearchNetworks) -> SearchNetworks:
    """A frozen copy of the networks, which becomes their moving average."""
    average = copy.deepcopy(networks)
    average.requires_grad_(False)
    return average.eval()


@torch.no_grad()
def update_average(average: SearchNetworks, networks: SearchNetworks, decay: float, num_updates: int) -> None:
    """Set average = decay * average + (1 - decay) * networks for the deployed networks; buffers are copied.

    Args:
        average: changed in place.
        networks: after update number `num_updates`.
        decay: in 0..1; early on (1 + n) / (10 + n) if that is smaller, so that the random start is forgotten.
        num_updates: n.
    """
    decay = min(decay, (1 + num_updates) / (10 + num_updates))
    move_average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    for name in networks.deployed:
        target, source = average.network(name), networks.network(name)
        move_average(list(target.parameters()), list(source.parameters()), num_updates)
        for to_buffer, from_buffer in zip(target.buffers(), source.buffers(), strict=True):
            to_buffer.copy_(from_buffer)
