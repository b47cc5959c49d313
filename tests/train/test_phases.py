"""Each phase moves exactly the networks it declares, and its gradient stops where the paper stops it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sal_train import iteration
from sal_train import phases as phases_module
from sal_train.config import LossConfig
from sal_train.networks import NETWORK_NAMES, Networks, batch_statistics
from sal_train.phases import PHASES, Batch, PhaseSettings
from tests.train.tiny_training import tiny_batch, tiny_config, tiny_networks

FULL = ("embed_image", "embed_attribute", "synthesis_D", "synthesis_G", "alignment_D", "alignment_E")
WITH_PROTOTYPES = LossConfig(prototype=1.0, prototype_unseen=True)


@pytest.mark.parametrize("real_only", [False, True])
@pytest.mark.parametrize("name", PHASES)
def test_a_phase_moves_exactly_what_it_declares(name: str, real_only: bool) -> None:
    config = tiny_config((name,))
    networks = tiny_networks(config)
    images, batch = tiny_batch(config)
    stage = config.stages[0]
    phases = iteration.stage_phases(stage)
    state = iteration.TrainState(networks, iteration.build_optimisers(networks, phases, stage, config.optimiser), None)
    features = iteration.compute_features(networks, phases, images, batch, "fp32")
    before = copy.deepcopy(networks.state_dict())
    iteration.run_phase(PHASES[name], state, batch, features, PhaseSettings(WITH_PROTOTYPES, real_only))
    moved = {key.split(".")[0] for key, value in networks.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == set(PHASES[name].trains)


@pytest.mark.parametrize("name", PHASES)
def test_every_declared_parameter_receives_a_gradient(name: str) -> None:
    config = tiny_config((name,))
    networks = tiny_networks(config)
    images, batch = tiny_batch(config)
    phases = iteration.stage_phases(config.stages[0])
    features = iteration.compute_features(networks, phases, images, batch, "fp32")
    for network in NETWORK_NAMES:
        networks.network(network).requires_grad_(network in PHASES[name].trains).train(network in PHASES[name].trains)
    terms = PHASES[name].loss(networks, batch, features, PhaseSettings(WITH_PROTOTYPES))
    torch.stack(list(terms.values())).sum().backward()
    for network in PHASES[name].trains:
        for key, parameter in networks.network(network).named_parameters():
            assert parameter.grad is not None, f"{network}.{key}"
    frozen = [network for network in NETWORK_NAMES if network not in PHASES[name].trains]
    assert all(parameter.grad is None for network in frozen for parameter in networks.network(network).parameters())


def terms_of_the_seen_batch(nets: Networks, images: Tensor, batch: Batch, smoothing: float) -> dict[str, Tensor]:
    """All terms of the paper, eqs. 2 to 10, with means over the real samples alone; `nets` in evaluation mode."""

    def real(logits: Tensor) -> Tensor:
        return -logsigmoid(logits).mean()

    def fake(logits: Tensor) -> Tensor:
        return -logsigmoid(-logits).mean()

    def embed(embedding: Tensor) -> tuple[Tensor, Tensor]:
        target = (1 - smoothing) * batch.attributes + smoothing / batch.attributes.shape[1]
        logits = nets.C_att(embedding)
        attribute = -(target * logsigmoid(logits) + (1 - target) * logsigmoid(-logits)).sum(dim=1).mean()
        log_probabilities = nets.C_cat(embedding).log_softmax(dim=1)
        own = log_probabilities[torch.arange(len(batch.categories)), batch.categories]
        return attribute, -((1 - smoothing) * own + smoothing * log_probabilities.mean(dim=1)).mean()

    f_v, f_a = nets.image_backbone(images), nets.attribute_backbone(batch.attributes)
    made_f_v, made_f_a = nets.G_V(torch.cat([f_a, batch.noise], dim=1)), nets.G_A(f_v)
    e_v, e_a, made_e_v, made_e_a = nets.E_V(f_v), nets.E_A(f_a), nets.E_V(made_f_v), nets.E_A(made_f_a)
    judged = nets.D_1(torch.cat([f_a, f_v], dim=1))
    judged_v, judged_a = nets.D_1(torch.cat([f_a, made_f_v], dim=1)), nets.D_1(torch.cat([made_f_a, f_v], dim=1))
    with batch_statistics(nets.E_V, nets.E_A):  # D_2 sees embeddings as the encoders give them in training
        trained = [nets.D_2(e) for e in (nets.E_V(f_v), nets.E_A(f_a), nets.E_V(made_f_v), nets.E_A(made_f_a))]
    terms = {
        "gan1_D": real(judged) + (fake(judged_v) + fake(judged_a)) / 2,
        "gan1_G": (real(judged_v) + real(judged_a)) / 2,
        "cycle": (nets.G_A(made_f_v) - f_a).square().mean(),
        "consistency": sum((left - right).square().mean() for left in (made_e_a, made_e_v) for right in (e_v, e_a)),
        "gan2_D": real(trained[0]) + fake(trained[1]),
        "augmented_D": real(trained[2]) + fake(trained[3]),
        "gan2_E": real(nets.D_2(e_a)),
        "augmented_E": real(nets.D_2(made_e_a)),
    }
    branches = {"image": e_v, "attribute": e_a, "synthetic_image": made_e_v, "synthetic_attribute": made_e_a}
    for branch, embedding in branches.items():
        terms[f"{branch}_attribute"], terms[f"{branch}_category"] = embed(embedding)
    return terms


def test_without_unseen_vectors_the_terms_are_those_of_the_seen_batch() -> None:
    """With U = 0 every mean over [f_a, f_unseen] is the mean over the batch: the Embed+symb-adv ablation."""
    config = tiny_config(FULL)
    networks = tiny_networks(config)
    images, batch = tiny_batch(config, unseen=0)
    networks.eval()
    terms: dict[str, Tensor] = {}
    with torch.no_grad():
        features = iteration.compute_features(networks, (), images, batch, "fp32")
        for name in FULL:
            terms |= PHASES[name].loss(networks, batch, features, PhaseSettings(LossConfig()))
        expected = terms_of_the_seen_batch(networks, images, batch, LossConfig().label_smoothing)
    assert terms.keys() == expected.keys()
    for name, term in terms.items():
        assert term.item() == pytest.approx(float(expected[name]), rel=1e-4), name


def test_unseen_vectors_have_no_category_loss() -> None:
    config = tiny_config(FULL)
    networks = tiny_networks(config).eval()
    images, batch = tiny_batch(config, unseen=8)
    _, seen_batch = tiny_batch(config, unseen=0)
    settings = PhaseSettings(LossConfig())
    with torch.no_grad():
        both = iteration.compute_features(networks, (), images, batch, "fp32")
        seen = iteration.compute_features(networks, (), images, seen_batch, "fp32")
        with_unseen = PHASES["embed_attribute"].loss(networks, batch, both, settings)
        without = PHASES["embed_attribute"].loss(networks, seen_batch, seen, settings)
    assert with_unseen["attribute_category"].item() == pytest.approx(without["attribute_category"].item(), rel=1e-5)
    assert with_unseen["attribute_attribute"].item() != pytest.approx(without["attribute_attribute"].item(), rel=1e-3)


@pytest.mark.parametrize(
    ("switched_off", "phase", "terms"),
    [
        ("consistency", "synthesis_G", {"consistency"}),
        ("augmented_adversarial", "alignment_D", {"augmented_D"}),
        ("augmented_adversarial", "alignment_E", {"augmented_E"}),
        (
            "augmented_embedding",
            "alignment_E",
            {f"synthetic_{branch}_{kind}" for branch in ("attribute", "image") for kind in ("attribute", "category")},
        ),
        ("category", "embed_image", {"image_category"}),
    ],
)
def test_a_weight_of_zero_removes_its_terms(switched_off: str, phase: str, terms: set[str]) -> None:
    config = tiny_config(FULL)
    networks = tiny_networks(config)
    images, batch = tiny_batch(config)
    with torch.no_grad():
        features = iteration.compute_features(networks, (), images, batch, "fp32")
        full = PHASES[phase].loss(networks, batch, features, PhaseSettings(LossConfig()))
        less = PHASES[phase].loss(networks, batch, features, PhaseSettings(LossConfig(**{switched_off: 0.0})))
    assert set(full) - set(less) == terms


@pytest.mark.parametrize("real_only", [False, True])
def test_synthetic_batches_stay_out_of_the_running_statistics_when_asked(real_only: bool) -> None:
    config = tiny_config(("alignment_E",))
    networks = tiny_networks(config)
    images, batch = tiny_batch(config)
    stage = config.stages[0]
    phases = iteration.stage_phases(stage)
    state = iteration.TrainState(networks, iteration.build_optimisers(networks, phases, stage, config.optimiser), None)
    features = iteration.compute_features(networks, phases, images, batch, "fp32")
    before = {key: value.clone() for key, value in networks.E_V.named_buffers()}
    iteration.run_phase(phases[0], state, batch, features, PhaseSettings(LossConfig(), batchnorm_real_only=real_only))
    moved = {key for key, value in networks.E_V.named_buffers() if not torch.equal(value, before[key])}
    assert moved == (set() if real_only else before.keys())


def test_one_batch_can_be_learned_by_heart() -> None:
    config = tiny_config(("embed_image", "embed_attribute"), losses={"label_smoothing": 0.0})
    networks = tiny_networks(config)
    images, batch = tiny_batch(config)
    stage = config.stages[0]
    phases = iteration.stage_phases(stage)
    state = iteration.TrainState(networks, iteration.build_optimisers(networks, phases, stage, config.optimiser), None)
    first = iteration.run_iteration(state, phases, images, batch, config)
    for _ in range(60):
        last = iteration.run_iteration(state, phases, images, batch, config)
    for name in ("image_attribute", "attribute_attribute"):
        assert float(last[name]) < 0.6 * float(first[name])


def test_some_categories_as_prototypes_are_those_of_the_batch_and_others() -> None:
    _, batch = tiny_batch(tiny_config(("embed_joint",), data={"batch_size": 4}), num_categories=40)
    everything, same = phases_module._prototype_categories(batch, 0)
    assert everything == slice(None)
    assert same is batch.categories
    drawn = set()
    for seed in range(8):
        torch.manual_seed(seed)
        chosen, categories = phases_module._prototype_categories(batch, 12)
        vectors = batch.category_vectors[chosen]
        assert vectors.shape == (12, batch.category_vectors.shape[1])
        torch.testing.assert_close(vectors[categories], batch.category_vectors[batch.categories])
        assert len(set(categories.tolist())) == len(set(batch.categories.tolist()))
        drawn.add(vectors.numpy().tobytes())
    assert len(drawn) > 1
    chosen, _ = phases_module._prototype_categories(batch, 2)
    assert len(batch.category_vectors[chosen]) == 4  # never fewer than the batch needs
