"""ReViSE-like: two autoencoders whose codes are distributed alike, and a common space (Tsai et al., ICCV 2017).

No code of the authors was found. Form and weights follow descriptions of the paper; the softmax over categories stands
in for its loss of pairs. This is the inductive variant: the paper also adapts to unlabelled test images, which we must
not see.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from sal_runtime.query.schema import AttributeSchema
from sal_train import losses
from sal_train.config import Config
from sal_train.networks import SearchNetworks
from sal_train.phases import Batch, Features, Phase, PhaseSettings, Terms
from sal_train.systems.features import PooledFeatures, standardise
from sal_train.systems.system import System, by_name

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of the Gaussian kernels, in units of the mean squared distance."""


def mean_discrepancy(h_v: Tensor, h_a: Tensor) -> Tensor:
    """Unbiased squared maximum mean discrepancy of two samples, with a sum of Gaussian kernels (Gretton et al., 2012).

    Its mean is 0 if both have the same distribution; the biased form is far above 0 for samples of a batch.

    Args:
        h_v: [N, d].
        h_a: [M, d].
    """
    both = torch.cat([h_v, h_a])
    squared = torch.cdist(both, both, compute_mode="donot_use_mm_for_euclid_dist").square()
    unit = squared.detach().sum() / (len(both) * (len(both) - 1))
    kernel = torch.stack([torch.exp(-squared / (width * unit)) for width in BANDWIDTHS]).sum(dim=0)
    count, other = len(h_v), len(h_a)
    within_v = (kernel[:count, :count].sum() - kernel.diagonal()[:count].sum()) / (count * (count - 1))
    within_a = (kernel[count:, count:].sum() - kernel.diagonal()[count:].sum()) / (other * (other - 1))
    return within_v + within_a - 2.0 * kernel[:count, count:].mean()


def contraction_loss(h: Tensor, weight: Tensor) -> Tensor:
    """Squared Frobenius norm of the Jacobian of h = tanh(W x + b), averaged over the batch (Rifai et al., ICML 2011).

    Args:
        h: codes, [B, n].
        weight: W, [n, inputs].
    """
    return ((1.0 - h.square()).square() @ weight.square().sum(dim=1)).mean()


class ReviseNetworks(SearchNetworks):
    """Codes of standardised image features and of attributes, their decoders, and E_V and E_A of the codes."""

    names = ("image_backbone", "code_V", "code_A", "E_V", "E_A", "decoder_V", "decoder_A")
    deployed = ("image_backbone", "code_V", "code_A", "E_V", "E_A")

    def __init__(self, config: Config, schema: AttributeSchema, num_categories: int) -> None:
        super().__init__(config.model)
        code, size, bits = config.system.revise.code, config.model.embedding_dim, schema.num_bits
        self.image_backbone = backbone = PooledFeatures(config.model)
        self.attribute_backbone = nn.Identity()
        self.code_V, self.code_A = nn.Linear(backbone.size, code), nn.Linear(bits, code)
        self.E_V, self.E_A = nn.Linear(code, size), nn.Linear(code, size)
        self.decoder_V, self.decoder_A = nn.Linear(code, backbone.size), nn.Linear(code, bits)
        self.C_att = nn.Linear(size, bits)

    def embed_images(self, images: Tensor) -> Tensor:
        """Images -> E_V of their codes, [B, d]."""
        embedding: Tensor = self.E_V(torch.tanh(self.code_V(self.image_backbone(images))))
        return embedding

    def embed_attributes(self, attributes: Tensor) -> Tensor:
        """Attribute vectors -> E_A of their codes, [B, d]."""
        embedding: Tensor = self.E_A(torch.tanh(self.code_A(attributes)))
        return embedding


def embed_and_restore(nets: ReviseNetworks, batch: Batch, features: Features, settings: PhaseSettings) -> Terms:
    """The category by the cosine, both autoencoders, and the discrepancy of their codes."""
    weights, x = settings.system.revise, features.f_v
    a = features.f_a[: len(x)]
    h_v, h_a = torch.tanh(nets.code_V(x)), torch.tanh(nets.code_A(a))
    prototypes = nets.embed_attributes(batch.category_vectors)
    restored = functional.mse_loss(nets.decoder_V(h_v), x.detach()) + functional.binary_cross_entropy_with_logits(
        nets.decoder_A(h_a), a
    )
    contraction = weights.contraction * contraction_loss(h_v, nets.code_V.weight)
    return {
        "category": losses.prototype_loss(nets.E_V(h_v), prototypes, batch.categories, weights.scale, margin=0.0),
        "reconstruction": weights.reconstruction * (restored + contraction),
        "discrepancy": weights.discrepancy * mean_discrepancy(h_v, h_a),
    }


REVISE = System(
    build=ReviseNetworks,
    phases=by_name(Phase("embed_and_restore", ReviseNetworks.names, embed_and_restore)),
    prepare=standardise,
)
