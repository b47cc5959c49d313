"""The linear generator on data that it generated, and in a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from sal_runtime.errors import ConfigError, InputError
from sal_train.checkpoint import load_run
from sal_train.closed_form.linear_generator import LinearEncoders, fit_linear_encoders, set_linear_encoders
from sal_train.config import Config
from sal_train.datasets.attribute_tree import fill_unknown, fit_statistics
from sal_train.evaluation.held_out import partition
from sal_train.networks import Networks
from sal_train.recipe import config_from_tree, config_to_tree
from sal_train.train import train
from tests.train.tiny_training import SCHEMA, tiny_config, tiny_dataset

MODEL = {
    "encoders": "linear",
    "linear_query": True,
    "embedding_output": "batchnorm",
    "feature_norm": "batch",
    "unit_heads": True,
}


def generated(seed: int, count: int, noise: float) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Features [count, 20], attributes [count, 6] and categories of random people; the effects are always the same."""
    effects = torch.randn(6, 20, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    attributes = torch.randint(0, 2, (count, 6), generator=generator)
    loud = torch.ones(20)
    loud[:5] = 10.0  # some features are nearly all noise
    features = 3.0 + attributes.float() @ effects + noise * loud * torch.randn(count, 20, generator=generator)
    return features, attributes.float(), np.unique(attributes.numpy(), axis=0, return_inverse=True)[1]


@pytest.mark.parametrize("unknown", [0.0, 0.5])
def test_descriptions_that_nobody_had_find_their_images(unknown: float) -> None:
    """Also if half of the attributes are unknown: then each has its probability, which is 1/2."""
    features, attributes, categories = generated(1, 4000, noise=0.5)
    new = np.isin(categories, np.unique(categories)[::8])
    is_unknown = torch.rand(attributes.shape, generator=torch.Generator().manual_seed(9)) < unknown
    labels = torch.where(is_unknown, 0.5, attributes)
    encoders = fit_linear_encoders(features[~new], labels[~new], categories[~new], 6)
    wanted, of_image = np.unique(categories[new], return_inverse=True)
    vectors = torch.stack([attributes[categories == number][0] for number in wanted])
    images = normalize(features[new] @ encoders.image_weight.T + encoders.image_bias)
    queries = normalize(vectors @ encoders.query_weight.T + encoders.query_bias)
    found = (images @ queries.T).argmax(dim=1).numpy() == of_image
    assert found.mean() > 0.9


def test_the_image_side_is_the_expected_signal() -> None:
    """Against a ridge-free least squares regression of the queries on the features: the best linear estimate."""
    features, attributes, categories = generated(2, 60_000, noise=1.0)
    encoders = fit_linear_encoders(features, attributes, categories, 6)
    queries = attributes @ encoders.query_weight.T + encoders.query_bias
    design = torch.cat([features, torch.ones(len(features), 1)], dim=1).double()
    # not torch's lstsq: on a CPU it gives other solutions from call to call
    solution, *_ = np.linalg.lstsq(design.numpy(), queries.double().numpy(), rcond=None)
    regressed = (design @ torch.as_tensor(solution)).float()
    images = features @ encoders.image_weight.T + encoders.image_bias
    cosine = (normalize(images) * normalize(regressed)).sum(dim=1)
    assert cosine.mean() > 0.97  # not 1: the covariance is shrunk, so that few images suffice


def test_axes_that_attributes_do_not_need_are_zero() -> None:
    features, attributes, categories = generated(3, 500, noise=1.0)
    encoders = fit_linear_encoders(features, attributes, categories, 9)
    assert encoders.image_weight.shape == (9, 20)
    assert not encoders.image_weight[6:].any()
    assert not encoders.query_bias[6:].any()


def test_a_single_category_has_no_effects() -> None:
    features, attributes, _ = generated(3, 10, noise=1.0)
    with pytest.raises(InputError, match="two categories or more, got one"):
        fit_linear_encoders(features, attributes, np.zeros(10, dtype=np.int64), 4)


def test_networks_embed_with_the_maps() -> None:
    config = tiny_config(("heads",), model=MODEL)
    networks = Networks(config.model, SCHEMA.num_bits, 5).eval()
    channels = networks.image_backbone.fc.in_features
    features = torch.randn(50, channels, generator=torch.Generator().manual_seed(1))
    attributes = torch.randint(0, 2, (50, SCHEMA.num_bits), generator=torch.Generator().manual_seed(2)).float()
    encoders = fit_linear_encoders(features, attributes, np.arange(50) // 2, 8)
    set_linear_encoders(networks, encoders)
    with torch.no_grad():
        images, queries = networks.embed_images(features), networks.embed_attributes(attributes)
    expected = features @ encoders.image_weight.T + encoders.image_bias
    torch.testing.assert_close(images, expected, rtol=1e-3, atol=1e-4)
    direct = normalize(attributes @ encoders.query_weight.T + encoders.query_bias)
    torch.testing.assert_close(queries, direct, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("change", [{"encoders": "mlp"}, {"linear_query": False}, {"embedding_output": "tanh"}])
def test_networks_that_cannot_hold_it_are_refused(change: dict[str, object]) -> None:
    networks = Networks(tiny_config(("heads",), model=MODEL | change).model, SCHEMA.num_bits, 5)
    features, attributes, categories = torch.randn(8, 1280), torch.eye(8, 5), np.arange(8)
    with pytest.raises(ConfigError, match=r"model\.encoders = linear"):
        set_linear_encoders(networks, fit_linear_encoders(features, attributes, categories, 8))


def generator_config(frozen: bool = True) -> Config:
    stage = {"phases": ["heads"], "epochs": 2, "learning_rate": 1e-2, "frozen_trunk": frozen, "linear_generator": True}
    return config_from_tree({**config_to_tree(tiny_config(("heads",), model=MODEL)), "stages": [stage]})


def test_a_run_trains_its_heads_only_and_keeps_the_solution(tmp_path: Path) -> None:
    dataset = tiny_dataset(tmp_path)
    assert train(generator_config(), dataset, tmp_path / "run", tmp_path / "cache")
    one = dataclasses.replace(generator_config().stages[0], epochs=1)
    assert train(dataclasses.replace(generator_config(), stages=(one,)), dataset, tmp_path / "one", tmp_path / "cache")
    run, shorter = load_run(tmp_path / "run"), load_run(tmp_path / "one")
    assert run.is_finished
    for name in ("E_V", "E_A", "linear_query", "image_backbone"):
        states = [getattr(each.networks, name).state_dict() for each in (run, shorter)]
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0]), name
    assert not torch.equal(run.networks.C_att.weight, shorter.networks.C_att.weight)


def test_the_saved_model_has_it_even_if_an_earlier_stage_was_better(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recipe asks for it, and a model of the earlier stage would lack the linear part of its queries."""
    scores = iter((0.9, 0.8, 0.4, 0.5))
    monkeypatch.setattr("sal_train.train.validate", lambda *_: {"validation_mAP": next(scores)})
    learns = {"phases": ["embed_image", "embed_attribute"], "epochs": 2, "learning_rate": 1e-3}
    tree = config_to_tree(generator_config())
    config = config_from_tree(
        {
            **tree,
            "stages": [learns, *tree["stages"]],
            "data": {**tree["data"], "validation_fraction": 0.25, "validate_every": 1},
        }
    )
    assert train(config, tiny_dataset(tmp_path), tmp_path / "run", tmp_path / "cache")
    run = load_run(tmp_path / "run")
    assert run.is_finished
    assert run.provenance["epoch"] == 4
    assert run.provenance["validation"] == {"validation_mAP": 0.5}


def test_a_run_fits_to_the_probabilities_of_what_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = tiny_dataset(tmp_path)
    split = dataset.train
    unknown = np.zeros(split.attributes.shape, dtype=np.bool_)
    unknown[split.categories % 2 == 1, 0] = True
    attributes = np.where(unknown, 0, split.attributes).astype(np.uint8)
    gappy = dataclasses.replace(split, attributes=attributes, unknown=unknown)
    fitted_to: list[torch.Tensor] = []

    def fit(features: torch.Tensor, attributes: torch.Tensor, categories: np.ndarray, size: int) -> LinearEncoders:
        fitted_to.append(attributes)
        return fit_linear_encoders(features, attributes, categories, size)

    monkeypatch.setattr("sal_train.train.fit_linear_encoders", fit)
    assert train(generator_config(), dataclasses.replace(dataset, train=gappy), tmp_path / "run", tmp_path / "cache")
    (labels,) = fitted_to
    statistics = fit_statistics(SCHEMA, gappy.attributes, gappy.known)
    expected = fill_unknown(statistics, gappy.attributes, gappy.known)
    rows = partition(gappy, generator_config().data.validation_fraction, generator_config().data.validation_seed).train
    torch.testing.assert_close(labels, torch.as_tensor(expected[rows]))
    assert ((labels > 0) & (labels < 1)).any()


def test_a_trunk_that_trains_has_no_features_to_fit_to(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set frozen_trunk too"):
        train(generator_config(frozen=False), tiny_dataset(tmp_path), tmp_path / "run", tmp_path / "cache")
