"""Recipes are read strictly, and the resolved one says exactly what ran."""

from __future__ import annotations

from pathlib import Path

import pytest

from sal_runtime.errors import ConfigError, InputError
from sal_train.iteration import stage_phases
from sal_train.recipe import RECIPES, config_to_toml, load_config
from sal_train.systems.table import system_of


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_load_and_the_resolved_file_reads_back_equal(recipe: str, tmp_path: Path) -> None:
    config = load_config(recipe)
    path = tmp_path / "config.toml"
    path.write_text(config_to_toml(config), encoding="utf-8")
    assert load_config(str(path)) == config
    for stage in config.stages:
        assert stage_phases(stage, system_of(config).phases)


def test_the_paper_recipe_is_algorithm_1() -> None:
    symbiotic = load_config("paper").stages[-1]
    assert symbiotic.phases == (
        "embed_image", "embed_attribute", "synthesis_D", "synthesis_G", "alignment_D", "alignment_E",
    )  # fmt: skip
    losses = load_config("paper").losses
    assert {losses.gan1, losses.cycle, losses.consistency, losses.gan2} == {1.0}
    assert losses.prototype == 0.0


def test_overrides_reach_sections_and_stages() -> None:
    config = load_config("paper", ["data.batch_size=64", "stages.2.epochs=5", "model.backbone=efficientnet_lite0"])
    assert (config.data.batch_size, config.stages[2].epochs, config.model.backbone) == (64, 5, "efficientnet_lite0")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.bach_size=3", "data.bach_size: unknown key; known keys: batch_size"),
        ("data.batch_size=many", "data.batch_size: got 'many', expected int"),
        ("model.backbone=vgg", "expected one of resnet50, efficientnet_lite0"),
        ("stages.9.epochs=1", "'9' is not a stage number; there are 3 stages"),
        ("data.batch_size", "expected key=value"),
        ("losses.gan1=true", "losses.gan1: got True, expected float"),
    ],
)
def test_a_wrong_override_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_config("paper", [override])
    assert message in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_no_part_of_a_recipe(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(config_to_toml(load_config("tiny")).encode(encoding))
    assert load_config(str(path)) == load_config("tiny")
    path.write_bytes(b"\xff\x00\x80")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        load_config(str(path))


def test_a_recipe_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(ConfigError, match="sal, accurate, edge, student, paper, tiny, dcca"):
        load_config("salt")


def test_two_phases_may_not_train_one_backbone_on_the_same_features() -> None:
    config = load_config("sal", ['stages.0.phases=["embed_image", "embed_joint"]'])
    with pytest.raises(ConfigError, match="both train image_backbone"):
        stage_phases(config.stages[0])
