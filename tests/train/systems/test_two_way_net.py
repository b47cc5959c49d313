"""2WayNet: tied weights, tied dropout, and the decorrelation term."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sal_train.phases import Features, PhaseSettings
from sal_train.systems.squared_error import squared_error
from sal_train.systems.two_way_net import (
    COMMON,
    SlowNorm,
    TiedStack,
    TwoWayNetworks,
    decorrelation_loss,
    dropout_masks,
    inverse_scale_loss,
    reconstruct,
)
from tests.train.systems.toy_persons import new_state, people, toy_batch, toy_config, toy_training_set


def test_one_layer_maps_both_ways_with_one_weight() -> None:
    torch.manual_seed(1)
    stack = TiedStack((5, 3))
    with torch.no_grad():
        for bias in (*stack.to_y, *stack.to_x):
            bias.normal_()
    x, y = torch.randn(7, 5), torch.randn(7, 3)
    (weight,), (b,), (c,) = stack.weights, stack.to_y, stack.to_x
    (y_hat,), (x_hat,) = stack.from_x(x), stack.from_y(y)
    torch.testing.assert_close(y_hat, x @ weight + b)
    torch.testing.assert_close(x_hat, y @ weight.T + c)
    (squared_error(x, x_hat) + squared_error(y, y_hat)).backward()
    of_y, of_x = 2.0 * x.T @ (y_hat - y) / 7, 2.0 * (x_hat - x).T @ y / 7  # one path each
    torch.testing.assert_close(weight.grad, (of_y + of_x).detach())
    two_networks = sum(layer.weight.numel() for layer in (nn.Linear(5, 3), nn.Linear(3, 5)))
    assert 2 * sum(weight.numel() for weight in stack.weights) == two_networks


def test_both_channels_meet_in_layers_of_equal_size() -> None:
    stack = TiedStack((20, 9, 6, 4, 7)).eval()
    x_outputs, y_outputs = stack.from_x(torch.randn(3, 20)), stack.from_y(torch.randn(3, 7))
    assert [output.shape[1] for output in x_outputs] == [9, 6, 4, 7]
    assert [output.shape[1] for output in y_outputs] == [20, 9, 6, 4]
    assert x_outputs[COMMON].shape == y_outputs[COMMON + 1].shape == (3, 6)


def test_decorrelation_is_zero_for_diagonal_moments_and_known_for_two_units() -> None:
    generator = torch.Generator().manual_seed(1)
    q, _ = torch.linalg.qr(torch.randn(8, 3, generator=generator))
    assert decorrelation_loss(q * torch.tensor([1.0, 2.0, 3.0])).item() == pytest.approx(0.0, abs=1e-6)
    h = torch.tensor([[1.0, 1.0], [1.0, -1.0], [2.0, 0.0]])  # moments [[2, 0], [0, 2/3]] before the next line
    h = h @ torch.tensor([[1.0, 1.0], [0.0, 1.0]])
    moments = (h.T @ h / 3).tolist()
    (a, c), (_, d) = moments
    expected = (a**2 + d**2 + 2 * c**2) ** 0.5 - (a**2 + d**2) ** 0.5
    assert c != 0
    assert decorrelation_loss(h).item() == pytest.approx(expected, abs=1e-6)


def test_dropout_keeps_the_variance_and_is_the_same_in_both_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    (mask,) = dropout_masks(100_000, (1,), 0.3, torch.device("cpu"))
    assert (mask * torch.randn(100_000, 1)).var().item() == pytest.approx(1.0, rel=0.02)
    assert (mask == 0).double().mean().item() == pytest.approx(0.3, abs=0.01)
    config = toy_config("2waynet", "system.two_way.dropout=0.5")
    data = toy_training_set(people())
    networks = new_state(config, data).networks
    assert isinstance(networks, TwoWayNetworks)
    seen = []

    def noting(h: torch.Tensor) -> torch.Tensor:
        seen.append(h == 0)
        return decorrelation_loss(h)

    monkeypatch.setattr("sal_train.systems.two_way_net.decorrelation_loss", noting)
    images, batch = toy_batch(config, data, 64, torch.Generator().manual_seed(3))
    features = Features(networks.image_backbone(images), networks.attribute_backbone(batch.attributes))
    reconstruct(networks, batch, features, PhaseSettings(config.losses, system=config.system))
    assert torch.equal(*seen)
    assert 0.3 < seen[0].double().mean() < 0.7


def test_scales_and_statistics_of_the_norms() -> None:
    norm = SlowNorm(4)
    assert ((norm.weight > 0.95) & (norm.weight < 1.05)).all()
    assert inverse_scale_loss(norm).item() == pytest.approx(float((1 / norm.weight.detach() ** 2).sum()))
    x = torch.randn(32, 4) * 3.0 + 2.0
    norm(x)
    torch.testing.assert_close(norm.running_mean, 0.01 * x.mean(0))
    norm.eval()
    torch.testing.assert_close(norm(x), nn.BatchNorm1d.forward(norm, x))


def test_search_ranks_by_the_correlation_of_coordinates() -> None:
    config = toy_config("2waynet")
    data = toy_training_set(people())
    networks = new_state(config, data).networks.eval()
    assert isinstance(networks, TwoWayNetworks)
    torch.testing.assert_close(networks.attribute_backbone(data.attributes).mean(0), torch.zeros(7), atol=1e-6, rtol=0)
    images = torch.as_tensor(data.inputs)[:5]
    with torch.no_grad():
        h_x = networks.stack.from_x(networks.image_backbone(images))[COMMON]
        h_y = networks.stack.from_y(networks.attribute_backbone(data.category_vectors))[COMMON + 1]
        scores = networks.compare(
            networks.comparable(networks.embed_attributes(data.category_vectors)),
            networks.comparable(networks.embed_images(images)),
        )
    expected = torch.corrcoef(torch.cat([h_y, h_x]))[: len(h_y), len(h_y) :]
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)
