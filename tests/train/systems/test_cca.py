"""DCCA and DCCAE against classical canonical correlation analysis, closed-form gradients and their limits."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor, nn

from sal_runtime.errors import ConfigError
from sal_train import iteration
from sal_train.closed_form.linear_cca import fit_linear_cca
from sal_train.phases import PhaseSettings
from sal_train.systems import fitting
from sal_train.systems.cca import CcaNetworks, correlation_loss
from sal_train.systems.squared_error import squared_error
from sal_train.systems.table import system_of
from tests.train.systems.toy_persons import new_state, people, toy_batch, toy_config, toy_training_set


def root(matrix: Tensor) -> Tensor:
    """Inverse square root of a symmetric matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors * values.rsqrt() @ vectors.T


def covariances(h_v: Tensor, h_a: Tensor, ridge: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    v, a = h_v - h_v.mean(0), h_a - h_a.mean(0)
    s_vv, s_aa = v.T @ v / (len(v) - 1), a.T @ a / (len(a) - 1)
    loaded = [s + ridge * s.diagonal().mean() * torch.eye(len(s), dtype=s.dtype) for s in (s_vv, s_aa)]
    return loaded[0], loaded[1], v.T @ a / (len(v) - 1)


def views(rows: int, left: int, right: int, shared: int = 0, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Two random views with common factors, float64."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    factors = draw(rows, shared)
    return factors @ draw(shared, left) + draw(rows, left), factors @ draw(shared, right) + draw(rows, right)


@pytest.mark.parametrize("ridge", [0.0, 1e-2])
def test_the_loss_is_the_trace_norm_of_the_whitened_cross_covariance(ridge: float) -> None:
    h_v, h_a = views(60, 4, 5)
    s_vv, s_aa, s_va = covariances(h_v, h_a, ridge)
    expected = -torch.linalg.svdvals(root(s_vv) @ s_va @ root(s_aa)).sum()
    assert correlation_loss(h_v, h_a, ridge).item() == pytest.approx(expected.item(), abs=1e-14)


def test_gradient_follows_the_closed_form_and_finite_differences() -> None:
    h_v, h_a = views(60, 4, 5, shared=2)
    h_v.requires_grad_()
    correlation_loss(h_v, h_a, 0.0).backward()
    with torch.no_grad():
        s_vv, s_aa, s_va = covariances(h_v, h_a)
        left, sigma, right = torch.linalg.svd(root(s_vv) @ s_va @ root(s_aa), full_matrices=False)
        w_va = root(s_vv) @ left @ right @ root(s_aa)
        w_vv = -0.5 * root(s_vv) @ left * sigma @ left.T @ root(s_vv)
        v, a = h_v - h_v.mean(0), h_a - h_a.mean(0)
        closed = -(2.0 * v @ w_vv + a @ w_va.T) / (len(v) - 1)
    assert h_v.grad is not None
    torch.testing.assert_close(h_v.grad, closed, rtol=1e-8, atol=1e-12)
    assert torch.autograd.gradcheck(lambda v, a: correlation_loss(v, a, 1e-3), (h_v, h_a.requires_grad_()))


def test_linear_networks_reach_classical_cca() -> None:
    """Full batches; the oracle is the generalised eigenvalue problem, solved by SciPy."""
    v, a = views(400, 10, 8, shared=3)
    s_vv, s_aa, s_va = (part.numpy() for part in covariances(v, a))
    squares = scipy.linalg.eigh(s_va @ np.linalg.solve(s_aa, s_va.T), s_vv, eigvals_only=True)
    classical = np.sqrt(squares[::-1][:3])
    torch.manual_seed(2)
    nets = nn.ModuleList([nn.Linear(10, 3), nn.Linear(8, 3)]).double()
    solver = torch.optim.LBFGS(nets.parameters(), max_iter=300, tolerance_change=1e-15, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        value = correlation_loss(nets[0](v), nets[1](a), 0.0)
        value.backward()
        return value

    solver.step(loss)
    assert loss().item() == pytest.approx(-classical.sum(), abs=1e-6)
    with torch.no_grad():
        fitted = fit_linear_cca(nets[0](v), nets[1](a), 0.0)
    np.testing.assert_allclose(fitted.correlations, classical, atol=1e-5)
    np.testing.assert_allclose(fit_linear_cca(v, a, 0.0).correlations[:3], classical, atol=1e-12)


def test_invertible_maps_do_not_change_the_loss() -> None:
    h_v, h_a = views(60, 4, 4, shared=2)
    generator = torch.Generator().manual_seed(5)
    mixing = torch.randn(4, 4, generator=generator, dtype=torch.float64)
    moved = correlation_loss(h_v @ mixing + 3.0, h_a, 0.0)
    assert moved.item() == pytest.approx(correlation_loss(h_v, h_a, 0.0).item(), abs=1e-10)
    assert correlation_loss(100.0 * h_v, h_a, 1e-2).item() == pytest.approx(
        correlation_loss(h_v, h_a, 1e-2).item(), abs=1e-10
    )  # the ridge has no scale


def test_equal_views_correlate_fully_and_independent_ones_by_chance() -> None:
    h_v, h_a = views(4096, 16, 16)
    assert correlation_loss(h_v, h_v, 0.0).item() == pytest.approx(-16.0, abs=1e-9)
    assert correlation_loss(h_v, h_a, 0.0).item() == pytest.approx(-0.85 * 16 * (16 / 4096) ** 0.5, rel=0.1)


def test_gradient_is_finite_for_equal_columns_and_equal_views() -> None:
    h_v, h_a = views(60, 4, 4)
    generator = torch.Generator().manual_seed(3)
    h_v[:, 1] = h_v[:, 0] + 1e-9 * torch.randn(60, generator=generator, dtype=torch.float64)
    for other in (h_a, h_v.clone()):
        view = h_v.clone().requires_grad_()
        correlation_loss(view, other, 1e-4).backward()
        assert view.grad is not None
        assert view.grad.isfinite().all()


def test_cca_against_categories_is_linear_discriminant_analysis() -> None:
    generator = torch.Generator().manual_seed(4)
    categories = torch.arange(5).repeat_interleave(40)
    means = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    x = means[categories] + torch.randn(200, 6, generator=generator, dtype=torch.float64)
    indicators = nn.functional.one_hot(categories, 5)[:, 1:]  # the first follows from the others
    correlations = fit_linear_cca(x, indicators, 0.0).correlations
    centred = x - x.mean(0)
    of_means = torch.stack([centred[categories == k].mean(0) for k in range(5)])[categories]
    shares = scipy.linalg.eigh((of_means.T @ of_means).numpy(), (centred.T @ centred).numpy(), eigvals_only=True)
    np.testing.assert_allclose(correlations.numpy() ** 2, shares[::-1][:4], atol=1e-10)


def test_both_sides_get_a_common_basis() -> None:
    h_v, h_a = views(300, 6, 4, shared=2)
    cca = fit_linear_cca(h_v, h_a, 0.0)
    v, q = (h_v - cca.mean_v) @ cca.weight_v, (h_a - cca.mean_a) @ cca.weight_a
    s_vv, s_aa, s_va = covariances(v, q)
    for covariance in (s_vv, s_aa):
        torch.testing.assert_close(covariance, torch.eye(4, dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(s_va, torch.diag(cca.correlations), atol=1e-6, rtol=0)


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_folded_networks_embed_as_the_maps_say(power: float) -> None:
    config = toy_config("dcca", "system.cca.image_hidden=[16]", f"system.cca.power={power}")
    data = toy_training_set(people())
    networks = new_state(config, data).networks
    before = {name: tensor.clone() for name, tensor in networks.state_dict().items()}
    folded = fitting.solved(system_of(config), networks, data, config.system)
    assert all(torch.equal(tensor, before[name]) for name, tensor in networks.state_dict().items())
    inputs = torch.as_tensor(data.inputs)[data.rows]
    with torch.no_grad():
        h_v, h_a = networks.embed_images(inputs).double(), networks.embed_attributes(data.attributes).double()
        cca = fit_linear_cca(h_v, h_a, config.system.cca.ridge)
        expected_v = (h_v - cca.mean_v) @ (cca.weight_v * cca.correlations**power)
        expected_a = (h_a - cca.mean_a) @ (cca.weight_a * cca.correlations**power)
        torch.testing.assert_close(folded.embed_images(inputs).double(), expected_v, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(folded.embed_attributes(data.attributes).double(), expected_a, atol=1e-4, rtol=1e-4)


def losses_of(name: str, *settings: str) -> tuple[CcaNetworks, dict[str, Tensor]]:
    """A phase's terms on a toy batch, after the gradient; networks of both systems begin with the same encoders."""
    config = toy_config(name, "system.cca.image_hidden=[16]", *settings)
    data = toy_training_set(people())
    networks = new_state(config, data).networks
    assert isinstance(networks, CcaNetworks)
    images, batch = toy_batch(config, data, 128, torch.Generator().manual_seed(3))
    phases = iteration.stage_phases(config.stages[0], system_of(config).phases)
    features = iteration.compute_features(networks, phases, images, batch, "fp32")
    for network in networks.names:
        networks.network(network).requires_grad_(network != "image_backbone").train(network != "image_backbone")
    terms = phases[0].loss(networks, batch, features, PhaseSettings(config.losses, system=config.system))
    torch.stack(list(terms.values())).sum().backward()
    return networks, terms


def test_dccae_without_reconstruction_is_dcca() -> None:
    dcca, terms = losses_of("dcca")
    dccae, same = losses_of("dccae", "system.cca.reconstruction=0")
    assert {name: term.item() for name, term in terms.items()} == {name: term.item() for name, term in same.items()}
    for network in ("E_V", "E_A"):
        for one, other in zip(dcca.network(network).parameters(), dccae.network(network).parameters(), strict=True):
            assert one.grad is not None
            assert other.grad is not None
            assert torch.equal(one.grad, other.grad)
    for network in ("decoder_V", "decoder_A"):
        assert all(parameter.grad is None for parameter in dccae.network(network).parameters())


def test_the_reconstruction_of_one_linear_view_is_principal_component_analysis() -> None:
    x, _ = views(300, 8, 1, shared=3)
    x = x - x.mean(0)
    x[:, :3] *= 4.0
    torch.manual_seed(1)
    encode, decode = nn.Linear(8, 3).double(), nn.Linear(3, 8).double()
    solver = torch.optim.LBFGS(
        [*encode.parameters(), *decode.parameters()], max_iter=500, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        value = squared_error(x, decode(encode(x)))
        value.backward()
        return value

    solver.step(loss)
    components = torch.linalg.svd(x, full_matrices=False).Vh[:3].T.numpy()
    angles = scipy.linalg.subspace_angles(decode.weight.detach().numpy(), components)
    assert angles.max() < 1e-3


def test_a_batch_that_is_too_small_for_the_coordinates_is_an_error() -> None:
    config = toy_config("dcca", "model.embedding_dim=64")
    data = toy_training_set(people())
    state = new_state(config, data)
    phases = iteration.stage_phases(config.stages[0], system_of(config).phases)
    state.optimisers = iteration.build_optimisers(state.networks, phases, config.stages[0], config.optimiser)
    images, batch = toy_batch(config, data, 64, torch.Generator())
    with pytest.raises(ConfigError, match=r"data\.batch_size is 64, but 64 coordinates"):
        iteration.run_iteration(state, phases, images, batch, config)
