"""2WayNet: one stack of weights maps image features to attributes, and transposed attributes to image features.

Eisenschtat and Wolf, Linking Image and Text with 2-Way Nets, CVPR 2017; losses and layers follow the authors' code
(aviveise/2WayNet), its evaluation does not. Hidden layers are Dense, BatchNorm, LeakyReLU, tied dropout; the second one
is the common space, in which search ranks by the correlation of coordinates. No category is used.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from sal_runtime.query.schema import AttributeSchema
from sal_train.config import Config
from sal_train.networks import SearchNetworks
from sal_train.phases import Batch, Features, Phase, PhaseSettings, Terms
from sal_train.systems.features import PooledFeatures, Standardise, standardise
from sal_train.systems.squared_error import squared_error
from sal_train.systems.system import System, TrainingSet, by_name

SLOPE = 0.3
"""Of the LeakyReLUs, below 0."""
COMMON = 1
"""Number of the hidden layer, from the image side, that is the common space."""


def decorrelation_loss(h: Tensor) -> Tensor:
    """|C|_F - |diag C|_2 for the uncentred second moments C = h'h / B of [B, n]; zero if and only if C is diagonal."""
    moments = h.T @ h / len(h)
    everything: Tensor = torch.linalg.vector_norm(moments)
    diagonal: Tensor = torch.linalg.vector_norm(moments.diagonal())
    return everything - diagonal


def inverse_scale_loss(norms: nn.Module) -> Tensor:
    """Sum of 1 / gamma^2 over the scales of all BatchNorms, so that no unit fades."""
    scales: list[Tensor] = [module.weight for module in norms.modules() if isinstance(module, nn.BatchNorm1d)]
    return torch.cat(scales).pow(-2).sum()


def dropout_masks(count: int, sizes: tuple[int, ...], probability: float, device: torch.device) -> list[Tensor]:
    """A mask [count, size] for each hidden layer, which both channels share.

    What stays is multiplied by 1 / sqrt(1 - p), which keeps the variance of an input of mean zero.
    """
    factor = 1.0 / math.sqrt(1.0 - probability)
    return [factor * (torch.rand(count, size, device=device) >= probability) for size in sizes]


class SlowNorm(nn.BatchNorm1d):
    """BatchNorm as in the authors' code: slow statistics, scales that begin near 1.

    In evaluation it is written out, because no exporter folds it into a weight that two channels share.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size, eps=1e-3, momentum=0.01)
        nn.init.uniform_(self.weight, 0.95, 1.05)

    def forward(self, input: Tensor) -> Tensor:
        """[B, size] -> [B, size]."""
        if self.training:
            return super().forward(input)
        assert self.running_mean is not None
        assert self.running_var is not None
        return (input - self.running_mean) * (self.weight * torch.rsqrt(self.running_var + self.eps)) + self.bias


class TiedStack(nn.Module):
    """Two channels through the same weights.

    Args:
        sizes: of x, the hidden layers, and y.
    """

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        hidden = sizes[1:-1]
        pairs = list(itertools.pairwise(sizes))
        self.hidden = hidden
        self.weights = nn.ParameterList(nn.init.xavier_uniform_(torch.empty(pair)) for pair in pairs)
        self.to_y = nn.ParameterList(torch.zeros(outputs) for _, outputs in pairs)
        self.to_x = nn.ParameterList(torch.zeros(inputs) for inputs, _ in pairs)
        self.norms_y = nn.ModuleList(SlowNorm(size) for size in hidden)
        self.norms_x = nn.ModuleList(SlowNorm(size) for size in hidden)

    def from_x(self, x: Tensor, masks: list[Tensor] | None = None) -> list[Tensor]:
        """Outputs of all layers of the channel x -> y: the hidden ones, then y^."""
        outputs = []
        for number, (weight, bias) in enumerate(zip(self.weights, self.to_y, strict=True)):
            x = x @ weight + bias
            if number < len(self.hidden):
                x = self._activate(x, self.norms_y[number], number, masks)
            outputs.append(x)
        return outputs

    def from_y(self, y: Tensor, masks: list[Tensor] | None = None) -> list[Tensor]:
        """Outputs of all layers of the channel y -> x, in the order of the other channel: x^, then the hidden ones."""
        outputs: list[Tensor] = []
        for number in range(len(self.weights) - 1, -1, -1):
            y = y @ self.weights[number].T + self.to_x[number]
            if number > 0:
                y = self._activate(y, self.norms_x[number - 1], number - 1, masks)
            outputs.insert(0, y)
        return outputs

    def _activate(self, z: Tensor, norm: nn.Module, number: int, masks: list[Tensor] | None) -> Tensor:
        activated = functional.leaky_relu(norm(z), SLOPE)
        return activated if masks is None else activated * masks[number]


class TwoWayNetworks(SearchNetworks):
    """The stack, between standardised image features and centred attributes."""

    names = ("image_backbone", "stack")
    deployed = ("image_backbone", "stack")

    def __init__(self, config: Config, schema: AttributeSchema, num_categories: int) -> None:
        super().__init__(config.model)
        hidden = config.system.two_way.hidden
        self.image_backbone = backbone = PooledFeatures(config.model)
        self.attribute_backbone = Standardise(schema.num_bits)
        self.stack = TiedStack((backbone.size, *hidden, schema.num_bits))
        self.C_att = nn.Linear(hidden[COMMON], schema.num_bits)

    def embed_images(self, images: Tensor) -> Tensor:
        """Images -> the common layer, centred over its coordinates."""
        return _centred(self.stack.from_x(self.image_backbone(images))[COMMON])

    def embed_attributes(self, attributes: Tensor) -> Tensor:
        """Attribute vectors -> the common layer, centred over its coordinates."""
        return _centred(self.stack.from_y(self.attribute_backbone(attributes))[COMMON + 1])


def _centred(h: Tensor) -> Tensor:
    """The cosine of rows without their means is their correlation."""
    return h - h.mean(dim=1, keepdim=True)


def prepare(nets: TwoWayNetworks, data: TrainingSet) -> None:
    """Standardise the image features, centre the attributes."""
    standardise(nets, data)
    assert isinstance(nets.attribute_backbone, Standardise)
    nets.attribute_backbone.shift.copy_(data.attributes.mean(dim=0))


def reconstruct(nets: TwoWayNetworks, batch: Batch, features: Features, settings: PhaseSettings) -> Terms:
    """Both channels restore the other side, and meet in the common layer."""
    weights, stack = settings.system.two_way, nets.stack
    x = features.f_v
    y = features.f_a[: len(x)]
    masks = dropout_masks(len(x), stack.hidden, weights.dropout, x.device)
    to_y, to_x = stack.from_x(x, masks), stack.from_y(y, masks)
    h_x, h_y = to_y[COMMON], to_x[COMMON + 1]
    return {
        "image_error": weights.image_error * squared_error(x, to_x[0]),
        "attribute_error": squared_error(y, to_y[-1]),
        "distance": weights.distance * squared_error(h_x, h_y),
        "decorrelation": weights.decorrelation * (decorrelation_loss(h_x) + decorrelation_loss(h_y)),
        "scales": weights.scales * inverse_scale_loss(stack),
    }


TWO_WAY = System(build=TwoWayNetworks, phases=by_name(Phase("reconstruct", ("stack",), reconstruct)), prepare=prepare)
