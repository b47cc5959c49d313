"""Deep CCA and deep canonically correlated autoencoders: two networks whose outputs correlate as much as possible.

Andrew et al., Deep Canonical Correlation Analysis, ICML 2013; Wang et al., On Deep Multi-View Representation Learning,
ICML 2015. The loss does not change under invertible linear maps of either output, so the outputs have no common basis;
a linear CCA of all training images gives them one (`closed_form/linear_cca.py`). It is folded into the last layers.

With an attribute network that can tell the training categories apart, this is a linear discriminant analysis of the
categories: keep `attribute_hidden` small. Batches must be many times larger than d.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from sal_runtime.errors import ConfigError
from sal_runtime.query.schema import AttributeSchema
from sal_train.closed_form.linear_cca import fit_linear_cca, whitened
from sal_train.config import Config, SystemConfig
from sal_train.networks import SearchNetworks, mlp
from sal_train.phases import Batch, Features, Phase, PhaseSettings, Terms
from sal_train.systems.features import PooledFeatures, standardise
from sal_train.systems.squared_error import squared_error
from sal_train.systems.system import System, TrainingSet, by_name


def correlation_loss(h_v: Tensor, h_a: Tensor, ridge: float) -> Tensor:
    """Minus the sum of the canonical correlations of a batch, the trace norm of T (Andrew et al., eq. 10).

    Only singular values are differentiated, in float64, so equal correlations do no harm; eigenvectors would give
    infinite gradients there.

    Args:
        h_v: outputs of the image network, [N, d].
        h_a: outputs of the attribute network, [N, d]; N far above d.
        ridge: added to the diagonals of the covariances, in units of their mean.

    Returns:
        Scalar in -d..0, of the dtype of `h_v`.
    """
    v, a = h_v.double(), h_a.double()
    cross, _, _ = whitened(v - v.mean(dim=0), a - a.mean(dim=0), ridge)
    correlations: Tensor = torch.linalg.svdvals(cross)
    return -correlations.sum().to(h_v.dtype)


class CcaNetworks(SearchNetworks):
    """E_V of standardised image features and E_A of attribute vectors, each with its decoder for DCCAE."""

    names: tuple[str, ...] = ("image_backbone", "E_V", "E_A")
    deployed = ("image_backbone", "E_V", "E_A")
    E_V: nn.Sequential
    E_A: nn.Sequential

    def __init__(self, config: Config, schema: AttributeSchema, num_categories: int, decoders: bool) -> None:
        super().__init__(config.model)
        settings, size, bits = config.system.cca, config.model.embedding_dim, schema.num_bits
        self.image_backbone = backbone = PooledFeatures(config.model)
        self.attribute_backbone = nn.Identity()
        image_sizes = (backbone.size, *settings.image_hidden, size)
        attribute_sizes = (bits, *settings.attribute_hidden, size)
        self.E_V, self.E_A = mlp(image_sizes), mlp(attribute_sizes)
        self.C_att = nn.Linear(size, bits)
        if decoders:
            self.names = (*self.names, "decoder_V", "decoder_A")
            self.decoder_V, self.decoder_A = mlp(image_sizes[::-1]), mlp(attribute_sizes[::-1])


def correlate(nets: CcaNetworks, batch: Batch, features: Features, settings: PhaseSettings) -> Terms:
    """DCCA: the correlation of both outputs."""
    return _correlation(nets.E_V(features.f_v), nets.E_A(features.f_a[: len(features.f_v)]), settings)


def correlate_and_reconstruct(nets: CcaNetworks, batch: Batch, features: Features, settings: PhaseSettings) -> Terms:
    """DCCAE: the correlation of both outputs, and what the decoders cannot restore from them."""
    x, a = features.f_v, features.f_a[: len(features.f_v)]
    h_v, h_a = nets.E_V(x), nets.E_A(a)
    terms, weight = _correlation(h_v, h_a, settings), settings.system.cca.reconstruction
    if weight:
        terms["image_error"] = weight * squared_error(x, nets.decoder_V(h_v))
        terms["attribute_error"] = weight * squared_error(a, nets.decoder_A(h_a))
    return terms


def _correlation(h_v: Tensor, h_a: Tensor, settings: PhaseSettings) -> Terms:
    count, size = h_v.shape
    if count <= size:
        raise ConfigError(
            f"data.batch_size is {count}, but {size} coordinates (model.embedding_dim) of {count} images correlate "
            "perfectly, whatever the networks do; raise the batch to many times the coordinates, such as 2048"
        )
    return {"correlation": correlation_loss(h_v, h_a, settings.system.cca.ridge)}


def fold_linear_cca(nets: CcaNetworks, data: TrainingSet, settings: SystemConfig) -> None:
    """Bring both outputs into a common basis: the maps of a linear CCA become part of the last linear layers."""
    h_v = data.outputs(nets, nets.embed_images)
    device = nets.C_att.weight.device
    h_a = nets.embed_attributes(data.attributes.to(device)).cpu()
    cca = fit_linear_cca(h_v, h_a, settings.cca.ridge)
    importance = cca.correlations**settings.cca.power
    for network, mean, weight in ((nets.E_V, cca.mean_v, cca.weight_v), (nets.E_A, cca.mean_a, cca.weight_a)):
        last = network[-1]
        assert isinstance(last, nn.Linear)
        folded = (weight * importance).T  # [d, d]
        last.bias.copy_(folded @ (last.bias.cpu().double() - mean))
        last.weight.copy_(folded @ last.weight.cpu().double())


DCCA = System(
    build=partial(CcaNetworks, decoders=False),
    phases=by_name(Phase("correlate", ("E_V", "E_A"), correlate)),
    prepare=standardise,
    solve=fold_linear_cca,
)
DCCAE = System(
    build=partial(CcaNetworks, decoders=True),
    phases=by_name(
        Phase("correlate_and_reconstruct", ("E_V", "E_A", "decoder_V", "decoder_A"), correlate_and_reconstruct)
    ),
    prepare=standardise,
    solve=fold_linear_cca,
)
