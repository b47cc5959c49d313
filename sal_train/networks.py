"""The networks of SAL under the paper's symbols.

E_V, E_A embed features into the common space, G_V, G_A synthesise the features of one modality from the other's,
D_1 judges feature pairs, D_2 embeddings, C_att and C_cat classify embeddings of either modality. The paper has no
symbol for the two feature extractors; here they are `image_backbone` and `attribute_backbone`.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from sal_runtime.errors import ConfigError
from sal_train.backbones.pretrained import build_backbone
from sal_train.config import ModelConfig

NETWORK_NAMES = ("image_backbone", "attribute_backbone", "E_V", "E_A", "G_V", "G_A", "D_1", "D_2", "C_att", "C_cat")
DEPLOYED_NAMES = ("image_backbone", "attribute_backbone", "E_V", "E_A", "C_att", "C_cat")
ATTRIBUTE_HIDDEN = (64, 128, 256)
EMBEDDING_HIDDEN = (512, 256)
GENERATOR_HIDDEN = (256, 128, 256)
DISCRIMINATOR_HIDDEN = (512, 256)


def mlp(sizes: tuple[int, ...], output: nn.Module | None = None, running_statistics: bool = True) -> nn.Sequential:
    """Linear layers of the given sizes with BatchNorm and ReLU between them and `output` at the end.

    Args:
        sizes: of the input, the hidden layers and the output.
        output: last module, such as an activation.
        running_statistics: False makes the BatchNorms use the statistics of their batch, also in evaluation mode. That
            suits networks that are never deployed: a discriminator compares their batches with real ones.
    """
    layers: list[nn.Module] = []
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        layers.append(nn.Linear(inputs, outputs))
        if index < len(sizes) - 2:
            layers += [nn.BatchNorm1d(outputs, track_running_stats=running_statistics), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, output) if output is not None else nn.Sequential(*layers)


def discriminator(inputs: int, norm: str) -> nn.Sequential:
    """[B, inputs] -> logits [B, 1]; hidden layers with BatchNorm (the paper) or spectral normalisation."""
    wrap: Callable[[nn.Linear], nn.Module] = spectral_norm if norm == "spectral" else nn.Identity()
    layers: list[nn.Module] = []
    for outputs in DISCRIMINATOR_HIDDEN:
        layers.append(wrap(nn.Linear(inputs, outputs)))
        if norm == "batch":
            layers.append(nn.BatchNorm1d(outputs, track_running_stats=False))
        layers.append(nn.LeakyReLU(0.2, inplace=True))
        inputs = outputs
    return nn.Sequential(*layers, wrap(nn.Linear(inputs, 1)))


class ImageBackbone(nn.Module):
    """RGB images -> f_v: normalisation, convolutional trunk, average pooling, one linear layer."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        backbone = build_backbone(config.backbone, config.last_stride, config.stride_on)
        self.trunk = backbone.trunk
        self.config = config
        self.dropout = nn.Dropout(config.dropout)
        self.fc = nn.Linear(self.trunk.out_channels * (1 + config.stripes), config.feature_dim)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)
        self.norm: nn.Module = nn.BatchNorm1d(config.feature_dim) if config.feature_norm == "batch" else nn.Identity()
        self.register_buffer("mean", torch.tensor(backbone.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(backbone.std).view(1, 3, 1, 1), persistent=False)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 or float RGB [B, H, W, 3] in 0..255 -> float32 [B, 3, H, W], channels-last in memory."""
        # float first: TensorRT takes uint8 only as an input that a cast follows
        return (images.float().permute(0, 3, 1, 2) - self.mean) / self.std

    def pool(self, images: Tensor) -> Tensor:
        """RGB images in 0..255, [B, H, W, 3] -> averages of the feature map, float32 [B, channels * (1 + stripes)].

        They are those of the whole map, then those of its stripes from top to bottom.

        Raises:
            ConfigError: the map has fewer rows than stripes.
        """
        dtype = next(self.trunk.parameters()).dtype  # float16 in an fp16 export
        return self._average(self.trunk(self.normalise(images).to(dtype)))

    def _average(self, feature_map: Tensor) -> Tensor:
        feature_map = feature_map.float()
        height, stripes = feature_map.shape[2], self.config.stripes
        if stripes > height:
            raise ConfigError(f"model.stripes is {stripes}, but the feature map has {height} rows; lower it")
        edges = [height * number // max(stripes, 1) for number in range(stripes + 1)]
        parts = [feature_map, *(feature_map[:, :, top:bottom] for top, bottom in itertools.pairwise(edges))]
        return torch.cat([part.mean(dim=(2, 3)) for part in parts], dim=1)

    def features(self, pooled: Tensor) -> Tensor:
        """Output of `pool` -> f_v float32 [B, 512]."""
        return cast(Tensor, self.norm(self.fc(self.dropout(pooled)).float()))

    def pooled(self, images: Tensor) -> Tensor:
        """The output of `pool` for any input that `forward` takes."""
        if images.ndim == 2:
            return images
        if images.dtype == torch.float16:
            return self._average(self.trunk.run_trained(images.permute(0, 3, 1, 2).float()))
        return self.pool(images)

    def forward(self, images: Tensor) -> Tensor:
        """f_v, float32 [B, 512].

        Args:
            images: RGB in 0..255, uint8 or float32 [B, H, W, 3]; or the output of `pool`, [B, channels]; or that of the
                frozen blocks, float16 [B, h, w, channels].
        """
        return self.features(self.pooled(images))


class SearchNetworks(nn.Module):
    """What SAL and the systems it is compared with (`systems/`) have in common: two encoders, compared by a cosine.

    Images are embedded by E_V after `image_backbone`, attribute vectors by E_A after `attribute_backbone`. C_att reads
    attributes from an embedding.

    Attributes:
        names: networks that phases may train.
        deployed: those that a moving average and a bundle need.
        fits_head: no phase trains C_att; it is fitted to the embeddings whenever a model is saved.
        is_pairwise: embeddings are compared by a network instead of the cosine; then no index can hold them.
    """

    names: tuple[str, ...]
    deployed: tuple[str, ...]
    fits_head = True
    is_pairwise = False
    image_backbone: ImageBackbone
    attribute_backbone: nn.Module
    E_V: nn.Module
    E_A: nn.Module
    C_att: nn.Linear

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.linear_query: nn.Linear | None = None
        self.head_scale = nn.Parameter(torch.tensor(16.0), requires_grad=False)

    @property
    def embedding_dim(self) -> int:
        """d, length of an embedding."""
        return self.C_att.in_features

    def network(self, name: str) -> nn.Module:
        """One of `names`."""
        return cast(nn.Module, getattr(self, name))

    def embed_images(self, images: Tensor) -> Tensor:
        """RGB images in 0..255, [B, H, W, 3], or their pooled features -> e_v [B, d], not normalised."""
        return cast(Tensor, self.E_V(self.image_backbone(images)))

    def embed_attributes(self, attributes: Tensor) -> Tensor:
        """Attribute vectors float [B, A] -> e_a [B, d], not normalised."""
        return cast(Tensor, self.E_A(self.attribute_backbone(attributes)))

    def comparable(self, embedding: Tensor) -> Tensor:
        """Embeddings [B, d] in the form in which `compare` takes them: unit vectors."""
        return functional.normalize(embedding)

    def compare(self, queries: Tensor, images: Tensor) -> Tensor:
        """Scores [Q, N] of comparable embeddings [Q, d] and [N, d], higher is better."""
        return queries @ images.T

    def head_input(self, embedding: Tensor) -> Tensor:
        """Input of the heads for an embedding [B, d]: itself, or with `unit_heads` its scaled direction."""
        if not self.config.unit_heads:
            return embedding
        return self.head_scale * functional.normalize(embedding)

    def attribute_logits(self, embedding: Tensor) -> Tensor:
        """Logits of C_att: embedding [B, d] -> [B, A]."""
        return cast(Tensor, self.C_att(self.head_input(embedding)))


class Networks(SearchNetworks):
    """All networks of SAL, under the paper's names.

    Args:
        config: sizes and options.
        num_bits: A, length of the attribute vectors.
        num_categories: K, number of training categories and of outputs of C_cat.
    """

    names = NETWORK_NAMES
    deployed = DEPLOYED_NAMES
    fits_head = False
    E_V: nn.Sequential
    E_A: nn.Sequential

    def __init__(self, config: ModelConfig, num_bits: int, num_categories: int) -> None:
        super().__init__(config)
        feature, embedding = config.feature_dim, config.embedding_dim
        self.image_backbone = ImageBackbone(config)
        hidden = config.encoders == "mlp"
        self.attribute_backbone = mlp((num_bits, *(ATTRIBUTE_HIDDEN if hidden else ()), feature), nn.Tanh())
        embedding_sizes = (feature, *(EMBEDDING_HIDDEN if hidden else ()), embedding)
        self.E_V = mlp(embedding_sizes, _embedding_output(config))
        self.E_A = mlp(embedding_sizes, _embedding_output(config))
        visual_output = nn.Tanh() if config.generator_output == "tanh" else None
        self.G_V = mlp(
            (feature + config.noise_dim, *GENERATOR_HIDDEN, feature), visual_output, running_statistics=False
        )
        self.G_A = mlp((feature, *GENERATOR_HIDDEN, feature), nn.Tanh(), running_statistics=False)
        self.D_1 = discriminator(2 * feature, config.discriminator_norm)
        self.D_2 = discriminator(embedding, config.discriminator_norm)
        self.C_att = nn.Linear(embedding, num_bits)
        self.C_cat = nn.Linear(embedding, num_categories)
        if config.linear_query:
            self.linear_query = nn.Linear(num_bits, embedding).requires_grad_(False)
            self.set_linear_query(torch.zeros(embedding, num_bits), torch.zeros(embedding))

    def embed_attributes(self, attributes: Tensor) -> Tensor:
        """Attribute vectors float [B, A] -> e_a [B, d], not normalised."""
        e_a = super().embed_attributes(attributes)
        if self.linear_query is None:
            return e_a
        return unit(e_a) + unit(self.linear_query(attributes))

    @torch.no_grad()
    def set_linear_query(self, weight: Tensor, bias: Tensor) -> None:
        """Set weight [d, A] and bias [d] of the query's linear part; with zeros E_A alone gives the direction."""
        assert self.linear_query is not None
        self.linear_query.weight.copy_(weight)
        self.linear_query.bias.copy_(bias)

    def category_logits(self, embedding: Tensor) -> Tensor:
        """Logits of C_cat: embedding [B, d] -> [B, K]."""
        return cast(Tensor, self.C_cat(self.head_input(embedding)))


def unit(embedding: Tensor) -> Tensor:
    """[N, d] divided by its L2 norm (at least 1e-12)."""
    # not F.normalize: its export computes a shape, and ONNX Runtime would do that on the CPU even on a GPU
    length: Tensor = torch.linalg.vector_norm(embedding, dim=1, keepdim=True)
    return embedding / length.clamp_min(1e-12)


def _embedding_output(config: ModelConfig) -> nn.Module:
    return nn.Tanh() if config.embedding_output == "tanh" else nn.BatchNorm1d(config.embedding_dim, affine=False)


@torch.no_grad()
def with_category_statistics(networks: SearchNetworks, category_vectors: Tensor) -> SearchNetworks:
    """A copy whose attribute branch takes its BatchNorm statistics from one pass over the training categories.

    Args:
        networks: not changed.
        category_vectors: float [K, A], K at least 2.

    Returns:
        The copy, in evaluation mode.
    """
    copied = copy.deepcopy(networks).eval()
    branch = (copied.attribute_backbone, copied.E_A)
    norms = [module for network in branch for module in network.modules() if isinstance(module, nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # the running statistics become those of the one batch
        norm.train()
    copied.embed_attributes(category_vectors)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return copied.eval()


@contextmanager
def batch_statistics(*networks: nn.Module) -> Iterator[None]:
    """A context in which the BatchNorms of `networks` use the statistics of their batch.

    Their running statistics, which the deployed encoder uses, do not change.
    """
    norms = [
        module
        for network in networks
        for module in network.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
    ]
    before = [(norm.training, norm.track_running_stats) for norm in norms]
    try:
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm, (training, tracked) in zip(norms, before, strict=True):
            norm.training, norm.track_running_stats = training, tracked
