"""MMCC: a Wasserstein GAN makes image features from attributes, which a regressor must find in them again.

Felix et al., Multi-modal Cycle-consistent Generalized Zero-Shot Learning, ECCV 2018. The released code is followed
(rfelixmg/frwgan-eccv18, MIT): networks, Wasserstein losses with gradient penalty, a regressor that is trained first and
then frozen, and no category anywhere. The interpolation coefficient is drawn per sample, as in the GAN's own paper
(Gulrajani et al., NeurIPS 2017), not per element. A query is the mean of the features that the generator makes of it
with fixed noise.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from sal_runtime.query.schema import AttributeSchema
from sal_train.config import Config
from sal_train.networks import SearchNetworks
from sal_train.phases import Batch, Features, Phase, PhaseSettings, Terms
from sal_train.systems.features import PooledFeatures, scale_to_mean
from sal_train.systems.system import System, TrainingSet, by_name

SLOPE = 0.2
"""Of the LeakyReLUs, below 0."""

Critic = Callable[[Tensor, Tensor], Tensor]
"""Features [B, n] and attributes [B, A] -> how real they look together, [B]."""


def critic_loss(real: Tensor, synthetic: Tensor) -> Tensor:
    """Mean of D(x~, a) - D(x, a); its least value is minus the Wasserstein distance (Gulrajani et al., eq. 3)."""
    return synthetic.mean() - real.mean()


def gradient_penalty(critic: Critic, x: Tensor, x_tilde: Tensor, attributes: Tensor, share: Tensor) -> Tensor:
    """The mean of (|grad D(x^, a)| - 1)^2 at x^ = share x + (1 - share) x~ (Gulrajani et al., eq. 3).

    The gradient is that with respect to the feature; attributes are a condition.

    Args:
        critic: D.
        x: real features, [B, n].
        x_tilde: synthetic features, [B, n].
        attributes: a, [B, A].
        share: in 0..1, [B, 1].
    """
    mixed = (share * x + (1.0 - share) * x_tilde).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(mixed, attributes).sum(), mixed, create_graph=True)
    length: Tensor = torch.linalg.vector_norm(gradient, dim=1)
    return (length - 1.0).square().mean()


def cycle_loss(regressed: Tensor, attributes: Tensor) -> Tensor:
    """Mean square of R(G(a, z)) - a over batch and attributes (Felix et al., eq. 6)."""
    return functional.mse_loss(regressed, attributes)


class Generator(nn.Module):
    """[a; z] -> hidden layer, LeakyReLU -> feature, ReLU. z has as many values as a."""

    def __init__(self, bits: int, hidden: int, size: int) -> None:
        super().__init__()
        self.first = nn.Linear(2 * bits, hidden)
        self.second = nn.Linear(hidden, size)

    def forward(self, attributes: Tensor, noise: Tensor) -> Tensor:
        """Attributes [B, A] and noise [B, A] -> features [B, size], not negative."""
        hidden = self.first(torch.cat([attributes, noise], dim=1))
        return functional.relu(self.second(functional.leaky_relu(hidden, SLOPE)))

    def mean(self, attributes: Tensor, bank: Tensor) -> Tensor:
        """Attributes [B, A] -> mean over the noise vectors `bank` [N, A] of their features, [B, size]."""
        bits, weight = bank.shape[1], self.first.weight
        hidden = functional.linear(attributes, weight[:, :bits], self.first.bias)[:, None]  # [B, 1, hidden]
        hidden = hidden + functional.linear(bank, weight[:, bits:])  # [B, N, hidden]
        return functional.relu(self.second(functional.leaky_relu(hidden, SLOPE))).mean(dim=1)


class MmccNetworks(SearchNetworks):
    """G, the critic D and the regressor R, on non-negative image features."""

    names = ("image_backbone", "G", "D", "R")
    deployed = ("image_backbone", "G", "R")
    bank: Tensor

    def __init__(self, config: Config, schema: AttributeSchema, num_categories: int) -> None:
        super().__init__(config.model)
        settings, bits = config.system.mmcc, schema.num_bits
        self.in_images, self.feature_mean = settings.ranking == "images", settings.feature_mean
        self.image_backbone = backbone = PooledFeatures(config.model)
        self.attribute_backbone = nn.Identity()
        self.G = Generator(bits, settings.hidden, backbone.size)
        self.D = nn.Sequential(
            nn.Linear(backbone.size + bits, settings.hidden), nn.LeakyReLU(SLOPE), nn.Linear(settings.hidden, 1)
        )
        self.R = nn.Linear(backbone.size, bits)
        self.C_att = nn.Linear(backbone.size if self.in_images else bits, bits)
        for network in (self.G, self.D, self.R):
            for module in network.modules():
                if isinstance(module, nn.Linear):
                    nn.init.xavier_uniform_(module.weight)
                    nn.init.zeros_(module.bias)
        self.register_buffer("bank", torch.randn(settings.draws, bits, generator=torch.Generator().manual_seed(0)))

    def judge(self, features: Tensor, attributes: Tensor) -> Tensor:
        """D of features [B, n] with attributes [B, A]: [B]."""
        judged: Tensor = self.D(torch.cat([features, attributes], dim=1))
        return judged[:, 0]

    def embed_images(self, images: Tensor) -> Tensor:
        """Images -> their features, or the attributes that R reads from them."""
        features: Tensor = self.image_backbone(images)
        return features if self.in_images else self.R(features)

    def embed_attributes(self, attributes: Tensor) -> Tensor:
        """Attribute vectors -> the mean of the features that G makes of them, or themselves."""
        return self.G.mean(attributes, self.bank) if self.in_images else attributes


def prepare(nets: MmccNetworks, data: TrainingSet) -> None:
    """Scale the features; they stay as they are otherwise, so G can give them."""
    scale_to_mean(nets, data, nets.feature_mean)


def regress(nets: MmccNetworks, batch: Batch, features: Features, settings: PhaseSettings) -> Terms:
    """R learns attributes from real features, by the mean square."""
    x = features.f_v
    return {"regression": functional.mse_loss(nets.R(x), features.f_a[: len(x)])}


def criticise(nets: MmccNetworks, batch: Batch, features: Features, settings: PhaseSettings) -> Terms:
    """D learns to tell real from synthetic features; a recipe lists it once for each of its steps."""
    x = features.f_v
    a = features.f_a[: len(x)]
    with torch.no_grad():
        x_tilde = nets.G(a, torch.randn_like(a))
    share = torch.rand(len(x), 1, device=x.device)
    penalty = gradient_penalty(nets.judge, x, x_tilde, a, share)
    return {
        "critic": critic_loss(nets.judge(x, a), nets.judge(x_tilde, a)),
        "penalty": settings.system.mmcc.penalty * penalty,
    }


def generate(nets: MmccNetworks, batch: Batch, features: Features, settings: PhaseSettings) -> Terms:
    """G learns to look real to D, and to let R find the attributes again."""
    a = features.f_a[: len(features.f_v)]
    x_tilde = nets.G(a, torch.randn_like(a))
    return {
        "generator": -nets.judge(x_tilde, a).mean(),
        "cycle": settings.system.mmcc.cycle * cycle_loss(nets.R(x_tilde), a),
    }


MMCC = System(
    build=MmccNetworks,
    phases=by_name(
        Phase("regress", ("R",), regress), Phase("criticise", ("D",), criticise), Phase("generate", ("G",), generate)
    ),
    prepare=prepare,
)
