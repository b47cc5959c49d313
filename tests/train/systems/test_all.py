"""What holds for every system: it learns, moves what it declares, resumes exactly, and can be searched."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from sal_export.encoders import DeployedAttributeEncoder, DeployedImageEncoder
from sal_export.onnx_export import export_onnx
from sal_export.package import export_run
from sal_runtime.engines.devices import open_backend
from sal_runtime.errors import ConfigError
from sal_train import iteration
from sal_train.checkpoint import CHECKPOINT_FILE, MODEL_FILE, load_run
from sal_train.evaluation.evaluate import Options, evaluate_bundle, evaluate_run
from sal_train.recipe import TABLE_1, load_config
from sal_train.report.measure import measure_held_out
from sal_train.systems import fitting
from sal_train.systems.features import PooledFeatures
from sal_train.systems.system import System
from sal_train.systems.table import SYSTEMS, build_networks, system_of
from sal_train.train import train
from tests.train.systems.toy_persons import (
    SCHEMA,
    SMALL,
    new_state,
    people,
    toy_batch,
    toy_config,
    toy_training_set,
    train_toy,
    unseen_map,
)
from tests.train.tiny_training import tiny_dataset

QUICK = ("stages.0.learning_rate=1e-2", "stages.0.learning_rates={}")
RATES = {
    "mmcc": ("stages.1.learning_rate=1e-3",),
    "aaipr-like": ("stages.1.learning_rate=1e-2", "stages.1.learning_rates={}"),
}
END_TO_END = ("deepmar", "cmce-like", "revise-like", "aaipr-like", "aihm-like")
"""Systems that can train the trunk."""
STEPS = {"mmcc": 100, "aaipr-like": 60, "aihm-like": 60}


def all_phases() -> list[tuple[str, str]]:
    return [(name, phase) for name in TABLE_1 for phase in SYSTEMS[name].phases]


def test_every_row_of_table_1_is_a_system_with_a_recipe() -> None:
    assert {"sal", *TABLE_1} == set(SYSTEMS)
    assert all(load_config(name).model.system == name for name in TABLE_1)
    with pytest.raises(ConfigError, match=r"did you mean cmce-like\?"):
        load_config("cmce")
    with pytest.raises(ConfigError, match="expected one of sal, dcca"):
        system_of(load_config("dcca", ["model.system=cca"]))


@pytest.mark.parametrize("name", TABLE_1)
def test_unseen_descriptions_are_found_and_shuffled_pairs_teach_nothing(name: str) -> None:
    persons, config = people(), toy_config(name, *QUICK, *RATES.get(name, ()))
    found = [
        unseen_map(train_toy(config, toy_training_set(persons, shuffled), STEPS.get(name, 150)), persons)
        for shuffled in (False, True)
    ]
    assert found[0] > 0.35
    assert found[1] < 0.2  # random rankings have 0.12


@pytest.mark.parametrize(("name", "phase"), all_phases())
def test_a_phase_moves_exactly_what_it_declares(name: str, phase: str) -> None:
    config = toy_config(name)
    data = toy_training_set(people())
    state = new_state(config, data)
    networks, phases = state.networks, (system_of(config).phases[phase],)
    state.optimisers = iteration.build_optimisers(networks, phases, config.stages[-1], config.optimiser)
    before = copy.deepcopy(networks.state_dict())
    images, batch = toy_batch(config, data, 32, torch.Generator().manual_seed(3))
    iteration.run_iteration(state, phases, images, batch, config)
    moved = {key.split(".")[0] for key, value in networks.state_dict().items() if not value.equal(before[key])}
    expected = set(phases[0].trains) - {"C_att"} | ({"stored"} if name == "cmce-like" else set())
    if isinstance(networks.image_backbone, PooledFeatures):  # its only parameters are those of the trunk
        expected -= {"image_backbone"}
    assert moved == expected - ({"E_V"} if phase == "alignment_E" else set())  # without synthetic features


@pytest.mark.parametrize("key", ["model.linear_query=true", "optimiser.batchnorm_of_categories=true"])
def test_settings_of_sal_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="is a setting of SAL"):
        build_networks(toy_config("dcca", key), SCHEMA, 10)
    build_networks(toy_config("aaipr-like", key), SCHEMA, 10)  # it has SAL's networks


def test_the_fitted_head_reads_attributes() -> None:
    persons, config = people(), toy_config("dcca", *QUICK)
    data = toy_training_set(persons)
    networks = fitting.with_fitted_head(train_toy(config, data, 60), data)
    with torch.no_grad():
        logits = networks.attribute_logits(networks.embed_images(persons.features))
    correct = (logits > 0) == (persons.vectors[persons.categories] > 0.5)
    assert correct[: len(data.rows)].double().mean() > 0.9
    assert correct[len(data.rows) :].double().mean() > 0.75


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


def tiny_run_settings(name: str) -> list[str]:
    """A recipe on the tiny data set: two epochs a stage."""
    settings = ["model.backbone=osnet_0288", "model.weights=none", "model.height=32", "model.width=16"]
    settings += [*SMALL[name], "data.batch_size=8", "data.validation_fraction=0.25", "data.validate_every=1"]
    stages = len(load_config(name).stages)
    return [*settings, "run.device=cpu", *(f"stages.{number}.epochs=2" for number in range(stages))]


@pytest.mark.parametrize("name", TABLE_1)
def test_a_run_is_resumed_exactly_and_evaluated(name: str, images: Path, tmp_path: Path) -> None:
    config, dataset = load_config(name, tiny_run_settings(name)), tiny_dataset(images)
    cache = images / "cache"
    assert train(config, dataset, tmp_path / "whole", cache)
    finished, resume = False, False
    while not finished:
        finished = train(config, dataset, tmp_path / "run", cache, resume=resume, deadline=time.monotonic())
        resume = True
    for file in (MODEL_FILE, CHECKPOINT_FILE):
        whole, run = load_file(tmp_path / "whole" / file), load_file(tmp_path / "run" / file)
        assert whole.keys() == run.keys()
        assert all(torch.equal(whole[key], run[key]) for key in whole), file
    console, options = Console(stderr=True), Options(cache, partial=False)
    report = evaluate_run(tmp_path / "run", dataset, options, console)
    assert 0.0 < report["mAP"] <= 1.0
    assert report["recognition"]["mA"] is not None
    run = load_run(tmp_path / "run")
    measured = measure_held_out(run, dataset, cache, "cpu")
    assert measured is not None
    assert measured.metrics["mAP"] == pytest.approx(run.provenance["validation"]["validation_mAP"], abs=1e-6)
    if run.networks.is_pairwise:
        assert "centred" not in report
        with pytest.raises(ConfigError, match="answers full queries only"):
            evaluate_run(tmp_path / "run", dataset, Options(cache), console)
        with pytest.raises(ConfigError, match="can only be evaluated"):
            export_run(run, tmp_path / "bundle", None, cache, console)


@pytest.mark.parametrize("name", END_TO_END)
def test_a_trunk_can_learn_behind_frozen_blocks(name: str, images: Path, tmp_path: Path) -> None:
    learns = ("frozen_trunk=false", "frozen_blocks=6", "cache_frozen=true")
    frozen = [f"stages.{stage}.{key}" for stage in range(len(load_config(name).stages)) for key in learns]
    config = load_config(name, [*tiny_run_settings(name), "model.backbone=efficientnet_lite0", *frozen])
    assert train(config, tiny_dataset(images), tmp_path / "run", images / "cache")
    trunk = load_run(tmp_path / "run").networks.image_backbone.trunk.state_dict()
    assert int(trunk["stem.1.num_batches_tracked"]) == 0
    assert int(trunk["head.1.num_batches_tracked"]) > 0


@pytest.mark.parametrize("name", ["deepmar", "2waynet"])
def test_what_is_exported_embeds_like_the_networks(name: str) -> None:
    """Both encoders behind the trunk, which the tests of export cover; the other systems are made of plain layers."""
    config = toy_config(name, *QUICK)
    data = toy_training_set(people())
    networks = train_toy(config, data, 5).eval()
    features, vectors = torch.as_tensor(data.inputs)[::9], data.category_vectors
    for module, inputs, title in (
        (DeployedImageEncoder(networks), features, "images"),
        (DeployedAttributeEncoder(networks), vectors, "attributes"),
    ):
        exported = open_backend(export_onnx(module, inputs[:2], title)).run(inputs.numpy())
        with torch.no_grad():
            np.testing.assert_allclose(exported, module(inputs).numpy(), atol=1e-5)


def test_a_bundle_of_a_system_searches_like_its_run(images: Path, tmp_path: Path) -> None:
    config, dataset = load_config("mmcc", tiny_run_settings("mmcc")), tiny_dataset(images)
    cache, console = images / "cache", Console(stderr=True)
    train(config, dataset, tmp_path / "run", cache)
    bundle = export_run(load_run(tmp_path / "run"), tmp_path / "mmcc.bundle", None, cache, console)
    assert bundle.embedding_dim == 128  # the space of image features, whatever model.embedding_dim says
    of_run, of_bundle = (
        evaluate(path, dataset, Options(cache, partial=False), console)["mAP"]
        for evaluate, path in ((evaluate_run, tmp_path / "run"), (evaluate_bundle, bundle.path))
    )
    assert of_bundle == pytest.approx(of_run, abs=1e-3)


def test_a_tenth_system_is_one_entry(monkeypatch: pytest.MonkeyPatch, images: Path, tmp_path: Path) -> None:
    """The example of docs/recipes.md, run as it stands there."""
    page = (Path(__file__).parents[3] / "docs" / "recipes.md").read_text(encoding="utf-8")
    program = page.partition("```python\n# sal_train/systems/least_squares.py")[2].partition("```")[0]
    recipe = page.partition("```text\n# least-squares.toml")[2].partition("```")[0]
    assert program
    assert recipe
    (tmp_path / "recipe.toml").write_text(recipe, encoding="utf-8")
    names: dict[str, System] = {}
    exec(compile(program, "least_squares.py", "exec"), names)
    monkeypatch.setitem(SYSTEMS, "least-squares", names["LEAST_SQUARES"])
    settings = [*tiny_run_settings("cmce-like")[:4], "data.batch_size=8", "run.device=cpu", "stages.0.epochs=2"]
    config = load_config(str(tmp_path / "recipe.toml"), settings)
    assert train(config, tiny_dataset(images), tmp_path / "run", images / "cache")
    report = evaluate_run(tmp_path / "run", tiny_dataset(images), Options(images / "cache", partial=False), Console())
    assert report["mAP"] > 0
