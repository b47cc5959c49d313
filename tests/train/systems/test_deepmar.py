"""DeepMAR's weights, the shift that they give its logits, and its likelihood as a cosine."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from sal_train import losses
from sal_train.systems.deepmar import DeepmarNetworks, likelihood_vectors, logit_shift
from tests.train.systems.toy_persons import new_state, people, toy_config, toy_training_set


@pytest.mark.parametrize(
    ("share", "positive", "negative"),
    [(0.5, math.exp(0.5), math.exp(0.5)), (0.0266, 2.647, 1.027), (0.948, 1.053, 2.581)],
)
def test_weights_of_rare_and_frequent_attributes(share: float, positive: float, negative: float) -> None:
    weights = losses.deepmar_weight(torch.tensor([[1.0], [0.0]]), torch.tensor([share]))
    assert weights.flatten().tolist() == pytest.approx([positive, negative], abs=5e-4)


def test_a_bias_learns_the_logit_of_its_share_plus_the_shift() -> None:
    """On a constant input the best logit is logit(p) + 1 - 2 p; without the shift it is calibrated."""
    target = torch.zeros(1000, 1, dtype=torch.float64)
    target[:115] = 1.0
    prior = target.mean(0)
    bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([bias], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        solver.zero_grad()
        value = losses.attribute_loss(bias.expand(1000, 1), target, 0.0, losses.deepmar_weight(target, prior))
        value.backward()
        return value

    solver.step(loss)
    assert bias.item() == pytest.approx(-1.27066, abs=1e-4)
    assert torch.sigmoid(bias - logit_shift(prior)).item() == pytest.approx(0.115, abs=1e-6)


def test_the_likelihood_is_that_of_independent_attributes() -> None:
    logits = torch.tensor([[1.3, -0.4, 2.0, -3.0, 0.2]], dtype=torch.float64)
    share = torch.sigmoid(logits)[0]
    vectors = torch.tensor(list(itertools.product([0.0, 1.0], repeat=5)), dtype=torch.float64)
    image = likelihood_vectors(logits)[0]
    assert torch.linalg.vector_norm(likelihood_vectors(logits)) == pytest.approx(
        torch.linalg.vector_norm(likelihood_vectors(-2.0 * logits)).item()
    )
    likelihood = torch.exp(vectors @ image[:5] + image[5])
    brute_force = torch.where(vectors == 1.0, share, 1.0 - share).prod(dim=1)
    torch.testing.assert_close(likelihood, brute_force, atol=1e-12, rtol=1e-9)
    assert likelihood.sum().item() == pytest.approx(1.0)
    assert torch.equal(vectors[likelihood.argmax()], (share > 0.5).double())


def test_the_cosine_ranks_by_the_likelihood_and_the_head_reads_the_logits() -> None:
    config = toy_config("deepmar")
    data = toy_training_set(people())
    networks = new_state(config, data).networks.eval()
    assert isinstance(networks, DeepmarNetworks)
    torch.testing.assert_close(networks.shift, 1.0 - 2.0 * data.prior)
    images = torch.as_tensor(data.inputs)[::15]
    with torch.no_grad():
        embedding = networks.embed_images(images)
        logits = (networks.E_V(networks.image_backbone(images)) - networks.shift).double()
        torch.testing.assert_close(networks.attribute_logits(embedding).double(), logits, atol=1e-4, rtol=1e-4)
        queries = data.category_vectors
        cosine = networks.comparable(networks.embed_attributes(queries)) @ networks.comparable(embedding).T
    likelihood = queries.double() @ logits.T - torch.nn.functional.softplus(logits).sum(1)
    for row, expected in zip(cosine, likelihood, strict=True):
        assert torch.equal(row.argsort(descending=True), expected.argsort(descending=True))


def test_the_other_ranking_is_the_cosine_of_probabilities() -> None:
    config = toy_config("deepmar", "system.deepmar.ranking=cosine", "losses.attribute_weighting=none")
    data = toy_training_set(people())
    networks = new_state(config, data).networks.eval()
    assert isinstance(networks, DeepmarNetworks)
    assert not networks.shift.any()
    images = torch.as_tensor(data.inputs)[:4]
    with torch.no_grad():
        shares = torch.sigmoid(networks.E_V(networks.image_backbone(images)))
        torch.testing.assert_close(networks.embed_images(images), shares)
    assert torch.equal(networks.embed_attributes(data.category_vectors), data.category_vectors)
