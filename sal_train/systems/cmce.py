"""CMCE-like: a softmax over all training categories across modalities (Li et al., ICCV 2017, stage 1).

No code of the authors was found. The form of the loss follows their abstract and the memory of their paper; that the
attribute features of all categories are computed anew in each step, instead of being kept in a buffer, is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sal_runtime.query.schema import AttributeSchema
from sal_train.config import Config
from sal_train.networks import (
    ATTRIBUTE_HIDDEN,
    EMBEDDING_HIDDEN,
    ImageBackbone,
    SearchNetworks,
    batch_statistics,
    mlp,
)
from sal_train.phases import Batch, Features, Phase, PhaseSettings, Terms
from sal_train.systems.system import System, TrainingSet, by_name


def cross_modal_entropy(feature: Tensor, stored: Tensor, category: Tensor, temperature: float) -> Tensor:
    """Cross entropy of the category of a feature, by its cosines to a feature of each category in the other modality.

    p_k = exp(stored_k . feature / temperature) / sum_j exp(stored_j . feature / temperature)

    Args:
        feature: unit vectors of one modality, [B, d].
        stored: unit vectors of the other, one for each category, constants, [K, d].
        category: of the features, int64 [B].
        temperature: divides the cosines.
    """
    return functional.cross_entropy(feature @ stored.detach().T / temperature, category)


def category_means(feature: Tensor, category: Tensor, num_categories: int) -> tuple[Tensor, Tensor]:
    """Mean feature [K, d] and number of features [K] of each category; zeros for those that do not occur."""
    counts = torch.bincount(category, minlength=num_categories).to(feature)
    sums = feature.new_zeros(num_categories, feature.shape[1]).index_add_(0, category, feature)
    return sums / counts.clamp_min(1.0)[:, None], counts


class CmceNetworks(SearchNetworks):
    """Both branches of SAL's embedding, without activation at the end, and a visual feature of each category."""

    names = ("image_backbone", "attribute_backbone", "E_V", "E_A")
    deployed = ("image_backbone", "attribute_backbone", "E_V", "E_A")
    stored: Tensor

    def __init__(self, config: Config, schema: AttributeSchema, num_categories: int) -> None:
        super().__init__(config.model)
        model = config.model
        hidden = model.encoders == "mlp"
        self.image_backbone = ImageBackbone(model)
        sizes = (schema.num_bits, *(ATTRIBUTE_HIDDEN if hidden else ()), model.feature_dim)
        self.attribute_backbone = mlp(sizes, nn.Tanh())
        embedding_sizes = (model.feature_dim, *(EMBEDDING_HIDDEN if hidden else ()), model.embedding_dim)
        self.E_V, self.E_A = mlp(embedding_sizes), mlp(embedding_sizes)
        self.C_att = nn.Linear(model.embedding_dim, schema.num_bits)
        self.register_buffer("stored", torch.zeros(num_categories, model.embedding_dim))


def fill_stored(nets: CmceNetworks, data: TrainingSet) -> None:
    """Begin with the mean visual feature of each category."""
    features = functional.normalize(data.outputs(nets, nets.embed_images))
    means, _ = category_means(features, data.categories, len(nets.stored))
    nets.stored.copy_(functional.normalize(means))


def match_categories(nets: CmceNetworks, batch: Batch, features: Features, settings: PhaseSettings) -> Terms:
    """Images against the attribute features of all categories, and attributes against their visual features."""
    temperature = settings.system.cmce.temperature
    v = functional.normalize(nets.E_V(features.f_v))
    s = functional.normalize(nets.E_A(features.f_a[: len(v)]))
    with torch.no_grad(), batch_statistics(nets.attribute_backbone, nets.E_A):
        attribute_features = functional.normalize(nets.embed_attributes(batch.category_vectors))
    return {
        "image": cross_modal_entropy(v, attribute_features, batch.categories, temperature),
        "attribute": cross_modal_entropy(s, nets.stored, batch.categories, temperature),
    }


@torch.no_grad()
def renew_stored(nets: CmceNetworks, batch: Batch, features: Features, settings: PhaseSettings) -> None:
    """Move the visual features of the batch's categories towards their new means, on the unit sphere."""
    with batch_statistics(nets.E_V):
        v = functional.normalize(nets.E_V(features.f_v))
    means, counts = category_means(v, batch.categories, len(nets.stored))
    momentum = settings.system.cmce.momentum
    moved = functional.normalize(momentum * nets.stored + (1.0 - momentum) * means)
    nets.stored.copy_(torch.where(counts[:, None] > 0, moved, nets.stored))


CMCE = System(
    build=CmceNetworks,
    phases=by_name(
        Phase(
            "match_categories",
            ("image_backbone", "attribute_backbone", "E_V", "E_A"),
            match_categories,
            after_step=renew_stored,
        )
    ),
    prepare=fill_stored,
)
