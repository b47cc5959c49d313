"""DeepMAR: attribute recognition with losses weighted by rarity (Li et al., ACPR 2015), ranked by likelihood.

One linear layer reads the attributes from image features. The source defines no search; we rank by the log-likelihood
of the query, sum_j a_j log s_j + (1 - a_j) log(1 - s_j) = z . a - sum_j softplus(z_j), with s_j = sigmoid(z_j). It is
an inner product, and with one more coordinate that gives all images the same length it is a cosine (Bachrach et al.,
RecSys 2014). So DeepMAR searches and is exported like a system with an embedding.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from sal_runtime.query.schema import AttributeSchema
from sal_train import losses
from sal_train.config import Config
from sal_train.networks import SearchNetworks
from sal_train.phases import Batch, Features, Phase, PhaseSettings, Terms, attribute_weight
from sal_train.systems.features import PooledFeatures, standardise
from sal_train.systems.system import System, TrainingSet, by_name

LARGEST_LOGIT = 8.0
"""Logits are clipped to +-8, so that one attribute cannot rule an image out."""


def logit_shift(prior: Tensor) -> Tensor:
    """1 - 2 p, by which the weights exp(1 - p) and exp(p) shift every logit: their loss is least at logit(p) + 1 - 2 p.

    Args:
        prior: positive rate p of each attribute, [A].
    """
    return 1.0 - 2.0 * prior


def likelihood_vectors(logits: Tensor) -> Tensor:
    """Vectors of equal length whose inner product with (a, 1, 0) is the log-likelihood of a.

    Args:
        logits: z, [B, A], in -8..8.

    Returns:
        (z, -sum softplus(z), what is missing to `likelihood_length`), [B, A + 2].
    """
    absent = -functional.softplus(logits).sum(dim=1, keepdim=True)
    square = (logits * logits).sum(dim=1, keepdim=True) + absent * absent
    missing = (likelihood_length(logits.shape[1]) ** 2 - square).clamp_min(0.0).sqrt()
    return torch.cat([logits, absent, missing], dim=1)


def likelihood_length(count: int) -> float:
    """A bound of the length of (z, -sum softplus(z)) for `count` attributes."""
    softplus = LARGEST_LOGIT + math.log1p(math.exp(-LARGEST_LOGIT))
    return math.sqrt(count * LARGEST_LOGIT**2 + (count * softplus) ** 2)


class DeepmarNetworks(SearchNetworks):
    """E_V gives attribute logits of standardised image features; nothing of the attribute side is trained."""

    names = ("image_backbone", "E_V")
    deployed = ("image_backbone", "E_V")
    shift: Tensor

    def __init__(self, config: Config, schema: AttributeSchema, num_categories: int) -> None:
        super().__init__(config.model)
        bits = schema.num_bits
        self.by_likelihood = config.system.deepmar.ranking == "likelihood"
        self.is_weighted = config.losses.attribute_weighting == "deepmar"
        self.image_backbone = backbone = PooledFeatures(config.model)
        self.attribute_backbone = nn.Identity()
        self.E_V = nn.Sequential(nn.Dropout(config.model.dropout), nn.Linear(backbone.size, bits))
        self.register_buffer("shift", torch.zeros(bits))
        self.C_att = nn.Linear(bits + 2 if self.by_likelihood else bits, bits)
        if self.by_likelihood:  # the logits are the first coordinates of an image's vector, up to its length
            self.fits_head = False
            nn.init.eye_(self.C_att.weight)
            nn.init.zeros_(self.C_att.bias)
            nn.init.constant_(self.head_scale, likelihood_length(bits))

    def embed_images(self, images: Tensor) -> Tensor:
        """Images -> vectors of the likelihood [B, A + 2], or probabilities [B, A]."""
        logits = self.E_V(self.image_backbone(images)) - self.shift
        if self.by_likelihood:
            return likelihood_vectors(logits.clamp(-LARGEST_LOGIT, LARGEST_LOGIT))
        return torch.sigmoid(logits)

    def embed_attributes(self, attributes: Tensor) -> Tensor:
        """Attribute vectors [B, A] -> (a, 1, 0), or themselves."""
        if not self.by_likelihood:
            return attributes
        return torch.cat([attributes, torch.ones_like(attributes[:, :1]), torch.zeros_like(attributes[:, :1])], dim=1)


def prepare(nets: DeepmarNetworks, data: TrainingSet) -> None:
    """Standardise the features, and note the shift of the logits."""
    standardise(nets, data)
    if nets.is_weighted:
        nets.shift.copy_(logit_shift(data.prior))


def recognise(nets: DeepmarNetworks, batch: Batch, features: Features, settings: PhaseSettings) -> Terms:
    """The weighted sigmoid cross entropy of the attributes of the images (Li et al., eqs. 2 and 3)."""
    weights, target = settings.weights, batch.attributes[: len(features.f_v)]
    weight = attribute_weight(batch, target, weights)
    logits = nets.E_V(features.f_v)
    return {"attribute": losses.attribute_loss(logits, target, weights.label_smoothing, weight)}


DEEPMAR = System(
    build=DeepmarNetworks,
    phases=by_name(Phase("recognise", DeepmarNetworks.names, recognise)),
    prepare=prepare,
)
