"""AIHM: its scores by hand, chunked and dense, its values and negatives, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sal_train.config import Config
from sal_train.phases import Features, PhaseSettings
from sal_train.systems import aihm
from sal_train.systems.aihm import AihmNetworks, balanced_match_loss, match_pairs
from sal_train.systems.system import TrainingSet
from tests.train.systems.toy_persons import SCHEMA, new_state, people, toy_batch, toy_config, toy_training_set


def networks_and_data(*settings: str) -> tuple[Config, AihmNetworks, TrainingSet]:
    config = toy_config("aihm-like", *settings)
    data = toy_training_set(people())
    networks = new_state(config, data).networks.eval()
    assert isinstance(networks, AihmNetworks)
    return config, networks, data


class Sum(nn.Module):
    """A head that adds everything up."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.sum(dim=-1, keepdim=True)


@torch.no_grad()
def test_with_open_gates_and_a_plain_head_the_score_is_known() -> None:
    _, networks, data = networks_and_data()
    matcher, whole = networks.matcher, networks.matcher.sizes[0]
    nn.init.eye_(matcher.U.weight)
    matcher.gate_bias.fill_(1e9)
    matcher.head = Sum()  # type: ignore[assignment]
    x = networks.embed_images(torch.as_tensor(data.inputs)[::40])
    z = networks.embed_attributes(data.category_vectors)
    expected = torch.zeros(len(z), len(x))
    for row, description in enumerate(z):
        for column, image in enumerate(x):
            locally = torch.tanh(image[whole:] * description[whole:]).sum()
            expected[row, column] = image[:whole] @ description[:whole] + locally
    torch.testing.assert_close(networks.compare(z, x), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_scores_in_parts_are_those_of_all_pairs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _, networks, data = networks_and_data()
    x = networks.comparable(networks.embed_images(torch.as_tensor(data.inputs)[:50]))
    z = networks.comparable(networks.embed_attributes(data.category_vectors))
    dense = networks.matcher(x[None], z[:, None])
    monkeypatch.setattr(aihm, "NUMBERS_AT_ONCE", 7 * x.shape[1])
    torch.testing.assert_close(networks.compare(z, x), dense, atol=1e-5, rtol=1e-5)


def test_each_group_has_one_value() -> None:
    _, networks, _ = networks_and_data()
    vectors = torch.tensor([[1.0, 0, 0, 0, 0, 0, 1], [0, 1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0, 0]])
    assert networks.E_A.values(vectors).tolist() == [[1, 0, 0, 0, 3], [0, 1, 0, 1, 0], [0, 0, 0, 0, 1]]
    assert networks.E_A.table.num_embeddings == 4 * 2 + 4


def test_matches_weigh_as_much_as_all_others() -> None:
    logits = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    is_match = torch.zeros(3, 5, dtype=torch.bool)
    is_match[[0, 1, 2], [0, 1, 2]] = True
    counts = torch.ones_like(is_match)
    counts[:, 4] = False
    entropy = nn.functional.softplus(torch.where(is_match, -logits, logits))
    negatives = entropy[~is_match & counts]
    expected = 0.5 * entropy[is_match].mean() + 0.5 * negatives.mean()
    assert balanced_match_loss(logits, is_match, counts).item() == pytest.approx(expected.item(), rel=1e-5)
    moved = logits.clone()
    moved[:, 4] += 50.0
    assert balanced_match_loss(moved, is_match, counts).item() == pytest.approx(expected.item(), rel=1e-5)


def test_descriptions_of_the_batch_are_never_negatives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither as an equal category of another image, nor as a sampled description that turns out to be one."""
    config, networks, data = networks_and_data()
    images, batch = toy_batch(config, data, 32, torch.Generator().manual_seed(3))
    batch.attributes[40] = batch.attributes[5]
    seen = {}

    def noting(logits: Tensor, is_match: Tensor, counts: Tensor) -> Tensor:
        seen.update(is_match=is_match, counts=counts)
        return balanced_match_loss(logits, is_match, counts)

    monkeypatch.setattr(aihm, "balanced_match_loss", noting)
    features = Features(networks.image_backbone(images), batch.attributes)
    match_pairs(networks, batch, features, PhaseSettings(config.losses, system=config.system))
    is_match, counts = seen["is_match"], seen["counts"]
    assert torch.equal(is_match[:, :32], batch.categories[:, None] == batch.categories[None])
    assert not counts[:, 40].any()
    own = {tuple(row) for row in batch.attributes[:32].tolist()}
    for column in range(32, 64):
        assert counts[0, column] == (tuple(batch.attributes[column].tolist()) not in own)


@torch.no_grad()
def test_attribute_logits_are_log_odds_within_a_group() -> None:
    _, networks, data = networks_and_data()
    embedding = networks.embed_images(torch.as_tensor(data.inputs)[:6])
    shares = torch.sigmoid(networks.attribute_logits(embedding))
    assert shares.shape == (6, SCHEMA.num_bits)
    local = networks.matcher.local(embedding)
    colours = networks.C_local[4](local[:, 4]).softmax(dim=1)
    torch.testing.assert_close(shares[:, 4:], colours[:, 1:])
