"""The phases of one iteration of SAL: the paper's Algorithm 1 as a table.

A phase names the networks it trains and the function that gives its loss terms; `sal_train.iteration` freezes all other
networks, sums the terms and steps. A stage of a recipe lists phases, which run in that order in every iteration:

    Algorithm 1, step 1   embed_image, embed_attribute     eq. 1
    Algorithm 1, step 2   synthesis_D, synthesis_G         eq. 7
    Algorithm 1, step 3   alignment_D, alignment_E         eq. 12

The ablations of the paper's Tables 2-4 are lists of phases and weights of terms, see docs/recipes.md.
f_a holds the attribute features of the batch, then those of the sampled unseen vectors (sec. 3.4); `[:B]` is the batch
alone. Sizes: B batch, U unseen, A attributes, K training categories, d embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from sal_runtime.errors import ConfigError
from sal_train import losses
from sal_train.config import LossConfig, SystemConfig
from sal_train.networks import Networks, batch_statistics

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """The data of one iteration, on the device.

    Attributes:
        attributes: of the images, then of the unseen samples, float32 [B + U, A]; 0 or 1 where known, else the
            probability of the attribute.
        categories: of the images, int64 [B], 0..K-1.
        noise: z for each row of `attributes`, float32 [B + U, 400].
        category_vectors: attribute vectors of all training categories, float32 [K, A].
        prior: probability of each attribute in training, float32 [A].
        taught: the teacher's unit embeddings of the images, float32 [B, d]; None without a teacher.
        known: which of `attributes` are known, 0 or 1, float32 [B + U, A]; None if all are.
        category_known: which of `category_vectors` are known, likewise, float32 [K, A].
    """

    attributes: Tensor
    categories: Tensor
    noise: Tensor
    category_vectors: Tensor
    prior: Tensor
    taught: Tensor | None = None
    known: Tensor | None = None
    category_known: Tensor | None = None


@dataclass(frozen=True)
class Features:
    """Middle-level features, computed once per iteration; they carry a graph if a phase trains their extractor.

    Attributes:
        f_v: float32 [B, 512].
        f_a: float32 [B + U, 512].
    """

    f_v: Tensor
    f_a: Tensor

    def detached(self) -> tuple[Tensor, Tensor]:
        """(f_v, f_a) as constants: both GANs leave the extractors alone."""
        return self.f_v.detach(), self.f_a.detach()


@dataclass(frozen=True)
class PhaseSettings:
    """Settings of the recipe that the phases use."""

    weights: LossConfig
    batchnorm_real_only: bool = False
    system: SystemConfig = field(default_factory=SystemConfig)


PhaseLoss = Callable[[Any, Batch, Features, PhaseSettings], Terms]
"""Of the networks of SAL, or of another system (`systems/`)."""


@dataclass(frozen=True)
class Phase:
    """One update: its name, the networks it trains, and the function that gives the terms it minimises.

    After the step, `after_step` may renew what is computed rather than trained; it takes what `loss` takes.
    """

    name: str
    trains: tuple[str, ...]
    loss: PhaseLoss
    after_step: Callable[[Any, Batch, Features, PhaseSettings], None] | None = None


def embed_image(nets: Networks, batch: Batch, features: Features, settings: PhaseSettings) -> Terms:
    """L_embed (eq. 1) of the image branch."""
    return _embedding_terms(nets, nets.E_V(features.f_v), batch, settings.weights, "image")


def embed_attribute(nets: Networks, batch: Batch, features: Features, settings: PhaseSettings) -> Terms:
    """L_embed (eq. 1) of the attribute branch. Unseen vectors have attributes but no category."""
    return _embedding_terms(nets, nets.E_A(features.f_a), batch, settings.weights, "attribute")


def embed_joint(nets: Networks, batch: Batch, features: Features, settings: PhaseSettings) -> Terms:
    """L_embed of both branches in one step, with a cosine softmax over category prototypes (not in the paper)."""
    weights = settings.weights
    e_v, e_a = nets.E_V(features.f_v), nets.E_A(features.f_a)
    terms = {
        **_embedding_terms(nets, e_v, batch, weights, "image"),
        **_embedding_terms(nets, e_a, batch, weights, "attribute"),
    }
    if weights.prototype:
        chosen, categories = _prototype_categories(batch, weights.prototype_count)
        vectors = batch.category_vectors[chosen]
        if weights.prototype_unseen:
            vectors = torch.cat([vectors, batch.attributes[len(batch.categories) :]])
        left_out = _other_fitting(batch, vectors, chosen, categories)
        with batch_statistics(nets.attribute_backbone, nets.E_A):  # the running ones count categories once per image
            prototypes = nets.embed_attributes(vectors)  # [K + U, d]
        soft = None
        if weights.prototype_softness:
            soft = losses.neighbourhood(batch.attributes[: len(e_v)], vectors, weights.prototype_softness, left_out)
        terms["prototype"] = weights.prototype * losses.prototype_loss(
            e_v, prototypes, categories, weights.prototype_scale, weights.prototype_margin, soft, left_out
        )
    return terms


def distil(nets: Networks, batch: Batch, features: Features, settings: PhaseSettings) -> Terms:
    """The image branch imitates a teacher's embeddings; the attribute branch is the teacher's (not in the paper).

    Raises:
        ConfigError: there is no teacher.
    """
    if batch.taught is None:
        raise ConfigError("phase 'distil' needs a teacher; set run.teacher to the folder of a finished run")
    weights = settings.weights
    with torch.no_grad():
        prototypes = nets.embed_attributes(batch.category_vectors)
    embedding, similarity = losses.distillation_losses(
        nets.E_V(features.f_v), batch.taught, prototypes, weights.prototype_scale
    )
    return {
        "distil_embedding": weights.distil_embedding * embedding,
        "distil_similarity": weights.distil_similarity * similarity,
    }


def heads(nets: Networks, batch: Batch, features: Features, settings: PhaseSettings) -> Terms:
    """L_att and L_cat of the heads alone, on embeddings of images that stay as they are (not in the paper)."""
    with torch.no_grad():
        e_v = nets.E_V(features.f_v)
    return _embedding_terms(nets, e_v, batch, settings.weights, "image")


def synthesis_discriminator(nets: Networks, batch: Batch, features: Features, settings: PhaseSettings) -> Terms:
    """-L_gan1 (eq. 4) for D_1."""
    f_v, f_a = features.detached()
    with torch.no_grad():
        f_v_tilde, f_a_tilde = _synthesise(nets, f_v, f_a, batch.noise)
    pairs = _judge_pairs(nets, f_v, f_a, f_v_tilde, f_a_tilde)
    real = nets.D_1(torch.cat([f_a[: len(f_v)], f_v], dim=1))
    return {"gan1_D": settings.weights.gan1 * losses.gan1_discriminator_loss(real, *pairs)}


def synthesis_generators(nets: Networks, batch: Batch, features: Features, settings: PhaseSettings) -> Terms:
    """L_synth-adv (eq. 7) for G_V and G_A: eq. 4 non-saturating, eq. 5, eq. 6. E_V and E_A are fixed here."""
    weights = settings.weights
    f_v, f_a = features.detached()
    f_v_tilde, f_a_tilde = _synthesise(nets, f_v, f_a, batch.noise)
    terms = {
        "gan1_G": weights.gan1 * losses.gan1_generator_loss(*_judge_pairs(nets, f_v, f_a, f_v_tilde, f_a_tilde)),
        "cycle": weights.cycle * losses.cycle_loss(nets.G_A(f_v_tilde), f_a),
    }
    if weights.consistency:
        with torch.no_grad():
            e_v, e_a_all = nets.E_V(f_v), nets.E_A(f_a)
        terms["consistency"] = weights.consistency * losses.consistency_loss(
            nets.E_A(f_a_tilde), nets.E_V(f_v_tilde), e_a_all[: len(e_v)], e_v, e_a_all
        )
    return terms


def alignment_discriminator(nets: Networks, batch: Batch, features: Features, settings: PhaseSettings) -> Terms:
    """-L_gan2 (eq. 8) and -L_aug1 (eq. 9) for D_2, on embeddings with batch statistics, as the encoders train."""
    weights = settings.weights
    f_v, f_a = features.detached()
    with torch.no_grad(), batch_statistics(nets.E_V, nets.E_A):
        e_v, e_a = nets.E_V(f_v), nets.E_A(f_a)
    terms = {"gan2_D": weights.gan2 * losses.gan2_discriminator_loss(nets.D_2(e_v), nets.D_2(e_a))}
    if weights.augmented_adversarial:
        with torch.no_grad(), batch_statistics(nets.E_V, nets.E_A):
            f_v_tilde, f_a_tilde = _synthesise(nets, f_v, f_a, batch.noise)
            e_v_tilde, e_a_tilde = nets.E_V(f_v_tilde), nets.E_A(f_a_tilde)
        terms["augmented_D"] = weights.augmented_adversarial * losses.gan2_discriminator_loss(
            nets.D_2(e_v_tilde), nets.D_2(e_a_tilde)
        )
    return terms


def alignment_encoders(nets: Networks, batch: Batch, features: Features, settings: PhaseSettings) -> Terms:
    """L_align-adv (eq. 12) for the encoders: eqs. 8 and 9 through G_C = E_A, eq. 10 through E_A and E_V.

    Synthetic features are constants here: only eq. 7 trains the generators.
    """
    weights = settings.weights
    f_v, f_a = features.detached()
    terms = {"gan2_E": weights.gan2 * losses.gan2_generator_loss(nets.D_2(nets.E_A(f_a)))}
    if not (weights.augmented_adversarial or weights.augmented_embedding):
        return terms
    with torch.no_grad():
        f_v_tilde, f_a_tilde = _synthesise(nets, f_v, f_a, batch.noise)
    with _synthetic_statistics(nets.E_A, settings):
        e_a_tilde = nets.E_A(f_a_tilde)
    if weights.augmented_adversarial:
        terms["augmented_E"] = weights.augmented_adversarial * losses.gan2_generator_loss(nets.D_2(e_a_tilde))
    if weights.augmented_embedding:
        with _synthetic_statistics(nets.E_V, settings):
            e_v_tilde = nets.E_V(f_v_tilde)
        for branch, embedding in (("synthetic_attribute", e_a_tilde), ("synthetic_image", e_v_tilde)):
            for name, term in _embedding_terms(nets, embedding, batch, weights, branch).items():
                terms[name] = weights.augmented_embedding * term
    return terms


PHASES = {
    phase.name: phase
    for phase in (
        Phase("embed_image", ("image_backbone", "E_V", "C_att", "C_cat"), embed_image),
        Phase("embed_attribute", ("attribute_backbone", "E_A", "C_att", "C_cat"), embed_attribute),
        Phase(
            "embed_joint",
            ("image_backbone", "E_V", "attribute_backbone", "E_A", "C_att", "C_cat"),
            embed_joint,
        ),
        Phase("distil", ("image_backbone", "E_V"), distil),
        Phase("heads", ("C_att", "C_cat"), heads),
        Phase("synthesis_D", ("D_1",), synthesis_discriminator),
        Phase("synthesis_G", ("G_V", "G_A"), synthesis_generators),
        Phase("alignment_D", ("D_2",), alignment_discriminator),
        Phase("alignment_E", ("E_A", "E_V"), alignment_encoders),
    )
}


def _prototype_categories(batch: Batch, count: int) -> tuple[Tensor | slice, Tensor]:
    """Positions of `count` categories, those of the batch among them, and the row of each image's own in them, [B]."""
    num_categories = len(batch.category_vectors)
    if not 0 < count < num_categories:
        return slice(None), batch.categories
    device = batch.category_vectors.device
    order = torch.rand(num_categories, device=device)
    order[batch.categories] = 2.0  # first; no size here depends on the data, so the host never waits for the GPU
    chosen = order.topk(max(count, len(batch.categories))).indices
    position = torch.empty(num_categories, dtype=torch.long, device=device)
    position[chosen] = torch.arange(len(chosen), device=device)
    return chosen, position[batch.categories]


def _other_fitting(batch: Batch, vectors: Tensor, chosen: Tensor | slice, own: Tensor) -> Tensor | None:
    """Which prototypes, other than its own, fit an image, bool [B, C]; None if everything is known.

    A half-described category of another data set may describe the image as well as its own does: it is no negative.
    """
    if batch.known is None or batch.category_known is None:
        return None
    images = len(batch.categories)
    unseen = batch.known[images:][: len(vectors) - len(batch.category_known[chosen])]
    known = torch.cat([batch.category_known[chosen], unseen])
    fitting = losses.compatible_descriptions(batch.attributes[:images], batch.known[:images], vectors, known)
    return fitting.scatter(1, own[:, None], False)


def attribute_weight(batch: Batch, target: Tensor, weights: LossConfig) -> Tensor | None:
    """Weights of the attributes of the first rows of a batch in L_att, of the shape of `target`; None if all are 1."""
    weight = losses.deepmar_weight(target, batch.prior) if weights.attribute_weighting == "deepmar" else None
    if batch.known is not None:
        known = batch.known[: len(target)]
        weight = known if weight is None else weight * known
    return weight


def _embedding_terms(nets: Networks, embedding: Tensor, batch: Batch, weights: LossConfig, branch: str) -> Terms:
    """L_att and L_cat (eqs. 3, 2) of embeddings [B, d] or [B + U, d]; rows after the first B have no category."""
    terms = {}
    if weights.attribute:
        target = batch.attributes[: len(embedding)]
        weight = attribute_weight(batch, target, weights)
        terms[f"{branch}_attribute"] = weights.attribute * losses.attribute_loss(
            nets.attribute_logits(embedding), target, weights.label_smoothing, weight
        )
    if weights.category:
        terms[f"{branch}_category"] = weights.category * losses.category_loss(
            nets.category_logits(embedding[: len(batch.categories)]), batch.categories, weights.label_smoothing
        )
    return terms


def _synthesise(nets: Networks, f_v: Tensor, f_a: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """(G_V(f_a, z), G_A(f_v)): [B + U, 512], [B, 512]."""
    return nets.G_V(torch.cat([f_a, noise], dim=1)), nets.G_A(f_v)


def _judge_pairs(
    nets: Networks, f_v: Tensor, f_a: Tensor, f_v_tilde: Tensor, f_a_tilde: Tensor
) -> tuple[Tensor, Tensor]:
    """Logits of D_1 for both kinds of fake pairs, (f_a, f_v_tilde) and (f_a_tilde, f_v): [B + U, 1], [B, 1]."""
    return nets.D_1(torch.cat([f_a, f_v_tilde], dim=1)), nets.D_1(torch.cat([f_a_tilde, f_v], dim=1))


def _synthetic_statistics(network: nn.Module, settings: PhaseSettings) -> AbstractContextManager[None]:
    """A context that keeps synthetic batches out of the running statistics, if the recipe asks for it."""
    return batch_statistics(network) if settings.batchnorm_real_only else nullcontext()
