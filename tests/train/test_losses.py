"""Each loss against the formula written a second time, naively, in plain Python."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from sal_train import losses


def sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))


def mean_square(left: Tensor, right: Tensor) -> float:
    pairs = zip(left.flatten().tolist(), right.flatten().tolist(), strict=True)
    squares = [(a - b) ** 2 for a, b in pairs]
    return sum(squares) / len(squares)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


def test_attribute_loss_is_summed_over_attributes_and_averaged_over_the_batch() -> None:
    logits = torch.tensor([[0.5, -1.0, 2.0], [-0.25, 0.0, 3.0]])
    target = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    expected = 0.0
    for row, wanted in zip(logits.tolist(), target.tolist(), strict=True):
        for x, t in zip(row, wanted, strict=True):
            expected -= t * math.log(sigmoid(x)) + (1 - t) * math.log(1 - sigmoid(x))
    assert losses.attribute_loss(logits, target).item() == pytest.approx(expected / 2, rel=1e-6)


def test_attribute_loss_smooths_towards_one_over_the_number_of_attributes() -> None:
    logits = torch.tensor([[0.7, -0.3]])
    target = torch.tensor([[1.0, 0.0]])
    expected = 0.0
    for x, t in ((0.7, 0.9 + 0.1 / 2), (-0.3, 0.1 / 2)):
        expected -= t * math.log(sigmoid(x)) + (1 - t) * math.log(1 - sigmoid(x))
    assert losses.attribute_loss(logits, target, smoothing=0.1).item() == pytest.approx(expected, rel=1e-6)


def test_deepmar_weights_rare_positives_and_common_negatives_up() -> None:
    weight = losses.deepmar_weight(torch.tensor([[1.0, 0.0]]), torch.tensor([0.1, 0.1]))
    assert weight.flatten().tolist() == pytest.approx([math.exp(0.9), math.exp(0.1)], rel=1e-6)


def test_category_loss_with_smoothing() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    total = sum(math.exp(x) for x in (2.0, 0.0, -1.0))
    log_probabilities = [x - math.log(total) for x in (2.0, 0.0, -1.0)]
    target = [0.9 + 0.1 / 3, 0.1 / 3, 0.1 / 3]
    expected = -sum(t * p for t, p in zip(target, log_probabilities, strict=True))
    loss = losses.category_loss(logits, torch.tensor([0]), smoothing=0.1)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_gan1_weighs_the_two_kinds_of_fakes_by_one_half_each() -> None:
    real, visual, attribute = torch.tensor([[0.4]]), torch.tensor([[-0.2], [1.0]]), torch.tensor([[0.9]])
    expected = -math.log(sigmoid(0.4))
    expected -= 0.5 * (math.log(1 - sigmoid(-0.2)) + math.log(1 - sigmoid(1.0))) / 2
    expected -= 0.5 * math.log(1 - sigmoid(0.9))
    assert losses.gan1_discriminator_loss(real, visual, attribute).item() == pytest.approx(expected, rel=1e-5)
    generators = -0.5 * (math.log(sigmoid(-0.2)) + math.log(sigmoid(1.0))) / 2 - 0.5 * math.log(sigmoid(0.9))
    assert losses.gan1_generator_loss(visual, attribute).item() == pytest.approx(generators, rel=1e-5)


def test_gan2_counts_visual_embeddings_as_real() -> None:
    visual, attribute = torch.tensor([[1.5]]), torch.tensor([[-0.5]])
    expected = -math.log(sigmoid(1.5)) - math.log(1 - sigmoid(-0.5))
    assert losses.gan2_discriminator_loss(visual, attribute).item() == pytest.approx(expected, rel=1e-5)
    assert losses.gan2_generator_loss(attribute).item() == pytest.approx(-math.log(sigmoid(-0.5)), rel=1e-5)


def test_gan_losses_are_finite_for_extreme_logits() -> None:
    extreme = torch.tensor([[200.0], [-200.0]])
    assert losses.real_loss(extreme).item() == pytest.approx(100.0)
    assert losses.fake_loss(extreme).item() == pytest.approx(100.0)


def test_cycle_loss_is_a_mean_square(generator: torch.Generator) -> None:
    left, right = torch.randn(3, 5, generator=generator), torch.randn(3, 5, generator=generator)
    assert losses.cycle_loss(left, right).item() == pytest.approx(mean_square(left, right), rel=1e-5)


def test_consistency_loss_has_the_four_terms_of_eq_6(generator: torch.Generator) -> None:
    batch, unseen, width = 3, 2, 4
    e_a_tilde = torch.randn(batch, width, generator=generator)
    e_v_tilde = torch.randn(batch + unseen, width, generator=generator)
    e_a_all = torch.randn(batch + unseen, width, generator=generator)
    e_v = torch.randn(batch, width, generator=generator)
    e_a = e_a_all[:batch]
    expected = (
        mean_square(e_a_tilde, e_v)
        + mean_square(e_v_tilde, e_a_all)
        + mean_square(e_a_tilde, e_a)
        + mean_square(e_v_tilde[:batch], e_v)
    )
    loss = losses.consistency_loss(e_a_tilde, e_v_tilde, e_a, e_v, e_a_all)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_prototype_loss_is_a_softmax_over_cosines_with_a_margin_on_the_true_one() -> None:
    e_v = torch.tensor([[3.0, 0.0], [0.0, 0.5]])
    prototypes = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    category = torch.tensor([0, 1])
    scale, margin = 8.0, 0.25
    expected = 0.0
    for cosines, true in (((1.0, 0.0, -1.0), 0), ((0.0, 1.0, 0.0), 1)):
        logits = [scale * (cosine - (margin if index == true else 0.0)) for index, cosine in enumerate(cosines)]
        expected -= logits[true] - math.log(sum(math.exp(x) for x in logits))
    loss = losses.prototype_loss(e_v, prototypes, category, scale, margin)
    assert loss.item() == pytest.approx(expected / 2, rel=1e-4)


def test_neighbourhood_falls_with_the_number_of_differing_attributes() -> None:
    attributes = torch.tensor([[1.0, 0.0, 1.0]])
    vectors = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    weights = [math.exp(-distance / 0.5) for distance in (0, 1, 3, 0)]
    expected = torch.tensor([weights]) / sum(weights)
    torch.testing.assert_close(losses.neighbourhood(attributes, vectors, 0.5), expected)


def test_prototype_loss_with_soft_targets_is_their_cross_entropy() -> None:
    e_v = torch.tensor([[3.0, 4.0]])
    prototypes = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    wanted = torch.tensor([[0.7, 0.3]])
    logits = [2.0 * (0.6 - 0.1), 2.0 * 0.8]
    norm = math.log(sum(math.exp(value) for value in logits))
    expected = 0.7 * (norm - logits[0]) + 0.3 * (norm - logits[1])
    loss = losses.prototype_loss(e_v, prototypes, torch.tensor([0]), 2.0, 0.1, wanted)
    assert loss.item() == pytest.approx(expected, abs=1e-6)


def test_descriptions_are_compatible_if_nothing_that_both_know_differs() -> None:
    generator = torch.Generator().manual_seed(3)
    attributes, vectors = (torch.randint(0, 2, (n, 4), generator=generator).float() for n in (30, 40))
    known, vectors_known = (torch.randint(0, 2, (n, 4), generator=generator).float() for n in (30, 40))
    filled = torch.where(known == 1, attributes, torch.full_like(attributes, 0.4))  # what is unknown has a probability
    got = losses.compatible_descriptions(filled, known, vectors, vectors_known)
    for i in range(30):
        for j in range(40):
            both = [bit for bit in range(4) if known[i, bit] and vectors_known[j, bit]]
            assert bool(got[i, j]) == all(attributes[i, bit] == vectors[j, bit] for bit in both)
    assert got.any()
    assert not got.all()


def test_prototypes_can_be_left_out_of_the_softmax(generator: torch.Generator) -> None:
    """As if they were not there."""
    e_v, prototypes = torch.randn(1, 5, generator=generator), torch.randn(6, 5, generator=generator)
    left_out = torch.tensor([[False, False, True, False, True, False]])
    without = losses.prototype_loss(e_v, prototypes[[0, 1, 3, 5]], torch.tensor([1]), 16.0, 0.1)
    masked = losses.prototype_loss(e_v, prototypes, torch.tensor([1]), 16.0, 0.1, None, left_out)
    torch.testing.assert_close(masked, without)
    soft = torch.tensor([[0.5, 0.3, 0.0, 0.2, 0.0, 0.0]])
    masked = losses.prototype_loss(e_v, prototypes, torch.tensor([1]), 16.0, 0.1, soft, left_out)
    without = losses.prototype_loss(e_v, prototypes[[0, 1, 3, 5]], torch.tensor([1]), 16.0, 0.1, soft[:, [0, 1, 3, 5]])
    torch.testing.assert_close(masked, without)
