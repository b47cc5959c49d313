"""The loss terms of the paper, one function per equation, with its names and symbols. All return scalars.

Discriminators and classifiers give logits everywhere; no function here takes a probability.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

LEFT_OUT = -1e4
"""Logit of a choice that a softmax leaves out; finite, because a target of 0 times infinity is no number."""


def attribute_loss(logits: Tensor, target: Tensor, smoothing: float = 0.0, weight: Tensor | None = None) -> Tensor:
    """L_att, eq. 3: sigmoid cross entropy, summed over attributes, averaged over the batch.

    With smoothing e the targets are (1 - e) t + e / A, as in the authors' published code (the paper gives none).

    Args:
        logits: C_att(embedding), [B, A].
        target: attribute vectors of 0 and 1, [B, A].
        smoothing: e, in [0, 1).
        weight: weight of each entry, [B, A], or None for 1.
    """
    smoothed = (1.0 - smoothing) * target + smoothing / target.shape[1]
    return functional.binary_cross_entropy_with_logits(logits, smoothed, weight, reduction="sum") / logits.shape[0]


def deepmar_weight(target: Tensor, probabilities: Tensor) -> Tensor:
    """Weights exp(1 - p) of positives and exp(p) of negatives, [B, A] (Li et al., ACPR 2015, eq. 3, sigma 1)."""
    return torch.exp(torch.where(target > 0.5, 1.0 - probabilities, probabilities))


def category_loss(logits: Tensor, category: Tensor, smoothing: float = 0.0) -> Tensor:
    """L_cat, eq. 2: softmax cross entropy, averaged over the batch.

    Args:
        logits: C_cat(embedding), [B, K].
        category: int64 indices of the true categories, [B].
        smoothing: target (1 - e) one-hot + e / K.
    """
    return functional.cross_entropy(logits, category, label_smoothing=smoothing)


def real_loss(logits: Tensor) -> Tensor:
    """-E[log D] of logits [B, 1]: a discriminator's loss on real inputs, a generator's (non-saturating) on its own."""
    return functional.softplus(-logits).mean()


def fake_loss(logits: Tensor) -> Tensor:
    """-E[log(1 - D)] of logits [B, 1]: a discriminator's loss on fake inputs."""
    return functional.softplus(logits).mean()


def gan1_discriminator_loss(real: Tensor, fake_visual: Tensor, fake_attribute: Tensor) -> Tensor:
    """-L_gan1, eq. 4, which D_1 minimises.

    Args:
        real: logits D_1(f_a, f_v), [B, 1].
        fake_visual: logits D_1(f_a, G_V(f_a, z)), seen and unseen f_a, [B + U, 1].
        fake_attribute: logits D_1(G_A(f_v), f_v), [B, 1].
    """
    return real_loss(real) + 0.5 * fake_loss(fake_visual) + 0.5 * fake_loss(fake_attribute)


def gan1_generator_loss(fake_visual: Tensor, fake_attribute: Tensor) -> Tensor:
    """The generators' side of eq. 4, non-saturating (Goodfellow et al., 2014, sec. 3); arguments as for D_1."""
    return 0.5 * real_loss(fake_visual) + 0.5 * real_loss(fake_attribute)


def cycle_loss(f_a_cycled: Tensor, f_a: Tensor) -> Tensor:
    """L_cyc, eq. 5, one way: G_A(G_V(f_a, z)) against f_a, both [B + U, 512].

    The paper writes a norm. The authors' code takes the mean square over batch and dimensions, and so do we, here and
    in eq. 6.
    """
    return functional.mse_loss(f_a_cycled, f_a)


def consistency_loss(e_a_tilde: Tensor, e_v_tilde: Tensor, e_a: Tensor, e_v: Tensor, e_a_all: Tensor) -> Tensor:
    """L_consis, eq. 6: four mean squares in the common space. Its phase gives a gradient to the first two arguments.

    Args:
        e_a_tilde: E_A(G_A(f_v)), [B, d].
        e_v_tilde: E_V(G_V(f_a, z)) of seen, then of unseen f_a, [B + U, d].
        e_a: E_A(f_a) of the batch, [B, d].
        e_v: E_V(f_v) of the batch, [B, d].
        e_a_all: E_A(f_a) of seen, then of unseen f_a, [B + U, d].
    """
    batch = e_v.shape[0]
    return (
        functional.mse_loss(e_a_tilde, e_v)
        + functional.mse_loss(e_v_tilde, e_a_all)
        + functional.mse_loss(e_a_tilde, e_a)
        + functional.mse_loss(e_v_tilde[:batch], e_v)
    )


def gan2_discriminator_loss(visual: Tensor, attribute: Tensor) -> Tensor:
    """-L_gan2 (eq. 8), or on synthetic features -L_aug1 (eq. 9), for D_2; visual embeddings count as real.

    Args:
        visual: logits D_2(E_V(.)), [B, 1] or [B + U, 1].
        attribute: logits D_2(E_A(.)), [B, 1] or [B + U, 1].
    """
    return real_loss(visual) + fake_loss(attribute)


def gan2_generator_loss(attribute: Tensor) -> Tensor:
    """The side of G_C = E_A in eqs. 8 and 9, non-saturating, of logits D_2(E_A(.)), [B, 1] or [B + U, 1]."""
    return real_loss(attribute)


def prototype_loss(
    e_v: Tensor,
    prototypes: Tensor,
    category: Tensor,
    scale: float,
    margin: float,
    neighbourhood: Tensor | None = None,
    left_out: Tensor | None = None,
) -> Tensor:
    """Softmax over the cosines between images and the attribute embeddings of all categories (not in the paper).

    Search ranks by these cosines. The margin is additive as in CosFace (Wang et al., CVPR 2018).

    Args:
        e_v: image embeddings, [B, d].
        prototypes: embeddings of every training category in order, then of unseen vectors if any, [K + U, d].
        category: row of each image's category, int64 [B], below K.
        scale: factor on the cosines.
        margin: subtracted from the cosine to the true category.
        neighbourhood: target distribution over the prototypes, [B, K + U], from `neighbourhood`; None: the true
            category alone.
        left_out: prototypes that the softmax leaves out, bool [B, K + U]; never an image's own. None: it has all.
    """
    cosine = functional.normalize(e_v) @ functional.normalize(prototypes).T  # [B, K + U]
    true = functional.one_hot(category, prototypes.shape[0]).to(cosine.dtype)
    target = category if neighbourhood is None else neighbourhood
    logits = scale * (cosine - margin * true)
    if left_out is not None:
        logits = logits.masked_fill(left_out, LEFT_OUT)
    return functional.cross_entropy(logits, target)


def compatible_descriptions(attributes: Tensor, known: Tensor, vectors: Tensor, vectors_known: Tensor) -> Tensor:
    """Whether nothing that is known of both an image and a description differs, bool [B, C].

    Args:
        attributes: of the images, [B, A]; 0 or 1 where known.
        known: what is known of the images, 0 or 1, [B, A].
        vectors: descriptions, [C, A]; 0 or 1 where known.
        vectors_known: what is known of the descriptions, 0 or 1, [C, A].
    """
    present, absent = attributes * known, (1.0 - attributes) * known
    differing = (
        torch.cat([present, absent], dim=1)
        @ torch.cat([(1.0 - vectors) * vectors_known, vectors * vectors_known], dim=1).T
    )  # [B, C]
    return differing < 0.5


def neighbourhood(attributes: Tensor, vectors: Tensor, softness: float, left_out: Tensor | None = None) -> Tensor:
    """A distribution over attribute vectors that falls with their distance: softmax(-distance / softness).

    Descriptions that differ little fit nearly as well, and the cosines should reflect that (the semantic margin of
    ASMR, Jeong et al., ICCV 2021, as soft targets).

    Args:
        attributes: vectors of the images, [B, A]; for an unknown attribute its probability, which gives the expected
            distance.
        vectors: vectors of the prototypes, likewise, [K + U, A].
        softness: temperature in differing attributes, above 0.
        left_out: prototypes that get no probability, bool [B, K + U]; None: each gets some.

    Returns:
        [B, K + U], rows sum to 1.
    """
    differing = attributes.sum(1, keepdim=True) + vectors.sum(1) - 2.0 * attributes @ vectors.T  # [B, K + U]
    logits = -differing / softness
    return torch.softmax(logits if left_out is None else logits.masked_fill(left_out, LEFT_OUT), dim=1)


def distillation_losses(embedding: Tensor, taught: Tensor, prototypes: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Distance of image embeddings from a teacher's, and of their similarities to the training categories.

    Args:
        embedding: the student's embeddings, [B, d], not normalised.
        taught: the teacher's embeddings, unit vectors [B, d].
        prototypes: attribute embeddings of the training categories, [K, d], not normalised.
        scale: factor on the cosines before the softmax.

    Returns:
        The mean of 1 - cosine, in 0..2, and the mean Kullback-Leibler divergence of the student's softmax over the
        prototypes from the teacher's (Hinton, Vinyals and Dean, 2015).
    """
    student = functional.normalize(embedding)
    weights = scale * functional.normalize(prototypes).T
    distance = 1.0 - (student * taught).sum(dim=1).mean()
    divergence = functional.kl_div(
        functional.log_softmax(student @ weights, dim=1),
        functional.log_softmax(taught @ weights, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return distance, divergence
