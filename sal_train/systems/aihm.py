"""AIHM-like: a network compares an image with a description, as a whole and attribute by attribute.

Dong et al., Person Search by Text Attribute Query as Zero-Shot Learning, ICCV 2019. No code of the authors was found;
the structure follows descriptions of the paper, all sizes and weights are ours. Descriptions that belong to no image of
the batch are added as negatives; a recipe draws them with `[unseen]`.

The network compares pairs, so no gallery of vectors can answer a query: the system is evaluated, and cannot be
exported.
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

HEAD_HIDDEN = 64
NUMBERS_AT_ONCE = 2**22
"""Products of local embeddings that are in memory at once when a query is compared with many images."""


def balanced_match_loss(logits: Tensor, is_match: Tensor, counts: Tensor) -> Tensor:
    """Sigmoid cross entropy of pairs, of which matches and others have half the weight each.

    Args:
        logits: of the pairs, [B, T].
        is_match: whether the description fits the image, bool [B, T].
        counts: which pairs count at all, bool [B, T].
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, is_match.to(logits.dtype), reduction="none")
    halves = [(is_match & counts).to(logits.dtype), (~is_match & counts).to(logits.dtype)]
    return sum(((entropy * part).sum() / part.sum().clamp_min(1.0) for part in halves), entropy.new_zeros(())) / 2.0


class Descriptions(nn.Module):
    """Attribute vectors -> (z^glo, z_1, ..., z_M): a learned vector for the value of each group, and one of all.

    The values of a group are its bits in order, after "none of them".
    """

    first_value: Tensor

    def __init__(self, schema: AttributeSchema, global_size: int, local_size: int) -> None:
        super().__init__()
        self.bits = [list(group.bits) for group in schema.groups]
        sizes = torch.tensor([len(bits) + 1 for bits in self.bits])
        self.register_buffer("first_value", sizes.cumsum(0) - sizes, persistent=False)
        self.table = nn.Embedding(int(sizes.sum()), local_size)
        self.whole = nn.Linear(len(self.bits) * local_size, global_size)

    def values(self, attributes: Tensor) -> Tensor:
        """Number of the value of each group, 0 for none of its bits: float [B, A] -> int64 [B, M]."""
        columns = []
        for bits in self.bits:
            share, position = attributes[:, bits].max(dim=1)
            columns.append(torch.where(share > 0.5, position + 1, 0))
        return torch.stack(columns, dim=1)

    def forward(self, attributes: Tensor) -> Tensor:
        """Float [B, A] -> [B, G + M L]."""
        local = self.table(self.values(attributes) + self.first_value).flatten(1)
        return torch.cat([self.whole(local), local], dim=1)


class Matcher(nn.Module):
    """Embeddings of images and of descriptions -> a logit for each pair.

    With element-wise products s^glo and s_i of both sides, quality gates q_i = sigmoid(w_i . s_i + b_i) weigh the
    attributes: s^loc = sum_i q_i tanh(U s_i), and a network of one hidden layer reads (s^glo, s^loc).
    """

    def __init__(self, groups: int, global_size: int, local_size: int) -> None:
        super().__init__()
        self.sizes = (global_size, groups * local_size)
        self.gate = nn.Parameter(torch.zeros(groups, local_size))
        self.gate_bias = nn.Parameter(torch.zeros(groups))
        self.U = nn.Linear(local_size, local_size, bias=False)
        self.head = nn.Sequential(
            nn.Linear(global_size + local_size, HEAD_HIDDEN), nn.ReLU(), nn.Linear(HEAD_HIDDEN, 1)
        )

    def local(self, embedding: Tensor) -> Tensor:
        """The part of an embedding that belongs to the attributes, [..., G + M L] -> [..., M, L]."""
        return embedding[..., self.sizes[0] :].reshape(*embedding.shape[:-1], *self.gate.shape)

    def gates(self, s: Tensor) -> Tensor:
        """The gates q of products s [..., M, L]: [..., M]."""
        return torch.sigmoid((s * self.gate).sum(dim=-1) + self.gate_bias)

    def forward(self, images: Tensor, descriptions: Tensor) -> Tensor:
        """[..., G + M L] and [..., G + M L], which may broadcast -> logits [...]."""
        products = images * descriptions
        s_global, s = products[..., : self.sizes[0]], self.local(products)
        local = (self.gates(s)[..., None] * torch.tanh(self.U(s))).sum(dim=-2)
        logits: Tensor = self.head(torch.cat([s_global, local], dim=-1))
        return logits[..., 0]


class AihmNetworks(SearchNetworks):
    """E_V and E_A give (x^glo, x_1, ..., x_M) of images and descriptions; the matcher compares them."""

    names = ("image_backbone", "E_V", "E_A", "matcher", "C_cat", "C_local")
    deployed = ("image_backbone", "E_V", "E_A", "matcher", "C_local")
    fits_head = False
    is_pairwise = True
    E_A: Descriptions

    def __init__(self, config: Config, schema: AttributeSchema, num_categories: int) -> None:
        super().__init__(config.model)
        settings, groups = config.system.aihm, len(schema.groups)
        self.image_backbone = backbone = PooledFeatures(config.model)
        self.attribute_backbone = nn.Identity()
        self.E_V = nn.Linear(backbone.size, settings.global_size + groups * settings.local_size)
        self.E_A = Descriptions(schema, settings.global_size, settings.local_size)
        self.matcher = Matcher(groups, settings.global_size, settings.local_size)
        self.C_cat = nn.Linear(settings.global_size, num_categories)
        self.C_local = nn.ModuleList(nn.Linear(settings.local_size, len(group.bits) + 1) for group in schema.groups)

    @property
    def embedding_dim(self) -> int:
        """Length of an embedding."""
        return sum(self.matcher.sizes)

    def comparable(self, embedding: Tensor) -> Tensor:
        """The matcher takes embeddings as they are."""
        return embedding

    def compare(self, queries: Tensor, images: Tensor) -> Tensor:
        """Logits [Q, N] of all pairs of embedded queries [Q, d] and images [N, d], a part of the images at a time."""
        parts = torch.split(images, max(1, NUMBERS_AT_ONCE // images.shape[1]))
        rows = [torch.cat([self.matcher(part, query) for part in parts]) for query in queries]
        return torch.stack(rows)

    def attribute_logits(self, embedding: Tensor) -> Tensor:
        """Log odds of each bit against the other values of its group, [B, d] -> [B, A]."""
        local = self.matcher.local(embedding)
        logits = embedding.new_zeros(len(embedding), sum(len(bits) for bits in self.E_A.bits))
        for number, (bits, classify) in enumerate(zip(self.E_A.bits, self.C_local, strict=True)):
            of_values = classify(local[:, number])
            for position, bit in enumerate(bits, start=1):
                others = torch.cat([of_values[:, :position], of_values[:, position + 1 :]], dim=1)
                logits[:, bit] = of_values[:, position] - others.logsumexp(dim=1)
        return logits


def match_pairs(nets: AihmNetworks, batch: Batch, features: Features, settings: PhaseSettings) -> Terms:
    """Every image of the batch against the descriptions of all, and against sampled ones that fit none of them."""
    weights, count = settings.system.aihm, len(features.f_v)
    own = batch.attributes[:count]
    x, z = nets.E_V(features.f_v), nets.E_A(batch.attributes)
    is_match = _equal(own, batch.attributes)  # [B, B + U]
    counts = torch.ones_like(is_match)
    counts[:, count:] = ~is_match[:, count:].any(dim=0)
    logits = nets.matcher(x[:, None], z[None])
    whole, values, local = nets.matcher.sizes[0], nets.E_A.values(own), nets.matcher.local(x)
    of_attributes = [
        functional.cross_entropy(classify(local[:, number]), values[:, number])
        for number, classify in enumerate(nets.C_local)
    ]
    return {
        "match": balanced_match_loss(logits, is_match, counts),
        "image_category": weights.category * losses.category_loss(nets.C_cat(x[:, :whole]), batch.categories),
        "text_category": weights.category * losses.category_loss(nets.C_cat(z[:count, :whole]), batch.categories),
        "attribute": weights.attribute * torch.stack(of_attributes).mean(),
    }


def _equal(own: Tensor, others: Tensor) -> Tensor:
    """Whether two descriptions are equal, [B, A] and [T, A] -> bool [B, T]."""
    return (own[:, None] == others[None]).all(dim=-1)


AIHM = System(
    build=AihmNetworks,
    phases=by_name(Phase("match_pairs", AihmNetworks.names, match_pairs)),
    prepare=standardise,
)
